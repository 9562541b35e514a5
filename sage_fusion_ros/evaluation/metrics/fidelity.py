"""How much of what can be seen in each source can be seen in the fused image: VIF, summed over the two."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.evaluation.metrics.grey import Grey, check_size

Plane = npt.NDArray[np.float64]
_WINDOWS = (17, 9, 5, 3)
_EYE_NOISE = 2.0  # variance, in squared grey levels
_TINY = 1e-10
_LEAST_SIDE = 41  # of which the fourth scale leaves 3 pixels


def vif_sum(
    rgb_luma: Grey, thermal: Grey, fused: Grey, first_product: Callable[[Plane, Plane], Plane] = np.multiply
) -> float:
    """VIF(rgb, fused) + VIF(thermal, fused), in the pixel domain over four scales.

    Not torchmetrics': in float32, which torch's fast convolutions are made for, it was up to 4e-4 (relative) off on
    photographs, since variances of a few grey levels are what is left between squares of 65025. In float64 a test holds
    this one equal to it. Here the windows are separable, and scoring needs no torch.

    Args:
        rgb_luma: uint8 HxW.
        thermal: uint8 HxW.
        fused: uint8 HxW.
        first_product: How two images are multiplied, pixel by pixel, at full resolution. Only the oracle's differs.

    Returns:
        0 and up; each source adds 1 where nothing is lost, and more where its contrast is raised. A source without any
        information, a constant image, adds 1, as in the published tables.

    Raises:
        MetricError: When a side is shorter than 41 pixels.

    Source: Sheikh and Bovik, IEEE Trans. Image Processing 15 (2006); the authors' multi-scale pixel form "vifp".
    """
    check_size(fused, _LEAST_SIDE, "VIF")
    return _vif(rgb_luma, fused, first_product) + _vif(thermal, fused, first_product)


def _vif(source: Grey, fused: Grey, first_product: Callable[[Plane, Plane], Plane]) -> float:
    a, b = source.astype(np.float64), fused.astype(np.float64)
    kept = there = 0.0
    for scale, width in enumerate(_WINDOWS):
        if scale:
            a, b = _smooth(a, width)[::2, ::2], _smooth(b, width)[::2, ::2]
        here = _information(a, b, width, np.multiply if scale else first_product)
        kept, there = kept + here[0], there + here[1]
    return kept / there if there > 0 else 1.0


def _information(a: Plane, b: Plane, width: int, product: Callable[[Plane, Plane], Plane]) -> tuple[float, float]:
    """Of one scale: what b says about a, and what a says itself, both past the eye's noise."""
    mean_a, mean_b = _smooth(a, width), _smooth(b, width)
    var_a = np.maximum(_smooth(product(a, a), width) - mean_a**2, 0)
    var_b = np.maximum(_smooth(product(b, b), width) - mean_b**2, 0)
    covariance = _smooth(product(a, b), width) - mean_a * mean_b

    # b is modelled as gain x a plus noise; where either is flat, or b is a's negative, all of b is noise.
    var_a[var_a < _TINY] = 0
    gain = np.maximum(covariance / (var_a + _TINY), 0)
    gain[(var_a == 0) | (var_b < _TINY)] = 0
    noise = np.maximum(var_b - gain * covariance, _TINY)
    kept = np.log1p(gain**2 * var_a / (noise + _EYE_NOISE)).sum()
    there = np.log1p(var_a / _EYE_NOISE).sum()
    return float(kept), float(there)


def _smooth(image: Plane, width: int) -> Plane:
    """Gaussian mean where the whole window lies inside the image."""
    kernel = cv2.getGaussianKernel(width, width / 5, cv2.CV_64F)
    edge = width // 2
    return cv2.sepFilter2D(np.ascontiguousarray(image), cv2.CV_64F, kernel, kernel)[edge:-edge, edge:-edge]
