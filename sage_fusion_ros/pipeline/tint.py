"""Colours warm things so that they are seen at once in the dark; brightness stays as it was fused."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import ImageFormatError, ParameterError

# Grey levels by which a thing is warmer than the mean around it: where the tint begins, and where it is whole.
_CONTRAST = (30.0, 100.0)
_SURROUND = 0.5  # side of the square around, over the image's shorter side: wider than a person near the camera
_COARSE = 8  # that mean is taken on an image smaller by this factor
# Black, orange, yellow and white, each brighter than the one before: between them every brightness has one colour.
_STOPS = np.array([[0, 0, 0], [255, 115, 0], [255, 255, 0], [255, 255, 255]], np.float64)
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as in the fusion


def tint_warm(fused: npt.NDArray[np.uint8], thermal: npt.NDArray[np.uint8], strength: float) -> npt.NDArray[np.uint8]:
    """Moves what is warmer than its surroundings towards the hot colour of its own brightness.

    A thing is warm by its contrast to the mean of the square around it, half the image's shorter side wide, and not by
    its level: the grey that a thermal camera gives to a body differs from scene to scene, and by level a warm road is
    tinted whole. The mean is linear and wide, so nothing flickers with the coldest or hottest pixel of the image.

    Each pixel goes on a straight line from its colour to that of the same luma on the way black, orange, yellow, white.
    Both ends have that luma and lie inside the range, so all between do: nothing clips, and even a white face takes
    colour as far as its brightness leaves room for some.

    Args:
        fused: uint8 HxWx3 RGB.
        thermal: uint8 HxW of the same height and width, white is hot.
        strength: 0 (nothing, and the image itself is returned) to 1 (what is much warmer has the hot colour alone).

    Returns:
        uint8 HxWx3 RGB; its luma differs from that of `fused` by rounding alone, at most 1.5 levels.

    Raises:
        ImageFormatError: The sizes differ.
        ParameterError: strength is out of range.
    """
    if not 0 <= strength <= 1:
        raise ParameterError(f"the thermal tint is {strength}; expected 0 to 1")
    if fused.shape != (*thermal.shape, 3):
        raise ImageFormatError(f"the fused image is {fused.shape} and thermal is {thermal.shape}; expected one size")
    if strength == 0:
        return fused
    contrast = cv2.subtract(thermal, _surroundings(thermal))  # 0 where colder
    share = np.float32(strength) * _RAMP
    luma = cv2.cvtColor(cv2.cvtColor(fused, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    hot = cv2.LUT(luma, _HOT)
    return np.asarray(cv2.blendLinear(fused, hot, cv2.LUT(contrast, 1 - share), cv2.LUT(contrast, share)), np.uint8)


def _surroundings(thermal: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Mean of the square around each pixel; beyond the edges the image goes on as at them."""
    height, width = thermal.shape
    coarse_size = (max(1, width // _COARSE), max(1, height // _COARSE))
    coarse = cv2.resize(thermal, coarse_size, interpolation=cv2.INTER_AREA)
    side = int(min(coarse_size) * _SURROUND) | 1
    mean = cv2.blur(coarse, (side, side), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(mean, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _hot_colours() -> npt.NDArray[np.uint8]:
    """uint8 1x256x3: for each luma the colour on the way through the stops that has it."""
    stops = _STOPS @ _LUMA
    levels = np.arange(256)
    colours = np.stack([np.interp(levels, stops, channel) for channel in _STOPS.T], axis=-1)
    return np.asarray(np.rint(colours)[None], np.uint8)


def _ramp() -> npt.NDArray[np.float32]:
    """float32 256: share of the hot colour for each contrast."""
    low, high = _CONTRAST
    return np.asarray(np.clip((np.arange(256) - low) / (high - low), 0, 1), np.float32)


_HOT = _hot_colours()
_RAMP = _ramp()
