"""The faces of a car."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
PAINT, GLASS, TYRE, HUB, DARK, HEADLIGHT, TAILLIGHT, PLATE, BONNET, GRILLE, EXHAUST = range(11)
_CORNERS = 12
_SHAPES = {
    # roof height, s of: windscreen base, roof front, roof rear, rear window base, tail
    "saloon": (1.43, 1.00, 0.30, -0.85, -1.62, -2.20),
    "hatch": (1.50, 1.05, 0.35, -1.35, -1.88, -2.00),
    "van": (1.92, 1.45, 0.95, -2.20, -2.30, -2.35),
}


@dataclass(frozen=True)
class Mesh:
    """Faces of a car whose nose points to +z; (N, corners, 3) with corners repeated to a common number."""

    corners: Vector
    normals: Vector
    material: npt.NDArray[np.int64]
    bias: Vector


class _Builder:
    def __init__(self) -> None:
        self.faces: list[tuple[Vector, Vector, int, float]] = []

    def face(self, points: list[tuple[float, float, float]], material: int, bias: float = 0.0) -> None:
        corners = np.array(points, float)
        normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
        normal /= max(float(np.linalg.norm(normal)), 1e-9)
        outward = corners.mean(0) - np.array((0.0, 0.75, 0.0))
        if normal @ outward < 0:
            normal = -normal
        padded = np.concatenate([corners, np.repeat(corners[-1:], _CORNERS - len(corners), axis=0)])
        self.faces.append((padded, normal, material, bias))

    def both(self, points: list[tuple[float, float, float]], material: int, bias: float = 0.0) -> None:
        self.face(points, material, bias)
        self.face([(-x, y, z) for x, y, z in points], material, bias)


@lru_cache(maxsize=8)
def mesh(shape: str) -> Mesh:
    """The mesh of a body shape."""
    roof, screen, front, rear, back, tail = _SHAPES[shape]
    build = _Builder()
    nose, belt = 2.15, 0.95
    # Sides in two bands, bulging at the middle; stations from tail to nose with the height of the upper edge.
    stations = [
        (tail, 0.90, 0.78),
        (back, 0.97, 0.85),
        (rear, belt, 0.88),
        (front, belt, 0.88),
        (screen, 0.93, 0.87),
        (nose, 0.68, 0.76),
    ]
    for (z0, top0, w0), (z1, top1, w1) in itertools.pairwise(stations):
        build.both([(w0 - 0.04, 0.24, z0), (w1 - 0.04, 0.24, z1), (w1 + 0.02, 0.55, z1), (w0 + 0.02, 0.55, z0)], PAINT)
        build.both([(w0 + 0.02, 0.55, z0), (w1 + 0.02, 0.55, z1), (w1 - 0.04, top1, z1), (w0 - 0.04, top0, z0)], PAINT)
    wide = 0.62 if shape != "van" else 0.74
    build.both([(0.83, belt, rear), (0.83, belt, front), (wide, roof - 0.03, front), (wide, roof - 0.03, rear)], PAINT)
    build.both([(0.81, 0.97, back), (0.83, belt, rear), (wide, roof - 0.03, rear)], PAINT)
    build.both([(0.83, belt, front), (0.82, 0.93, screen), (wide, roof - 0.03, front)], GLASS)
    middle, gap = (front + rear) / 2 + 0.1, 0.05
    for z0, z1 in ((rear + 0.10, middle - gap), (middle + gap, front - 0.02)):
        if shape == "van" and z1 < middle:
            continue
        build.both(
            [
                (0.832, belt + 0.05, z0),
                (0.832, belt + 0.05, z1),
                (wide + 0.035, roof - 0.10, z1),
                (wide + 0.035, roof - 0.10, z0),
            ],
            GLASS,
            0.05,
        )
    build.face(
        [
            (-wide, roof - 0.03, rear),
            (wide, roof - 0.03, rear),
            (wide, roof - 0.03, front),
            (-wide, roof - 0.03, front),
        ],
        PAINT,
    )
    build.face(
        [(-0.80, 0.93, screen), (0.80, 0.93, screen), (wide, roof - 0.03, front), (-wide, roof - 0.03, front)], PAINT
    )
    build.face(
        [
            (-0.72, 0.97, screen - 0.02),
            (0.72, 0.97, screen - 0.02),
            (wide - 0.06, roof - 0.09, front + 0.04),
            (-wide + 0.06, roof - 0.09, front + 0.04),
        ],
        GLASS,
        0.08,
    )
    build.face([(-0.80, 0.97, back), (0.80, 0.97, back), (wide, roof - 0.03, rear), (-wide, roof - 0.03, rear)], PAINT)
    build.face(
        [
            (-0.66, 1.02, back),
            (0.66, 1.02, back),
            (wide - 0.08, roof - 0.10, rear - 0.02),
            (-wide + 0.08, roof - 0.10, rear - 0.02),
        ],
        GLASS,
        0.08,
    )
    build.face([(-0.83, 0.93, screen), (0.83, 0.93, screen), (0.72, 0.68, nose), (-0.72, 0.68, nose)], BONNET)
    build.face([(-0.76, 0.92, tail), (0.76, 0.92, tail), (0.80, 0.97, back), (-0.80, 0.97, back)], PAINT)
    _ends(build, nose, tail)
    _wheels(build)
    corners, normals, material, bias = (np.array(column) for column in zip(*build.faces, strict=True))
    return Mesh(corners, normals, material, bias)


def _ends(build: _Builder, nose: float, tail: float) -> None:
    build.face([(-0.74, 0.50, nose + 0.03), (0.74, 0.50, nose + 0.03), (0.72, 0.68, nose), (-0.72, 0.68, nose)], PAINT)
    build.face([(-0.74, 0.24, nose), (0.74, 0.24, nose), (0.76, 0.50, nose + 0.03), (-0.76, 0.50, nose + 0.03)], PAINT)
    build.face(
        [(-0.42, 0.52, nose + 0.04), (0.42, 0.52, nose + 0.04), (0.40, 0.65, nose + 0.02), (-0.40, 0.65, nose + 0.02)],
        GRILLE,
        0.08,
    )
    build.face(
        [(-0.60, 0.26, nose + 0.02), (0.60, 0.26, nose + 0.02), (0.56, 0.36, nose + 0.03), (-0.56, 0.36, nose + 0.03)],
        DARK,
        0.08,
    )
    build.face(
        [(-0.25, 0.39, nose + 0.05), (0.25, 0.39, nose + 0.05), (0.25, 0.48, nose + 0.05), (-0.25, 0.48, nose + 0.05)],
        PLATE,
        0.12,
    )
    build.both(
        [(0.47, 0.55, nose + 0.04), (0.73, 0.54, nose + 0.01), (0.72, 0.67, nose), (0.46, 0.66, nose + 0.03)],
        HEADLIGHT,
        0.12,
    )
    build.face([(-0.77, 0.55, tail - 0.03), (0.77, 0.55, tail - 0.03), (0.76, 0.92, tail), (-0.76, 0.92, tail)], PAINT)
    build.face([(-0.75, 0.24, tail), (0.75, 0.24, tail), (0.78, 0.55, tail - 0.03), (-0.78, 0.55, tail - 0.03)], PAINT)
    build.face(
        [(-0.66, 0.25, tail - 0.02), (0.66, 0.25, tail - 0.02), (0.62, 0.36, tail - 0.03), (-0.62, 0.36, tail - 0.03)],
        DARK,
        0.08,
    )
    build.face(
        [(-0.25, 0.60, tail - 0.04), (0.25, 0.60, tail - 0.04), (0.25, 0.70, tail - 0.03), (-0.25, 0.70, tail - 0.03)],
        PLATE,
        0.12,
    )
    build.both(
        [(0.50, 0.68, tail - 0.03), (0.76, 0.68, tail - 0.02), (0.75, 0.86, tail), (0.52, 0.84, tail - 0.01)],
        TAILLIGHT,
        0.12,
    )
    build.face(
        [(0.38, 0.25, tail - 0.04), (0.52, 0.25, tail - 0.04), (0.52, 0.32, tail - 0.04), (0.38, 0.32, tail - 0.04)],
        EXHAUST,
        0.15,
    )


def _wheels(build: _Builder) -> None:
    turn = np.arange(_CORNERS) * (2 * np.pi / _CORNERS)
    for middle in (-1.30, 1.32):
        for x, radius, material, bias in (
            (0.88, 0.36, DARK, 0.10),
            (0.89, 0.31, TYRE, 0.14),
            (0.90, 0.20, HUB, 0.18),
            (0.905, 0.06, DARK, 0.2),
        ):
            ring = [(x, 0.31 + radius * float(np.sin(a)), middle + radius * float(np.cos(a))) for a in turn]
            build.both(ring, material, bias)
        for z in (middle - 0.30, middle + 0.30):
            build.both([(0.66, 0.0, z), (0.87, 0.0, z), (0.87, 0.30, z), (0.66, 0.30, z)], TYRE, -0.3)
