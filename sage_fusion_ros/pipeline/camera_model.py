"""A camera's lens: pixels to rays and back, for the distortion models of sensor_msgs/CameraInfo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import CalibrationError

Points = npt.NDArray[np.float64]

# ROS's names (sensor_msgs/distortion_models.hpp) and "fisheye", which some drivers write for the same as equidistant.
DISTORTION_MODELS = ("plumb_bob", "rational_polynomial", "equidistant", "fisheye")
_COUNTS = {"plumb_bob": (0, 4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (0, 4), "fisheye": (0, 4)}
MAX_SIDE = 16384
_LARGEST = 1e6  # of a coefficient; what is larger is no lens
_ROUND_TRIP_PX = 0.5
_SEARCH_TAN = 12.0  # tangent of the widest angle at which a distortion is followed, 85 degrees


@dataclass(frozen=True)
class CameraModel:
    """A pinhole camera with a distorted lens; pixel centres lie at whole numbers, as in OpenCV and ROS.

    Attributes:
        width, height: Size of its images in pixels.
        matrix: K row by row: fx, 0, cx, 0, fy, cy, 0, 0, 1.
        distortion_model: One of DISTORTION_MODELS.
        distortion: Its coefficients in ROS's order; empty for none.

    Raises:
        CalibrationError: A number is not finite, out of range, or there are too few or too many.
    """

    width: int
    height: int
    matrix: tuple[float, ...]
    distortion_model: str = "plumb_bob"
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not (0 < self.width <= MAX_SIDE and 0 < self.height <= MAX_SIDE):
            raise CalibrationError(f"image size {self.width}x{self.height}; expected 1 to {MAX_SIDE} pixels a side")
        if len(self.matrix) != 9 or not np.isfinite(self.matrix).all():
            raise CalibrationError(f"K is {_short(self.matrix)}; expected 9 finite numbers")
        fx, fy = self.matrix[0], self.matrix[4]
        if not (0 < fx <= _LARGEST and 0 < fy <= _LARGEST) or self.matrix[8] != 1.0:
            raise CalibrationError(
                f"K has the focal lengths {fx:g} and {fy:g} and ends in {self.matrix[8]:g}; expected focal lengths "
                "above 0 in pixels, and 1. A camera driver sends zeros while it is not calibrated"
            )
        zeros = [self.matrix[i] for i in (1, 3, 6, 7)]
        if any(zeros) or max(abs(self.matrix[i]) for i in (2, 5)) > _LARGEST:
            raise CalibrationError(f"K is {_short(self.matrix)}; expected [fx, 0, cx, 0, fy, cy, 0, 0, 1]")
        if self.distortion_model not in DISTORTION_MODELS:
            raise CalibrationError(
                f"distortion model '{self.distortion_model[:40]}' is unknown; expected {', '.join(DISTORTION_MODELS)}"
            )
        counts = _COUNTS[self.distortion_model]
        if len(self.distortion) not in counts:
            raise CalibrationError(
                f"{self.distortion_model} has {len(self.distortion)} coefficients; expected "
                f"{' or '.join(str(count) for count in counts)}"
            )
        if not np.isfinite(self.distortion).all() or max(map(abs, self.distortion), default=0.0) > _LARGEST:
            raise CalibrationError(f"the distortion is {_short(self.distortion)}; expected finite numbers")

    @property
    def is_fisheye(self) -> bool:
        """Whether angles, not their tangents, are mapped."""
        return self.distortion_model in ("equidistant", "fisheye")

    def scaled(self, width: int, height: int) -> CameraModel:
        """The same lens for images resized to another size of the same shape.

        Raises:
            CalibrationError: The shapes differ, so that the images were cropped and not resized alone.
        """
        if (width, height) == (self.width, self.height):
            return self
        check_shape((self.width, self.height), (width, height))
        sx, sy = width / self.width, height / self.height
        fx, _, cx, _, fy, cy = self.matrix[:6]
        matrix = (fx * sx, 0.0, (cx + 0.5) * sx - 0.5, 0.0, fy * sy, (cy + 0.5) * sy - 0.5, 0.0, 0.0, 1.0)
        return replace(self, width=width, height=height, matrix=matrix)

    def rays(self, pixels: Points) -> Points:
        """Where a pixel looks.

        Args:
            pixels: float64 Nx2.

        Returns:
            float64 Nx2, x/z and y/z of its ray; NaN where the distortion has no inverse.
        """
        matrix = np.array(self.matrix).reshape(3, 3)
        points = np.ascontiguousarray(pixels, np.float64).reshape(-1, 1, 2)
        coefficients = np.array(self.distortion or (0.0,) * 4)
        criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-10)
        if self.is_fisheye:
            found = np.asarray(cv2.fisheye.undistortPoints(points, matrix, coefficients, criteria=criteria))
        else:
            nothing = np.eye(3)
            found = np.asarray(cv2.undistortPointsIter(points, matrix, coefficients, nothing, nothing, criteria))
        rays = np.array(found, np.float64).reshape(-1, 2)
        rays[~np.isfinite(rays).all(axis=1) | (np.abs(rays) > _SEARCH_TAN).any(axis=1)] = np.nan
        back = self.project(np.column_stack([rays, np.ones(len(rays))]))
        off = ~(np.hypot(*(back - pixels).T) <= _ROUND_TRIP_PX)  # also where there is no number
        rays[off] = np.nan
        return rays

    def project(self, points: Points) -> Points:
        """Where a point is seen.

        Args:
            points: float64 Nx3 in the camera's optical frame: x right, y down, z forward.

        Returns:
            float64 Nx2 pixels, also outside of the image; NaN for points behind the camera, and for those so far
            aside that the distortion folds back over the image.
        """
        usable = (points[:, 2] > 1e-9) & np.isfinite(points).all(axis=1)
        pixels = np.full((len(points), 2), np.nan)
        ahead = points[usable] / points[usable, 2:]
        if not len(ahead):
            return pixels
        matrix = np.array(self.matrix).reshape(3, 3)
        radius = np.hypot(ahead[:, 0], ahead[:, 1])
        within = radius <= self._widest()
        zero = np.zeros(3)
        coefficients = np.array(self.distortion or (0.0,) * 4)
        project = cv2.fisheye.projectPoints if self.is_fisheye else cv2.projectPoints
        seen = np.array(project(ahead.reshape(-1, 1, 3), zero, zero, matrix, coefficients)[0], np.float64).reshape(
            -1, 2
        )
        seen[~within | ~np.isfinite(seen).all(axis=1)] = np.nan
        pixels[usable] = seen
        return pixels

    def _widest(self) -> float:
        """The tangent of the angle from the axis beyond which the radial distortion runs backwards."""
        tangent = np.linspace(0.0, _SEARCH_TAN, 4801)
        d = self.distortion
        if not any(d):
            return np.inf
        if self.is_fisheye:
            angle = np.arctan(tangent)
            mapped = angle * (1 + d[0] * angle**2 + d[1] * angle**4 + d[2] * angle**6 + d[3] * angle**8)
        else:
            k = (*d, *(0.0,) * (8 - min(8, len(d))))
            r2 = tangent**2
            below = 1 + k[5] * r2 + k[6] * r2**2 + k[7] * r2**3
            with np.errstate(divide="ignore", invalid="ignore"):
                mapped = tangent * (1 + k[0] * r2 + k[1] * r2**2 + k[4] * r2**3) / below
        with np.errstate(invalid="ignore"):
            forward = np.diff(mapped) > 0
        backward = np.flatnonzero(~forward)
        return np.inf if not len(backward) else float(tangent[backward[0]])


def check_shape(calibrated: tuple[int, int], found: tuple[int, int]) -> None:
    """Holds two (width, height) to the same shape, within one pixel of rounding.

    Raises:
        CalibrationError: They differ in more than size.
    """
    (cw, ch), (fw, fh) = calibrated, found
    if abs(fw * ch / cw - fh) > 1 and abs(fh * cw / ch - fw) > 1:
        raise CalibrationError(
            f"the calibration is for images of {cw}x{ch}, and these are {fw}x{fh}: that is another part of the image, "
            "not another size of it; calibrate again at this size"
        )


def _short(numbers: Sequence[float]) -> str:
    shown = ", ".join(f"{float(number):g}" for number in numbers[:14])
    return f"[{shown}{', ...' if len(numbers) > 14 else ''}]"
