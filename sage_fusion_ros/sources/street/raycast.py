"""Which surface each ray meets first, and where on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.sources.street.layout import FACADE, STREET_END, Building, Street
from sage_fusion_ros.sources.street.noise import hash01
from sage_fusion_ros.sources.street.view import CAMERA_HEIGHT, View

SKY, GROUND, LEFT, RIGHT, GABLE, SKYLINE = range(6)
_DEPTH_OF_HOUSE = 14.0


@dataclass(frozen=True)
class GBuffer:
    """What every ray hit.

    Attributes:
        kind: uint8, one of SKY, GROUND, LEFT and RIGHT (facades), GABLE (walls that face the camera), SKYLINE.
        x: float32, world x of the hit; for the sky, the ray's slope.
        y: float32, world y of the hit; for the sky, the ray's slope.
        z: float32, world z of the hit; a large number for the sky.
        house: int16, index into the row of houses (right ones after left ones), -1 elsewhere.
    """

    kind: npt.NDArray[np.uint8]
    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.float32]
    z: npt.NDArray[np.float32]
    house: npt.NDArray[np.int16]


SKY_DEPTH = np.float32(1e4)


def cast(street: Street, view: View, oversampling: int) -> GBuffer:
    """Casts every ray against the ground, the facades, the gables and the houses at the end of the street."""
    slope_x, slope_y = view.rays(oversampling)
    shape = slope_y.shape[0], slope_x.shape[1]
    slope_x, slope_y = np.broadcast_to(slope_x, shape), np.broadcast_to(slope_y, shape)
    kind = np.zeros(shape, np.uint8)
    depth = np.full(shape, SKY_DEPTH, np.float32)
    house = np.full(shape, -1, np.int16)

    below = slope_y < -1e-4
    depth[below] = CAMERA_HEIGHT / -slope_y[below]
    kind[below] = GROUND
    beyond = below & (depth > STREET_END)
    kind[beyond], depth[beyond] = SKY, SKY_DEPTH

    _skyline(slope_x, slope_y, kind, depth)
    for side, row, first in ((-1, street.left, 0), (1, street.right, len(street.left))):
        _facade(side, row, first, slope_x, slope_y, kind, depth, house)
        for number, building in enumerate(row):
            _gable(side, building, first + number, slope_x, slope_y, kind, depth, house)
    hit = kind != SKY
    scale = np.where(hit, depth, np.float32(1))
    x, y = slope_x * scale, slope_y * scale
    y = np.where(hit, y + np.float32(CAMERA_HEIGHT), y)
    return GBuffer(kind, x.astype(np.float32), y.astype(np.float32), depth, house)


def _facade(
    side: int,
    row: tuple[Building, ...],
    first: int,
    slope_x: npt.NDArray[np.float32],
    slope_y: npt.NDArray[np.float32],
    kind: npt.NDArray[np.uint8],
    depth: npt.NDArray[np.float32],
    house: npt.NDArray[np.int16],
) -> None:
    toward = slope_x * side
    z = np.where(toward > 1e-3, FACADE / np.maximum(toward, 1e-3), SKY_DEPTH).astype(np.float32)
    number = np.searchsorted([building.far for building in row], z).clip(0, len(row) - 1)
    height = np.array([building.height for building in row], np.float32)[number]
    y = slope_y * z + CAMERA_HEIGHT
    hit = (z < STREET_END) & (z < depth) & (y >= 0) & (y < height)
    kind[hit] = LEFT if side < 0 else RIGHT
    depth[hit] = z[hit]
    house[hit] = (number + first)[hit]


def _gable(
    side: int,
    building: Building,
    number: int,
    slope_x: npt.NDArray[np.float32],
    slope_y: npt.NDArray[np.float32],
    kind: npt.NDArray[np.uint8],
    depth: npt.NDArray[np.float32],
    house: npt.NDArray[np.int16],
) -> None:
    z = np.float32(building.near)
    if z < 4:
        return
    x, y = slope_x * z * side, slope_y * z + CAMERA_HEIGHT
    hit = (x > FACADE) & (x < FACADE + _DEPTH_OF_HOUSE) & (y > 0) & (y < building.height) & (depth > z)
    kind[hit], depth[hit], house[hit] = GABLE, z, number


def _skyline(
    slope_x: npt.NDArray[np.float32],
    slope_y: npt.NDArray[np.float32],
    kind: npt.NDArray[np.uint8],
    depth: npt.NDArray[np.float32],
) -> None:
    """Houses across the end of the street, of different heights."""
    z = np.float32(STREET_END)
    x, y = slope_x * z, slope_y * z + CAMERA_HEIGHT
    block = np.floor(x / 9.0).astype(np.int32)
    height = 9.0 + 9.0 * hash01(block, 7)
    hit = (y > 0) & (y < height) & (depth >= z)
    kind[hit], depth[hit] = SKYLINE, z
