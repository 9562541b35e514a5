"""Colour around the fusion: which luma a network sees, and how its result gets the RGB image's colours.

Two formulas: the standard one, and the one of SAGE's published code, for comparison with its pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import ParameterError


@dataclass(frozen=True)
class Colour:
    """One way to take luma out of an RGB image and to put another one back.

    Attributes:
        luma: From uint8 HxWx3 RGB to uint8 HxW, BT.601.
        recolour: From the RGB image, its luma and the fused one (both float32 HxW in 0..1) to uint8 HxWx3.
    """

    luma: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]
    recolour: Callable[[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.float32]], npt.NDArray[np.uint8]]


def luma_of(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Y = 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), uint8 HxW."""
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)


def recolour(
    rgb: npt.NDArray[np.uint8], before: npt.NDArray[np.float32], after: npt.NDArray[np.float32]
) -> npt.NDArray[np.uint8]:
    """Carries colour from the RGB image to the fused one: the change of luma is added to R, G and B alike.

    That equals replacing Y in YCbCr while Cb and Cr stay, without their rounding.

    Args:
        rgb: uint8 HxWx3.
        before: Its luma, float32 HxW in 0..1.
        after: The fused luma, likewise.

    Returns:
        uint8 HxWx3, clipped.
    """
    # Few calls on whole images: between any two of them another thread may take the interpreter away.
    change = cv2.addWeighted(after, 255, before, -255, 0, dtype=cv2.CV_16S)  # rounded
    return np.asarray(cv2.add(rgb, cv2.merge([change] * 3), dtype=cv2.CV_8U), np.uint8)


def published_luma(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Luma as SAGE's published code takes it: Y of OpenCV's 8-bit YCrCb.

    OpenCV rounds it with other constants than its grey conversion; the two differ by 1 in 3 of 1,000 random
    colours, and in fewer pixels of photographs.
    """
    return np.ascontiguousarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb)[..., 0], np.uint8)


def published_recolour(
    rgb: npt.NDArray[np.uint8], before: npt.NDArray[np.float32], after: npt.NDArray[np.float32]
) -> npt.NDArray[np.uint8]:
    """Colour as SAGE's published code carries it (github.com/RollingPlain/SAGE_IVIF, test.py).

    Cr and Cb are OpenCV's 8-bit ones over 255, less 0.5: R = Y + 1.403 Cr, G = Y - 0.714 Cr - 0.344 Cb,
    B = Y + 1.773 Cb. OpenCV's zero is 128 / 255 and not 0.5, so that grey comes out tinted: R 0.7 and B 0.9 levels too
    high, G 0.5 too low.

    Args:
        rgb: uint8 HxWx3.
        before: Not needed here; it stands in the signature of every formula.
        after: The fused luma, float32 HxW in 0..1.

    Returns:
        uint8 HxWx3, clipped, halves rounded up.
    """
    del before
    _, cr, cb = cv2.split(cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb))
    red, blue = (plane.astype(np.float32) / np.float32(255) - np.float32(0.5) for plane in (cr, cb))
    fused = np.dstack(
        [
            after + np.float32(1.403) * red,
            after - np.float32(0.714) * red - np.float32(0.344) * blue,
            after + np.float32(1.773) * blue,
        ]
    )
    return np.asarray(np.clip(fused * np.float32(255) + np.float32(0.5), 0, 255), np.uint8)


COLOURS = {"standard": Colour(luma_of, recolour), "published": Colour(published_luma, published_recolour)}


def find_colour(name: str) -> Colour:
    """A formula by its name.

    Raises:
        ParameterError: No such formula.
    """
    if name not in COLOURS:
        raise ParameterError(f"no colour formula named '{name}'; there are {', '.join(COLOURS)}")
    return COLOURS[name]
