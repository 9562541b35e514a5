"""Bodies drawn from tapered limbs and stacked levels, collected first and computed together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.sources.street.canvas import Piece
from sage_fusion_ros.sources.street.light import ActorLight
from sage_fusion_ros.sources.street.view import View

Vector = npt.NDArray[np.float64]
_BEGIN = np.array((-1.0, -0.38, 0.40))
_END = np.array((-0.38, 0.40, 1.0))
_TURN = np.array((-0.82, 0.0, 0.82))
"""A limb is a cylinder in three strips: from, to (in half widths), and how far the normal turns aside."""
_DEEP = -np.sqrt(1 - _TURN**2)
_FINE_SCALE = 14.0
"""Pixels to the metre from which limbs get strips and round ends."""
_ANGLES = np.arange(8) * (2 * np.pi / 8)
CIRCLE = np.column_stack((np.cos(_ANGLES), np.sin(_ANGLES)))
FRONT = np.array((0.0, 0.2, -0.98))


class Sketch:
    """Collects pieces with their normals, and turns them into light and temperature at the end."""

    def __init__(self, view: View, light: ActorLight, place: tuple[float, float]) -> None:
        self._view, self._shading = view, light
        self._light = light.at(*place)
        self._fine = view.focal / max(place[1], 0.1) > _FINE_SCALE
        self._parts: list[list[tuple[Piece, Vector, Vector, float]]] = []
        self._limbs: list[tuple[int, Vector, tuple[float, float], Vector, float]] = []

    def add(self, points: Vector, albedo: Vector, normal: Vector, celsius: float, thickness: float = 0.0) -> None:
        """Adds one piece, its points in pixels."""
        self._parts.append([(Piece(points, thickness), albedo, normal, celsius)])

    def limb(self, ends: Vector, radii: tuple[float, float], albedo: Vector, celsius: float) -> None:
        """Adds a tapered limb between two world points (2, 3) with radii in metres, its first end rounded."""
        self._limbs.append((len(self._parts), ends, radii, albedo, celsius))
        self._parts.append([])

    def slab(self, levels: list[tuple[Vector, float]], albedo: Vector, celsius: float) -> None:
        """Adds a body of stacked levels (world centre, half width across the image in metres)."""
        middles = self.pixels(np.array([level[0] for level in levels]))
        widths = np.array([level[1] for level in levels]) * self._view.focal / max(float(levels[0][0][2]), 0.1)
        x, y = middles[:, :1], np.repeat(middles[:, 1:], 3, axis=1)
        left = np.stack((x + widths[:, None] * _BEGIN, y), axis=-1)
        right = np.stack((x + widths[:, None] * _END, y), axis=-1)
        quads = np.stack((left[:-1], right[:-1], right[1:], left[1:]), axis=2)
        normals = np.column_stack((_TURN, np.full(3, 0.12), _DEEP))
        self._parts.append(
            [
                (Piece(quads[row, strip]), albedo, normals[strip], celsius - 0.8 * abs(float(_TURN[strip])))
                for strip in range(3)
                for row in range(len(levels) - 1)
            ]
        )

    def pixels(self, points: Vector) -> Vector:
        """World points (..., 3) to pixels (..., 2)."""
        return self._view.project(points)

    def finish(self) -> tuple[list[Piece], Vector, Vector]:
        """(pieces, light Nx3, temperatures N)."""
        if self._limbs:
            self._compute_limbs()
        flat = [entry for part in self._parts for entry in part]
        pieces, albedo, normals, celsius = zip(*flat, strict=True)
        return list(pieces), self._shading.shade(self._light, np.array(normals)) * np.array(albedo), np.array(celsius)

    def _compute_limbs(self) -> None:
        places, ends, radii, albedo, celsius = zip(*self._limbs, strict=True)
        world = np.array(ends)
        pixels = self._view.project(world)  # (N, 2, 2)
        widths = np.array(radii) * self._view.focal / np.maximum(world[..., 2], 0.1)
        axis = pixels[:, 1] - pixels[:, 0]
        side = (
            np.stack((-axis[:, 1], axis[:, 0]), axis=-1) / np.maximum(np.hypot(axis[:, 0], axis[:, 1]), 1e-6)[:, None]
        )
        if not self._fine:
            reach = side[:, None] * widths[..., None]
            begin, end = pixels[:, 0], pixels[:, 1]
            whole = np.stack((begin - reach[:, 0], begin + reach[:, 0], end + reach[:, 1], end - reach[:, 1]), axis=1)
            for number, place in enumerate(places):
                self._parts[place] = [(Piece(whole[number]), albedo[number], FRONT, celsius[number])]
            return
        first, last = (pixels[:, None, end] for end in (0, 1))
        at_first, at_last = (side[:, None] * widths[:, end, None, None] for end in (0, 1))
        begin, stop = _BEGIN[None, :, None], _END[None, :, None]
        corners = np.stack(
            (first + at_first * begin, first + at_first * stop, last + at_last * stop, last + at_last * begin), axis=2
        )  # (N, 3, 4, 2)
        caps = pixels[:, 0, None] + CIRCLE * widths[:, 0, None, None]
        flat = side[:, None] * _TURN[None, :, None]
        normals = np.concatenate((flat * (1, -1), np.broadcast_to(_DEEP[None, :, None], (*flat.shape[:2], 1))), axis=-1)
        for number, place in enumerate(places):
            colour, warmth = albedo[number], celsius[number]
            self._parts[place] = [
                (Piece(caps[number]), colour, FRONT, warmth),
                (Piece(corners[number, 0]), colour, normals[number, 0], warmth - 0.75),
                (Piece(corners[number, 2]), colour, normals[number, 2], warmth - 0.75),
                (Piece(corners[number, 1]), colour, normals[number, 1], warmth),
            ]
