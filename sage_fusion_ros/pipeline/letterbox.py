"""Where an image lies inside a network's input: the one place that maps pixels there and back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

ANCHORS = ("top_left", "centre", "squeeze")
PADDING = 114  # the grey that YOLOX and Ultralytics pad with

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Letterbox:
    """An image scaled into a rectangle of a network's input.

    Coordinates are those of pixel edges: the image spans 0..width, its left pixel 0..1. A point maps by
    x_network = left + x * inner_width / width, and back by the inverse; the pixels themselves are resized by the same.

    Attributes:
        height: Of the image, in pixels.
        width: Likewise.
        net_height: Of the network's input.
        net_width: Likewise.
        top: Row of the network's input where the scaled image begins.
        left: Column likewise.
        inner_height: Rows that the scaled image takes.
        inner_width: Columns likewise.
    """

    height: int
    width: int
    net_height: int
    net_width: int
    top: int
    left: int
    inner_height: int
    inner_width: int

    @classmethod
    def fit(
        cls,
        height: int,
        width: int,
        net_height: int,
        net_width: int,
        anchor: str = "top_left",
        upscale: bool = True,
    ) -> Letterbox:
        """The largest scaled image that fits.

        Args:
            height: Of the image, at least 1.
            width: Likewise.
            net_height: Of the network's input, at least 1.
            net_width: Likewise.
            anchor: "top_left" keeps the image's shape, sizes rounded down (YOLOX); "centre" likewise in the middle,
                rounded to the nearest (Ultralytics); "squeeze" fills the input, whatever becomes of the shape.
            upscale: Whether an image smaller than the input is enlarged.

        Raises:
            ValueError: Another anchor, or a size below 1.
        """
        if anchor not in ANCHORS or min(height, width, net_height, net_width) < 1:
            raise ValueError(f"letterbox '{anchor}' of {width}x{height} in {net_width}x{net_height}")
        if anchor == "squeeze":
            return cls(height, width, net_height, net_width, 0, 0, net_height, net_width)
        # The scale as a fraction, so that a side which fits exactly loses no pixel to rounding.
        up, down = (net_height, height) if net_height * width <= net_width * height else (net_width, width)
        if up > down and not upscale:
            up = down
        half = down // 2 if anchor == "centre" else 0
        inner_height = max(1, min(net_height, (height * up + half) // down))
        inner_width = max(1, min(net_width, (width * up + half) // down))
        top = (net_height - inner_height) // 2 if anchor == "centre" else 0
        left = (net_width - inner_width) // 2 if anchor == "centre" else 0
        return cls(height, width, net_height, net_width, top, left, inner_height, inner_width)

    def apply(self, image: Pixels, padding: int = PADDING, interpolation: int = cv2.INTER_LINEAR) -> Pixels:
        """Scales and pads an image.

        Args:
            image: uint8 height x width x 3.
            padding: Level of the rest, 0..255.
            interpolation: OpenCV's.

        Returns:
            uint8 net_height x net_width x 3; the image itself where nothing is to be done.
        """
        if image.shape[:2] != (self.inner_height, self.inner_width):
            size = (self.inner_width, self.inner_height)
            image = np.asarray(cv2.resize(image, size, interpolation=interpolation), np.uint8)
        bottom = self.net_height - self.top - self.inner_height
        right = self.net_width - self.left - self.inner_width
        if not (self.top or self.left or bottom or right):
            return image
        border = (self.top, bottom, self.left, right)
        return np.asarray(cv2.copyMakeBorder(image, *border, cv2.BORDER_CONSTANT, value=(padding,) * 3), np.uint8)

    def to_network(self, xyxy: Floats) -> Floats:
        """Corners in pixels of the image, float32 Nx4, to pixels of the network's input."""
        scale, offset = self._mapping()
        return xyxy * scale + offset

    def to_image(self, xyxy: Floats, clip: bool = True) -> Floats:
        """Corners in pixels of the network's input, float32 Nx4, to pixels of the image: the inverse of to_network.

        Args:
            xyxy: float32 Nx4.
            clip: Cut off what lies outside of the image.
        """
        scale, offset = self._mapping()
        corners = (xyxy - offset) / scale
        if clip:
            corners = np.clip(corners, 0, np.array([self.width, self.height] * 2, np.float32))
        return np.asarray(corners, np.float32)

    def _mapping(self) -> tuple[Floats, Floats]:
        scale = [self.inner_width / self.width, self.inner_height / self.height]
        return np.array(scale * 2, np.float32), np.array([self.left, self.top] * 2, np.float32)

    def sample(self, grid: Pixels) -> Pixels:
        """A mask over the whole network's input, in the image's size.

        Each pixel takes the cell of the grid that its centre falls into by the mapping of to_network.

        Args:
            grid: uint8 rows x columns, any number of cells over the network's input.

        Returns:
            uint8 height x width.
        """
        rows, columns = self.cells(*grid.shape)
        # Columns first, while there are few rows; then whole rows are copied.
        return np.asarray(grid.take(columns, axis=1).take(rows, axis=0), np.uint8)

    def cells(self, rows: int, columns: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Row of a grid over the network's whole input for each row of the image, and columns likewise."""
        return _cells(self, rows, columns)


@lru_cache(maxsize=16)
def _cells(box: Letterbox, rows: int, columns: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Row of the grid for each row of the image, and columns likewise; in whole numbers, so that edges are exact."""

    def cells(size: int, start: int, inner: int, net: int, count: int) -> npt.NDArray[np.intp]:
        # (start + (i + 1/2) * inner / size) * count / net, with the fractions multiplied out.
        halves = 2 * np.arange(size, dtype=np.int64) + 1
        index = (2 * size * start + halves * inner) * count // (2 * size * net)
        return np.asarray(np.minimum(index, count - 1), np.intp)

    return (
        cells(box.height, box.top, box.inner_height, box.net_height, rows),
        cells(box.width, box.left, box.inner_width, box.net_width, columns),
    )
