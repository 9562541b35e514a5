"""Where parts of the thermal image lie in the RGB image: correlation of edges, added up over all frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from sage_fusion_ros.evaluation.alignment.features import Floats, Matrix, View, oriented_gradients, scaling, shrink

_INSIDE = 0.95  # a part counts where the thermal image covers so much of it


@dataclass(frozen=True)
class Level:
    """The frames at one resolution of the pyramid.

    Attributes:
        size: Width and height of the RGB images.
        rgb: Features of each RGB image, float32 HxWx4.
        thermal: Thermal images, uint8, at their own size or near the level's.
        to_level: Maps pixels of the original thermal image to those in `thermal`.
        from_rgb: Maps pixels of the original RGB image to the level's.
    """

    size: tuple[int, int]
    rgb: list[Floats]
    thermal: list[np.ndarray]
    to_level: Matrix
    from_rgb: Matrix

    @classmethod
    def make(cls, views: Sequence[View], longer_side: int) -> Level:
        """Frames whose RGB images are brought to a longer side of so many pixels, never enlarged."""
        height, width = views[0].rgb.shape
        factor = min(1.0, longer_side / max(height, width))
        size = (round(width * factor), round(height * factor))
        thermal_height, thermal_width = views[0].thermal.shape
        shrunk = min(1.0, max(size[0] / thermal_width, size[1] / thermal_height))
        thermal_size = (max(8, round(thermal_width * shrunk)), max(8, round(thermal_height * shrunk)))
        return cls(
            size,
            [oriented_gradients(shrink(view.rgb, *size)) for view in views],
            [shrink(view.thermal, *thermal_size) for view in views],
            scaling((thermal_width, thermal_height), thermal_size),
            scaling((width, height), size),
        )

    def matrix(self, homography: Matrix) -> Matrix:
        """A homography from original thermal to original RGB pixels as one between the level's."""
        return np.asarray(self.from_rgb @ homography @ np.linalg.inv(self.to_level))

    def warped(self, index: int, homography: Matrix) -> Floats:
        """Features of a frame's thermal image where it lies in the RGB image, float32 HxWx4."""
        warped = cv2.warpPerspective(
            self.thermal[index], self.matrix(homography), self.size, borderMode=cv2.BORDER_REPLICATE
        )
        return oriented_gradients(np.asarray(warped, np.uint8))

    def covered(self, homography: Matrix) -> np.ndarray:
        """Where the thermal image lies in the RGB image: uint8 HxW, 0 or 1."""
        ones = np.ones(self.thermal[0].shape, np.uint8)
        return np.asarray(cv2.warpPerspective(ones, self.matrix(homography), self.size, flags=cv2.INTER_NEAREST))


@dataclass(frozen=True)
class Surfaces:
    """How well each part of the warped thermal image fits in the RGB image, by how far it is moved.

    Attributes:
        size: Width and height of the level's images.
        centres: float64 Nx2, middle of each part in the level's pixels.
        values: float64 Nx(2r+1)x(2r+1), mean correlation over the frames, -1..1; no shift is in the middle.
    """

    size: tuple[int, int]
    centres: np.ndarray
    values: np.ndarray


def find_surfaces(
    level: Level, homography: Matrix, radius: int, frames: Sequence[int], block: float = 0.25, grid: int = 6
) -> Surfaces:
    """Correlates each part of the warped thermal image with the places around it in the RGB image.

    Correlations are added up over the frames before a best place is looked for: an edge that only one camera sees is
    somewhere else in each frame, one that both see adds up.

    Args:
        level: The frames.
        homography: From original thermal to original RGB pixels.
        radius: How far to look, in the level's pixels.
        frames: Indices of the frames to use.
        block: Side of a part, of the image's.
        grid: Parts in a row and in a column; they overlap.

    Returns:
        Those parts that the thermal image covers.
    """
    width, height = level.size
    block_w, block_h = round(width * block), round(height * block)
    covered = level.covered(homography)
    lefts = np.linspace(radius, width - radius - block_w, grid).astype(int)
    tops = np.linspace(radius, height - radius - block_h, grid).astype(int)
    blocks = [(x, y) for y in tops for x in lefts if covered[y : y + block_h, x : x + block_w].mean() >= _INSIDE]
    sums = np.zeros((len(blocks), 2 * radius + 1, 2 * radius + 1))
    for index in frames:
        thermal, rgb = level.warped(index, homography), level.rgb[index]
        for surface, (x, y) in zip(sums, blocks, strict=True):
            window = rgb[y - radius : y + block_h + radius, x - radius : x + block_w + radius]
            surface += correlation(window, thermal[y : y + block_h, x : x + block_w])
    centres = np.array(blocks, np.float64).reshape(-1, 2) + np.array([block_w - 1, block_h - 1]) / 2
    return Surfaces(level.size, centres, sums / max(1, len(frames)))


def correlation(window: Floats, template: Floats) -> Floats:
    """Normalised cross-correlation of a block with every place of a window, -1..1; 0 where either shows nothing.

    Args:
        window: float32 HxWx4.
        template: float32 hxwx4, not larger.

    Returns:
        float32 (H-h+1)x(W-w+1).
    """
    if float(template.std()) < 1e-4 or float(window.std()) < 1e-4:  # nothing in it, and 0/0 in OpenCV
        return np.zeros((window.shape[0] - template.shape[0] + 1, window.shape[1] - template.shape[1] + 1), np.float32)
    result = cv2.matchTemplate(np.ascontiguousarray(window), np.ascontiguousarray(template), cv2.TM_CCOEFF_NORMED)
    return np.nan_to_num(np.asarray(result, np.float32))


def sub_pixel_peak(surface: np.ndarray) -> tuple[float, float] | None:
    """Column and row of the highest point, between pixels by a parabola; None where it lies on the edge."""
    row, column = np.unravel_index(int(surface.argmax()), surface.shape)
    if not (0 < row < surface.shape[0] - 1 and 0 < column < surface.shape[1] - 1):
        return None

    def vertex(before: float, middle: float, after: float) -> float:
        bend = before - 2 * middle + after
        return 0.0 if bend >= 0 else float(np.clip(0.5 * (before - after) / bend, -0.5, 0.5))

    line, file = surface[row], surface[:, column]
    return (
        float(column) + vertex(*line[column - 1 : column + 2]),
        float(row) + vertex(*file[row - 1 : row + 2]),
    )


def clear_distances(surfaces: Surfaces, least: float) -> np.ndarray:
    """How far from no shift the best place of each part lies, in pixels of the level.

    Args:
        surfaces: Of all parts.
        least: Standard deviations by which a best place has to stand out; other parts are left out.

    Returns:
        float64 N; a best place on the edge of the search counts as the whole radius.
    """
    radius = surfaces.values.shape[1] // 2
    found = []
    for surface in surfaces.values:
        if sharpness(surface) >= least:
            peak = sub_pixel_peak(surface)
            found.append(float(radius) if peak is None else float(np.hypot(peak[0] - radius, peak[1] - radius)))
    return np.array(found, np.float64)


def sharpness(surface: np.ndarray) -> float:
    """By how many standard deviations of the other places the best one stands out from their mean."""
    row, column = np.unravel_index(int(surface.argmax()), surface.shape)
    others = np.ones(surface.shape, bool)
    others[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3] = False
    rest = surface[others]
    spread = float(rest.std())
    return float((surface[row, column] - rest.mean()) / spread) if spread > 1e-9 else 0.0
