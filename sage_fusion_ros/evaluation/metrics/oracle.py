"""The definitions behind the published workbooks of nine methods on TNO, found by experiment on their seven pairs.

They were computed in MATLAB, whose 8-bit integers saturate: 200 x 200 is 255, 100 - 130 is 0, 255 + 1 is 255. Where the
evaluator forgot to convert an image to floating point, a metric became another one. The functions here repeat that, so
that the profile `oracle` can be held against the workbooks; they are no measures of quality.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from skimage.measure import shannon_entropy

from sage_fusion_ros.evaluation.metrics.contrast import entropy
from sage_fusion_ros.evaluation.metrics.edges import qabf
from sage_fusion_ros.evaluation.metrics.fidelity import vif_sum
from sage_fusion_ros.evaluation.metrics.grey import Grey
from sage_fusion_ros.evaluation.metrics.sharpness import average_gradient, spatial_frequency

Plane = npt.NDArray[np.float64]
_WHITE = 255

TOLERANCES = {
    "EN": 3e-5,
    "SD": 1e-5,
    "SF": 5e-8,
    "AG": 1e-5,
    "MI": 6e-5,
    "SCD": 1e-6,
    "VIF": 2e-6,
    "Qabf": 2e-6,
}
"""Largest difference to a cell of the workbooks, in the metric's unit. SeAFusion's images 13 to 16 set each: they seem
to differ in a few pixels from those the workbooks were made of. All other cells are met to 1e-8."""


def deviation_above_mean(fused: Grey) -> float:
    """The workbooks' SD: root of the mean of min(255, round(max(0, x - mean))^2).

    In 8 bits a negative deviation becomes 0, and a square above 255 becomes 255. So pixels darker than the mean count
    nothing, and those 16 levels or more above it count 16 each: it says how many pixels are bright, not how contrasty
    the image is.

    Returns:
        0 to 16.
    """
    above = np.floor(np.maximum(fused - fused.mean(), 0) + 0.5)
    return float(np.sqrt(np.minimum(above**2, _WHITE).mean()))


def unit_spatial_frequency(fused: Grey) -> float:
    """The workbooks' SF, of an image from 0 to 1: the standard one through 255."""
    return spatial_frequency(fused) / _WHITE


def gradient_per_inner_pixel(fused: Grey) -> float:
    """The workbooks' AG: the standard sum over all H x W pixels, divided by (H - 1) x (W - 1)."""
    height, width = fused.shape
    return average_gradient(fused) * (height * width) / ((height - 1) * (width - 1))


def mutual_information_merged(rgb_luma: Grey, thermal: Grey, fused: Grey) -> float:
    """The workbooks' MI, in bits: H(source) + H(fused) - H(source, fused), summed over the sources.

    The joint histogram alone is indexed by level + 1 in 8 bits, which puts 254 and 255 into one bin. So the joint
    entropy is too small where images are burnt out, and MI too large: .007 at most on the seven pairs.
    """
    apart = entropy(rgb_luma) + entropy(thermal) + 2 * entropy(fused)
    return apart - _joint_entropy(rgb_luma, fused) - _joint_entropy(thermal, fused)


def _joint_entropy(a: Grey, b: Grey) -> float:
    one, other = (np.minimum(image.astype(np.uint32) + 1, _WHITE) for image in (a, b))
    return float(shannon_entropy(one * (_WHITE + 1) + other, base=2))


def vif_saturated(rgb_luma: Grey, thermal: Grey, fused: Grey) -> float:
    """The workbooks' VIF: the standard one, but at full resolution the products saturate at 255.

    There the variance of what is brighter than 16 levels comes out below 0 and is cut to 0, so the first scale tells of
    the darkest regions only; smoothing converts the images, and the other scales are right. The sum comes out between
    .07 and .33 higher than the standard one on the seven pairs.
    """
    return vif_sum(rgb_luma, thermal, fused, first_product=_saturated_product)


def _saturated_product(a: Plane, b: Plane) -> Plane:
    return np.minimum(a * b, _WHITE)


def qabf_rounded(rgb_luma: Grey, thermal: Grey, fused: Grey) -> float:
    """The workbooks' Qabf: the standard one, of images from 0 to 1 in floating point, with two effects of rounding.

    A Sobel sum that should be 0 is left at some 1e-17 with either sign, which turns the direction of a horizontal edge
    by half a turn; the sums are added here in the same order, so the same pixels turn. And the ratio of two equal
    strengths is the strength itself, 0 to 5.7 on this scale, instead of 1. Together .007 at most on the seven pairs.
    """
    return qabf(rgb_luma, thermal, fused, derivatives=_sobel_in_order, equal_is_its_strength=True)


def _sobel_in_order(image: Grey) -> tuple[Plane, Plane]:
    """Leftward and downward Sobel derivatives in MATLAB's order of additions: columns from the right, each upwards."""
    padded = np.pad(image / _WHITE, 1)
    height, width = image.shape

    def weighted_sum(weights: list[list[int]]) -> Plane:
        total = np.zeros(image.shape)
        for column in (2, 1, 0):
            for row in (2, 1, 0):
                if weights[row][column]:
                    total += weights[row][column] * padded[row : row + height, column : column + width]
        return total

    return weighted_sum([[1, 0, -1], [2, 0, -2], [1, 0, -1]]), weighted_sum([[-1, -2, -1], [0, 0, 0], [1, 2, 1]])
