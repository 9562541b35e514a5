"""The camera: a level pinhole two metres above the middle of the road."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

CAMERA_HEIGHT = 2.0
"""Metres above the road."""


@dataclass(frozen=True)
class View:
    """A pinhole camera that looks along the road.

    Attributes:
        width: Of the image in pixels.
        height: Of the image in pixels.
    """

    width: int
    height: int

    @property
    def focal(self) -> float:
        """Focal length in pixels: 64 degrees across."""
        return 0.8 * self.width

    @property
    def center(self) -> tuple[float, float]:
        """Where the horizon's middle is, in pixels; above the image's middle, as with a shifted lens."""
        return self.width / 2 - 0.5, 0.42 * self.height

    @property
    def matrix(self) -> tuple[float, ...]:
        """The nine numbers of the camera matrix, row by row."""
        (cx, cy), f = self.center, self.focal
        return f, 0.0, cx, 0.0, f, cy, 0.0, 0.0, 1.0

    def project(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Pixels (..., 2) of world points (..., 3). Points must lie in front of the camera."""
        cx, cy = self.center
        scale = self.focal / np.maximum(points[..., 2], 0.1)
        return np.stack([cx + points[..., 0] * scale, cy - (points[..., 1] - CAMERA_HEIGHT) * scale], axis=-1)

    def rays(self, oversampling: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Slopes x/z (row) and y/z (column) of the rays through a grid finer than the pixels."""
        cx, cy = self.center
        u = (np.arange(self.width * oversampling, dtype=np.float32) + 0.5) / oversampling - 0.5
        v = (np.arange(self.height * oversampling, dtype=np.float32) + 0.5) / oversampling - 0.5
        return ((u - cx) / self.focal)[None, :], (-(v - cy) / self.focal)[:, None]
