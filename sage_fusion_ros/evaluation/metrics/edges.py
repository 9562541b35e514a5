"""How well the sources' edges came through, in strength and in direction: Qabf."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.evaluation.metrics.grey import Grey

Plane = npt.NDArray[np.float64]
Sobel = Callable[[Grey], tuple[Plane, Plane]]

# Qg = .9994 / (1 + exp(-15 (G - .5))) and Qa = .9879 / (1 + exp(-22 (A - .8))), the paper's constants.
_STRENGTH = (0.9994, 15.0, 0.5)
_DIRECTION = (0.9879, 22.0, 0.8)


@dataclass(frozen=True)
class _Edges:
    """Sobel strength of each pixel, and direction from -pi/2 to pi/2 (pi/2 where there is no horizontal change)."""

    strength: Plane
    direction: Plane


def sobel(image: Grey) -> tuple[Plane, Plane]:
    """Sobel derivatives to the right and downwards, 0 beyond the border, exact on the 0 to 255 scale.

    The zeros make a bright image's border an edge; every published evaluator has it so.
    """
    gx = cv2.Sobel(image, cv2.CV_64F, 1, 0, borderType=cv2.BORDER_CONSTANT)
    gy = cv2.Sobel(image, cv2.CV_64F, 0, 1, borderType=cv2.BORDER_CONSTANT)
    return gx, gy


def sobel_leftward(image: Grey) -> tuple[Plane, Plane]:
    """The same to the left and downwards, as convolution, which turns its kernel round, leaves it in published code.

    It mirrors all directions but that of horizontal edges, which stays pi/2: Qabf changes in its third decimal.
    """
    gx, gy = sobel(image)
    return -gx, gy


def qabf(
    rgb_luma: Grey,
    thermal: Grey,
    fused: Grey,
    *,
    derivatives: Sobel = sobel,
    equal_is_its_strength: bool = False,
) -> float:
    """Share of the sources' edges that the fused image keeps, each pixel weighing as much as its edge is strong.

    Args:
        rgb_luma: uint8 HxW.
        thermal: uint8 HxW.
        fused: uint8 HxW.
        derivatives: Takes an image to its horizontal and vertical derivative.
        equal_is_its_strength: Takes the strength itself for the ratio of two equal strengths, as the published code
            does, instead of 1.

    Returns:
        0 to 1. Perfect edges in only one source give about half. 0 where neither source has an edge, which the border
        leaves to images that are black throughout.

    Source: Xydeas and Petrovic, Electronics Letters 36 (2000), with L = 1. Directions are compared as
    1 - |a - b| / (pi/2), without folding, as the published evaluators of thermal fusion do. So nearly horizontal edges
    whose directions lie at the two ends of the range count as lost; with folding, averages and maxima of photographs
    score .02 to .04 more.
    """
    result = _find(fused, derivatives)
    kept = total = 0.0
    for source in (rgb_luma, thermal):
        edges = _find(source, derivatives)
        kept += float(np.sum(_preserved(edges, result, equal_is_its_strength) * edges.strength))
        total += float(np.sum(edges.strength))
    return kept / total if total > 0 else 0.0


def _find(image: Grey, derivatives: Sobel) -> _Edges:
    gx, gy = derivatives(image)
    with np.errstate(divide="ignore", invalid="ignore"):
        direction = np.where(gx == 0, np.pi / 2, np.arctan(gy / gx))
    return _Edges(np.sqrt(gx**2 + gy**2), direction)


def _preserved(source: _Edges, fused: _Edges, equal_is_its_strength: bool) -> Plane:
    """Qg x Qa of each pixel."""
    weaker, stronger = np.minimum(source.strength, fused.strength), np.maximum(source.strength, fused.strength)
    ratio = np.divide(weaker, stronger, out=np.ones_like(weaker), where=stronger > 0)
    if equal_is_its_strength:
        ratio = np.where(weaker == stronger, weaker, ratio)
    likeness = 1 - np.abs(source.direction - fused.direction) / (np.pi / 2)
    return _sigmoid(ratio, *_STRENGTH) * _sigmoid(likeness, *_DIRECTION)


def _sigmoid(value: Plane, top: float, slope: float, middle: float) -> Plane:
    return top / (1 + np.exp(-slope * (value - middle)))
