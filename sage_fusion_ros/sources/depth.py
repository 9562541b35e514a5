"""Thermal images in the depth that is asked for."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import ParameterError

ENCODINGS = ("source", "mono8", "mono16")
COUNTS_PER_KELVIN = 100
"""Radiometric cameras commonly count hundredths of a kelvin."""


def to_encoding(thermal: npt.NDArray[Any], encoding: str, low: float, high: float) -> npt.NDArray[Any]:
    """Converts a thermal image.

    8 to 16 bit: value x 257, so that 0 and 255 become 0 and 65535. 16 to 8 bit: the fixed range low..high becomes
    0..255, and what lies outside is clipped; a range that followed each image would make the sequence flicker. Float
    images are taken as kelvin and counted in hundredths first.

    Args:
        thermal: HxW as uint8, uint16 or float32.
        encoding: 'source' (as it is), 'mono8' or 'mono16'.
        low: Counts that become 0 in mono8.
        high: Counts that become 255 in mono8.
    """
    if encoding not in ENCODINGS:
        raise ParameterError(f"thermal encoding is '{encoding}'; expected one of {', '.join(ENCODINGS)}")
    wanted = {"source": thermal.dtype, "mono8": np.dtype(np.uint8), "mono16": np.dtype(np.uint16)}[encoding]
    if thermal.dtype == wanted:
        return thermal
    if thermal.dtype == np.uint8:
        return thermal.astype(np.uint16) * np.uint16(257)
    if thermal.dtype == np.float32:
        thermal = np.clip(np.nan_to_num(thermal) * COUNTS_PER_KELVIN, 0, 65535).astype(np.uint16)
        if wanted == np.uint16:
            return thermal
    scale = 255.0 / max(high - low, 1.0)
    floor = np.uint16(min(max(round(low), 0), 65535))
    # Scaling saturates in OpenCV at 255, but takes the absolute value of what falls below 0.
    return cv2.convertScaleAbs(np.maximum(thermal, floor), alpha=scale, beta=-low * scale).reshape(thermal.shape)
