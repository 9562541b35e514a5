"""Brings the thermal image into the RGB image's geometry, and keeps the RGB image where thermal does not reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import CalibrationError
from sage_fusion_ros.pipeline.pixel_maps import PixelMap, Size

Pixels = npt.NDArray[np.uint8]

METHODS = ("none", "homography", "calibrated")
UNREADY = ("rgb_only", "unregistered", "stop")  # what to do while the calibration is missing or can't be used
FEATHER = 0.03  # width of the seam, of the longer side: a hard one is an edge that is in neither image
_LEAST_COVERED = 0.01
_STEP = 4


@dataclass(frozen=True)
class Coverage:
    """Which part of the RGB image thermal reaches, and how the two are joined.

    Attributes:
        valid: uint8 HxW, 255 where thermal reaches, 0 elsewhere.
        share: Of the image that it reaches, 0..1.
        weight: float32 HxW, how much of the fused image goes out: 0 outside, rising to 1 over the seam, all of which
            lies inside. None where thermal reaches everywhere.
        rest: 1 - weight.
    """

    valid: Pixels
    share: float
    weight: npt.NDArray[np.float32] | None
    rest: npt.NDArray[np.float32] | None = None

    @classmethod
    def of(cls, valid: Pixels) -> Coverage:
        """From the valid area, uint8 HxW, 0 or 255. The image's own border makes no seam."""
        share = cv2.countNonZero(valid) / valid.size
        if share == 1:
            return cls(valid, 1.0, None)
        distance = cv2.distanceTransform(valid, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        seam = max(1.0, FEATHER * max(valid.shape))
        weight = np.asarray(np.clip(distance / seam, 0, 1), np.float32)
        return cls(valid, share, weight, 1 - weight)

    def join(self, inside: Pixels, outside: Pixels) -> Pixels:
        """One image where thermal reaches, another elsewhere, bit for bit; a soft seam between.

        Args:
            inside: uint8 HxWx3.
            outside: uint8 HxWx3.
        """
        if self.weight is None or self.rest is None:
            return inside
        return np.asarray(cv2.blendLinear(inside, outside, self.weight, self.rest), np.uint8)


@dataclass(frozen=True)
class Registered:
    """A thermal image in the RGB image's geometry.

    Attributes:
        thermal: uint8 HxW, continued beyond its border where it does not reach; None: there is none to fuse.
        coverage: Where it reaches; None: everywhere, or nowhere without `thermal`.
    """

    thermal: Pixels | None
    coverage: Coverage | None = None

    def valid(self, height: int, width: int) -> Pixels | None:
        """Where thermal reaches in the RGB image, uint8 HxW, 255 or 0; None: everywhere."""
        if self.coverage is not None:
            return self.coverage.valid
        return np.zeros((height, width), np.uint8) if self.thermal is None else None


@dataclass(frozen=True)
class _Tables:
    """What is computed once for a map and a pair of sizes."""

    pixel_map: PixelMap
    rgb_size: Size
    thermal_size: Size
    inner_size: Size = (0, 0)  # the thermal image is brought to this size first, so that shrinking does not alias
    maps: tuple[npt.NDArray[Any], npt.NDArray[Any]] | None = None
    coverage: Coverage | None = None
    problem: str = ""


class Registrar:
    """Registers one thermal image after the other. Called by one thread; `use` may be called by any.

    Args:
        pixel_map: Where RGB pixels lie in the thermal image; None while it is not known.
        unready: What to do without one, of UNREADY.
        problem: Why there is none.
    """

    def __init__(self, pixel_map: PixelMap | None = None, unready: str = "rgb_only", problem: str = "") -> None:
        self.unready = unready
        self.use(pixel_map, problem)
        self._tables: _Tables | None = None

    def use(self, pixel_map: PixelMap | None, problem: str = "") -> None:
        """Takes a map, with the next image; None: there is none, for this reason."""
        self._source = (pixel_map, problem)

    @property
    def problem(self) -> str:
        """Why nothing is registered now, or empty."""
        pixel_map, problem = self._source
        tables = self._tables
        return problem if pixel_map is None or tables is None or tables.pixel_map is not pixel_map else tables.problem

    @property
    def share(self) -> float | None:
        """Share of the RGB image that thermal reaches, 0..1; None before the first image."""
        tables = self._tables
        return None if tables is None or tables.coverage is None else tables.coverage.share

    def __call__(self, thermal: Pixels, height: int, width: int) -> Registered:
        """Registers one image.

        Args:
            thermal: uint8 hxw.
            height: Of the RGB image.
            width: Likewise.

        Raises:
            CalibrationError: It can't be registered, and `unready` is "stop".
        """
        pixel_map, problem = self._source
        if pixel_map is not None:
            tables = self._tables
            sizes = ((width, height), (thermal.shape[1], thermal.shape[0]))
            if tables is None or tables.pixel_map is not pixel_map or (tables.rgb_size, tables.thermal_size) != sizes:
                tables = self._tables = _build(pixel_map, *sizes)
            if tables.maps is not None:
                return Registered(_warp(thermal, tables.inner_size, tables.maps), tables.coverage)
            problem = tables.problem
        if self.unready == "stop":
            raise CalibrationError(f"not registered, and registration.unready is stop: {problem}")
        if self.unready == "rgb_only":
            return Registered(None)
        return Registered(resize_to(thermal, height, width))


def _build(pixel_map: PixelMap, rgb_size: Size, thermal_size: Size) -> _Tables:
    try:
        points = _points(pixel_map, rgb_size, thermal_size)
    except CalibrationError as error:
        return _Tables(pixel_map, rgb_size, thermal_size, problem=str(error))
    # A thermal pixel reaches half a pixel beyond its centre; NaN compares as false.
    with np.errstate(invalid="ignore"):
        inside = (points > -0.5 - 1e-6) & (points < np.array(thermal_size) - 0.5 + 1e-6)
    reached = np.asarray(inside.all(axis=2), np.bool_)
    share = float(reached.mean())
    if share < _LEAST_COVERED:
        return _Tables(
            pixel_map,
            rgb_size,
            thermal_size,
            problem=f"by this calibration the thermal image covers {share:.1%} of the RGB image: it is of other "
            "cameras, or its translation, units or direction are wrong",
        )
    inner_size, points = _shrunk(points, reached, thermal_size)
    # Far away and unknown places repeat the nearest border: a bounded number, since the tables are of 16 bits.
    limits = np.array(inner_size, np.float64)
    points = np.clip(np.nan_to_num(points, nan=-1.0), -1.0, limits)
    columns, rows = np.ascontiguousarray(points.astype(np.float32).transpose(2, 0, 1))
    maps = cv2.convertMaps(columns, rows, cv2.CV_16SC2)
    coverage = Coverage.of(np.where(reached, 255, 0).astype(np.uint8))
    return _Tables(pixel_map, rgb_size, thermal_size, inner_size, maps, coverage)


def _points(pixel_map: PixelMap, rgb_size: Size, thermal_size: Size) -> npt.NDArray[np.float64]:
    """Where each RGB pixel lies in the thermal image, float64 HxWx2.

    Asked at every fourth pixel of every fourth row, and linear between: to undo a distortion for every pixel of a large
    image takes seconds, and no lens bends by a hundredth of a pixel over four.
    """
    nodes = [np.arange(0, side + _STEP, _STEP) for side in rgb_size]
    columns, rows = (axis.ravel() for axis in np.meshgrid(*nodes))
    asked = np.column_stack([columns, rows]).astype(np.float64)
    known = pixel_map.thermal_points(asked, rgb_size, thermal_size).reshape(len(nodes[1]), len(nodes[0]), 2)
    (x, right), (y, below) = ((np.arange(side) // _STEP, np.arange(side) % _STEP / _STEP) for side in rgb_size)
    right, below = right[None, :, None], below[:, None, None]
    lines = known[:, x] * (1 - right) + known[:, x + 1] * right
    return np.asarray(lines[y] * (1 - below) + lines[y + 1] * below, np.float64)


def _shrunk(
    points: npt.NDArray[np.float64], reached: npt.NDArray[np.bool_], thermal_size: Size
) -> tuple[Size, npt.NDArray[np.float64]]:
    """The size that a thermal image of finer pixels is averaged down to, and the points in it."""
    across = np.hypot(*np.moveaxis(np.diff(points, axis=1)[reached[:, 1:] & reached[:, :-1]], -1, 0))
    down = np.hypot(*np.moveaxis(np.diff(points, axis=0)[reached[1:] & reached[:-1]], -1, 0))
    steps = [float(np.median(step)) if len(step) else 1.0 for step in (across, down)]
    factors = [max(1.0, step) for step in steps]
    if max(factors) < 1.3:
        return thermal_size, points
    factor = max(1.0, float(np.sqrt(steps[0] * steps[1])))
    inner = (max(1, round(thermal_size[0] / factor)), max(1, round(thermal_size[1] / factor)))
    scale = np.array(inner) / np.array(thermal_size)
    return inner, (points + 0.5) * scale - 0.5


def _warp(thermal: Pixels, inner_size: Size, maps: tuple[npt.NDArray[Any], npt.NDArray[Any]]) -> Pixels:
    if inner_size != thermal.shape[::-1]:
        thermal = np.asarray(cv2.resize(thermal, inner_size, interpolation=cv2.INTER_AREA), np.uint8)
    # A repeated border, not black: an edge that is in neither image would be fused into the seam.
    return np.asarray(cv2.remap(thermal, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def resize_to(image: Pixels, height: int, width: int) -> Pixels:
    """Brings a thermal image to the RGB image's size: area averaging down (no aliasing), bilinear up."""
    if image.shape == (height, width):
        return image
    shrinks = image.shape[0] > height and image.shape[1] > width
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)
