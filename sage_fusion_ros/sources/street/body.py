"""Bodies in a pose: made once of tapered limbs and stacked levels, then placed wherever they are."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.sources.street.canvas import Outline
from sage_fusion_ros.sources.street.light import ActorLight
from sage_fusion_ros.sources.street.view import View

Vector = npt.NDArray[np.float64]
FINE_SCALE = 15.0
"""Pixels to the metre from which limbs get strips and round ends."""
_STRIPS = ((-1.0, -0.38, -0.82), (0.40, 1.0, 0.82), (-0.38, 0.40, 0.0))
"""A limb is a cylinder in three strips: from, to (in half widths), and how far the normal turns aside."""
_ANGLES = np.arange(8) * (2 * np.pi / 8)
CIRCLE = np.column_stack((np.cos(_ANGLES), np.sin(_ANGLES)))
_FRONT = np.array((0.0, 0.2, -0.98))


@dataclass(frozen=True)
class Shape:
    """A body relative to the point on the ground where it stands, in metres.

    Attributes:
        anchors: (M, 3) points of the body, each the anchor of one corner.
        offsets: (M, 2) from the anchor to the corner in the image plane, right and down.
        lengths: Corners of each piece.
        widths: Line width of each piece in metres, 0 for polygons.
        albedo: (N, 3).
        normals: (N, 3).
        celsius: (N,).
    """

    anchors: Vector
    offsets: Vector
    lengths: tuple[int, ...]
    widths: tuple[float, ...]
    albedo: Vector
    normals: Vector
    celsius: Vector

    def place(self, view: View, light: ActorLight, where: tuple[float, float]) -> tuple[Outline, Vector, Vector]:
        """(outline in pixels, light (N, 3), temperatures (N,)) of the body at world x, z."""
        scale = view.focal / where[1]
        points = view.project(self.anchors + np.array((where[0], 0.0, where[1]))) + self.offsets * scale
        lit = light.shade(light.at(*where), self.normals) * self.albedo
        lines = tuple(max(width * scale, 0.6) if width else 0.0 for width in self.widths) if any(self.widths) else ()
        return Outline(points, self.lengths, lines), lit, self.celsius


class Body:
    """Collects the pieces of a body from back to front.

    Args:
        fine: Whether limbs are drawn in strips with round ends, or as one flat piece for a far body.
    """

    def __init__(self, fine: bool) -> None:
        self._fine = fine
        self._anchors: list[Vector] = []
        self._offsets: list[Vector] = []
        self._widths: list[float] = []
        self._albedo: list[Vector] = []
        self._normals: list[Vector] = []
        self._celsius: list[float] = []

    def _add(self, anchors: Vector, offsets: Vector, look: tuple[Vector, Vector, float], width: float = 0.0) -> None:
        self._anchors.append(np.broadcast_to(anchors, (len(offsets), 3)))
        self._offsets.append(offsets)
        self._widths.append(width)
        for column, value in zip((self._albedo, self._normals, self._celsius), look, strict=True):
            column.append(value)

    def disc(
        self, middle: Vector, offset: Vector, size: Vector, albedo: Vector, normal: Vector, celsius: float
    ) -> None:
        """Adds an ellipse with half axes `size` (2), `offset` (2) aside of a point of the body, in metres."""
        self._add(middle, offset + CIRCLE * size, (albedo, normal, celsius))

    def line(self, points: list[Vector], width: float, albedo: Vector, celsius: float) -> None:
        """Adds a line through points of the body."""
        self._add(np.array(points), np.zeros((len(points), 2)), (albedo, np.array((0.0, 0.3, -0.95)), celsius), width)

    def limb(self, ends: tuple[Vector, Vector], radii: tuple[float, float], albedo: Vector, celsius: float) -> None:
        """Adds a tapered limb between two points of the body; its first end is round."""
        axis = (ends[1] - ends[0])[:2] * (1, -1)
        side = np.array((-axis[1], axis[0])) / max(float(np.hypot(*axis)), 1e-6)
        anchors = np.array((ends[0], ends[0], ends[1], ends[1]))
        if not self._fine:
            reach = np.outer((-radii[0], radii[0], radii[1], -radii[1]), side)
            self._add(anchors, reach, (albedo, _FRONT, celsius))
            return
        self._add(ends[0], CIRCLE * radii[0], (albedo, _FRONT, celsius))
        for begin, end, turn in _STRIPS:
            reach = np.outer((begin * radii[0], end * radii[0], end * radii[1], begin * radii[1]), side)
            normal = np.array((side[0] * turn, -side[1] * turn, -np.sqrt(1 - turn * turn)))
            self._add(anchors, reach, (albedo, normal, celsius - 0.9 * abs(turn)))

    def slab(self, levels: list[tuple[Vector, float]], albedo: Vector, celsius: float) -> None:
        """Adds a body of stacked levels: centre, half width across the image."""
        for begin, end, turn in _STRIPS:
            normal = np.array((turn, 0.12, -np.sqrt(0.98 - turn * turn)))
            for (upper, wide), (lower, narrow) in itertools.pairwise(levels):
                reach = np.array(((begin * wide, 0), (end * wide, 0), (end * narrow, 0), (begin * narrow, 0)))
                self._add(np.array((upper, upper, lower, lower)), reach, (albedo, normal, celsius - 0.8 * abs(turn)))

    def build(self) -> Shape:
        """The finished body."""
        return Shape(
            np.concatenate(self._anchors),
            np.concatenate(self._offsets),
            tuple(len(offsets) for offsets in self._offsets),
            tuple(self._widths),
            np.array(self._albedo),
            np.array(self._normals),
            np.array(self._celsius),
        )
