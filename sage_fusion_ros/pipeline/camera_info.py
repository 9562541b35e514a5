"""Reads sensor_msgs/CameraInfo without trusting it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import CalibrationError
from sage_fusion_ros.pipeline.camera_model import MAX_SIDE, CameraModel

_MOST_COEFFICIENTS = 14
_LONGEST_NAME = 200


def camera_info_problem(info: Any) -> str:
    """What is wrong with a CameraInfo, or empty. Zeros in K are not wrong: they say "not calibrated"."""
    if not (0 < info.width <= MAX_SIDE and 0 < info.height <= MAX_SIDE):
        return f"its size is {info.width}x{info.height}; expected 1 to {MAX_SIDE} pixels a side"
    if len(info.d) > _MOST_COEFFICIENTS:
        return f"it has {len(info.d)} distortion coefficients; no model has more than {_MOST_COEFFICIENTS}"
    if len(info.distortion_model) > _LONGEST_NAME or len(info.header.frame_id) > _LONGEST_NAME:
        return f"its distortion_model or frame_id is longer than {_LONGEST_NAME} letters"
    for name in ("k", "d", "r", "p"):
        if not all(math.isfinite(value) for value in getattr(info, name)):
            return f"{name} holds numbers that are not finite"
    roi = info.roi
    if roi.x_offset + roi.width > info.width or roi.y_offset + roi.height > info.height:
        return (
            f"its region of interest, {roi.width}x{roi.height} at {roi.x_offset}, {roi.y_offset}, leaves the image of "
            f"{info.width}x{info.height}"
        )
    if max(info.binning_x, info.binning_y) > min(info.width, info.height):
        return f"its binning is {info.binning_x}x{info.binning_y}, more than the image has pixels"
    return ""


def image_size(info: Any) -> tuple[int, int]:
    """Width and height of the images that a CameraInfo describes: its region of interest, binned."""
    width, height = info.roi.width or info.width, info.roi.height or info.height
    return width // max(1, info.binning_x), height // max(1, info.binning_y)


def camera_model(info: Any, rectified: bool) -> tuple[CameraModel, npt.NDArray[np.float64]]:
    """The lens that made the images beside a CameraInfo.

    K and P are those of the sensor's full resolution, and are brought to the region of interest and the binning, as
    image_geometry does.

    Args:
        info: A message in which camera_info_problem found nothing.
        rectified: Whether the images are rectified: P and no distortion, instead of K and D.

    Returns:
        The lens, and the rotation from the camera's optical frame to that of the images, 3x3.

    Raises:
        CalibrationError: It is not calibrated, or its numbers are those of no lens.
    """
    p = [float(value) for value in info.p]
    matrix = [*p[0:3], *p[4:7], *p[8:11]] if rectified else [float(value) for value in info.k]
    turn = np.array(info.r, np.float64).reshape(3, 3)
    if not rectified or not turn.any():
        turn = np.eye(3)
    if np.abs(turn @ turn.T - np.eye(3)).max() > 1e-3:
        raise CalibrationError("R of its CameraInfo is no rotation")
    bin_x, bin_y = max(1, info.binning_x), max(1, info.binning_y)
    matrix[0], matrix[2] = matrix[0] / bin_x, (matrix[2] - info.roi.x_offset) / bin_x
    matrix[4], matrix[5] = matrix[4] / bin_y, (matrix[5] - info.roi.y_offset) / bin_y
    # Drivers without a model leave its name empty and have no coefficients.
    distortion = () if rectified else tuple(float(value) for value in info.d)
    model = info.distortion_model if distortion else "plumb_bob"
    if not any(distortion) and model not in ("equidistant", "fisheye"):
        model, distortion = "plumb_bob", ()
    return CameraModel(*image_size(info), tuple(matrix), model, distortion), turn
