"""Where each pixel of the RGB image lies in the thermal image: by a homography, or by two lenses and a plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import CalibrationError
from sage_fusion_ros.pipeline.camera_model import MAX_SIDE, CameraModel, Points, check_shape

Size = tuple[int, int]  # width, height
Matrix = npt.NDArray[np.float64]
_MOST_TURNED = 1e-3  # by how much a rotation may miss being one


class PixelMap(Protocol):
    """What registration knows of the two cameras. Immutable."""

    def thermal_points(self, pixels: Points, rgb_size: Size, thermal_size: Size) -> Points:
        """Where pixels of the RGB image lie in the thermal image.

        Args:
            pixels: float64 Nx2, column and row, of an RGB image of this size.
            rgb_size: Width and height of the RGB image.
            thermal_size: Of the thermal image.

        Returns:
            float64 Nx2, also outside of the thermal image; NaN where there is no such place.

        Raises:
            CalibrationError: The calibration does not hold for images of these sizes.
        """


@dataclass(frozen=True)
class HomographyMap:
    """One 3x3 matrix. Exact for cameras in one place, and for a plane; elsewhere it is as good as the scene is far.

    Attributes:
        matrix: From thermal to RGB pixels, row by row, centres at whole numbers.
        rgb_size: Width and height of the RGB images that it holds for; others of the same shape are scaled.
        thermal_size: Likewise.

    Raises:
        CalibrationError: The matrix is none that a camera could make.
    """

    matrix: tuple[float, ...]
    rgb_size: Size
    thermal_size: Size

    def __post_init__(self) -> None:
        for name, size in (("RGB", self.rgb_size), ("thermal", self.thermal_size)):
            if not all(0 < side <= MAX_SIDE for side in size):
                raise CalibrationError(f"the {name} size is {size[0]}x{size[1]}; expected 1 to {MAX_SIDE} a side")
        if len(self.matrix) != 9 or not np.isfinite(self.matrix).all() or max(map(abs, self.matrix)) > 1e9:
            raise CalibrationError("the homography holds numbers that are not finite, or far too large")
        width, height = self.thermal_size
        corners = np.array([[0, 0, 1], [width - 1, 0, 1], [width - 1, height - 1, 1], [0, height - 1, 1]], np.float64)
        depths = corners @ np.array(self.matrix).reshape(3, 3)[2]
        if depths.min() * depths.max() <= 0:
            raise CalibrationError("the homography sends a part of the thermal image to infinity; calibrate again")
        # In units of the images, so that the size of the numbers does not matter.
        unit = np.diag([1 / self.rgb_size[0], 1 / self.rgb_size[1], 1.0]) @ np.array(self.matrix).reshape(3, 3)
        unit = unit @ np.diag([width, height, 1.0])
        if np.linalg.cond(unit) > 1e7:
            raise CalibrationError("the homography has no inverse: it presses the thermal image flat; calibrate again")

    def thermal_points(self, pixels: Points, rgb_size: Size, thermal_size: Size) -> Points:
        """See PixelMap."""
        check_shape(self.rgb_size, rgb_size)
        check_shape(self.thermal_size, thermal_size)
        matrix = resizing(self.rgb_size, rgb_size) @ np.array(self.matrix).reshape(3, 3)
        inverse = np.linalg.inv(matrix @ resizing(thermal_size, self.thermal_size))
        # The sign by which a point in front is known: that of the thermal image's own middle.
        middle = np.array([(thermal_size[0] - 1) / 2, (thermal_size[1] - 1) / 2, 1.0])
        seen = np.linalg.inv(inverse) @ middle
        sign = np.sign((inverse @ (seen / seen[2]))[2])
        mapped = np.column_stack([pixels, np.ones(len(pixels))]) @ inverse.T
        depth = mapped[:, 2] * sign
        with np.errstate(divide="ignore", invalid="ignore"):
            points = mapped[:, :2] / mapped[:, 2:]
        points[~(depth > 1e-12)] = np.nan
        return np.asarray(points, np.float64)


@dataclass(frozen=True)
class Extrinsics:
    """How the thermal camera stands: p_rgb = rotation p_thermal + translation, both optical frames, in metres.

    The same as TF's transform with the RGB camera's frame as target and the thermal camera's as source.

    Attributes:
        rotation: 3x3 row by row.
        translation: x, y, z in metres.

    Raises:
        CalibrationError: The rotation is none, or a number is not finite.
    """

    rotation: tuple[float, ...]
    translation: tuple[float, float, float]

    def __post_init__(self) -> None:
        if len(self.rotation) != 9 or len(self.translation) != 3:
            raise CalibrationError("extrinsics need a rotation of 9 numbers and a translation of 3")
        if not (np.isfinite(self.rotation).all() and np.isfinite(self.translation).all()):
            raise CalibrationError("the extrinsics hold numbers that are not finite")
        turn = np.array(self.rotation).reshape(3, 3)
        if np.abs(turn @ turn.T - np.eye(3)).max() > _MOST_TURNED or np.linalg.det(turn) < 0:
            raise CalibrationError("the rotation of the extrinsics is no rotation: its rows are not at right angles")

    @classmethod
    def from_quaternion(cls, xyzw: tuple[float, ...], translation: tuple[float, float, float]) -> Extrinsics:
        """From a quaternion in ROS's order, x, y, z, w, of length 1 within a hundredth.

        Raises:
            CalibrationError: It is of another length.
        """
        length = float(np.linalg.norm(xyzw)) if len(xyzw) == 4 else np.nan
        if not abs(length - 1) <= 0.01:
            raise CalibrationError(f"the extrinsics' quaternion has the length {length:g}; expected x, y, z, w, of 1")
        x, y, z, w = (float(value) / length for value in xyzw)
        rotation = (
            *(1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
            *(2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
            *(2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
        )
        return cls(rotation, translation)


@dataclass(frozen=True)
class PlaneMap:
    """Two lenses and how they stand; the scene is a plane across the RGB camera's axis at one distance.

    Attributes:
        rgb: The RGB camera.
        thermal: The thermal camera.
        extrinsics: How it stands.
        distance_m: Distance of the plane in metres, above 0. What is nearer or farther is off by the parallax:
            focal length x baseline x |1/distance - 1/true distance| pixels.

    Raises:
        CalibrationError: The distance is none.
    """

    rgb: CameraModel
    thermal: CameraModel
    extrinsics: Extrinsics
    distance_m: float

    def __post_init__(self) -> None:
        if not 0 < self.distance_m < np.inf:
            raise CalibrationError(f"the plane's distance is {self.distance_m} m; expected a number above 0")

    def thermal_points(self, pixels: Points, rgb_size: Size, thermal_size: Size) -> Points:
        """See PixelMap."""
        rays = self.rgb.scaled(*rgb_size).rays(pixels)
        on_plane = np.column_stack([rays, np.ones(len(rays))]) * self.distance_m
        turn = np.array(self.extrinsics.rotation).reshape(3, 3)
        seen_by_thermal = (on_plane - np.array(self.extrinsics.translation)) @ turn  # the inverse of R is its transpose
        return self.thermal.scaled(*thermal_size).project(seen_by_thermal)


def resizing(old: Size, new: Size) -> Matrix:
    """The matrix that resizing an image applies to its pixels' centres: 3x3, float64."""
    sx, sy = new[0] / old[0], new[1] / old[1]
    return np.array([[sx, 0, 0.5 * sx - 0.5], [0, sy, 0.5 * sy - 0.5], [0, 0, 1]])
