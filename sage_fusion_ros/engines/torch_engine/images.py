"""What the pipeline does to images by OpenCV and numpy, in torch and on any device, to the level.

Images are (H, W, 3) or (1, 3, H, W) as said. Whole numbers are computed as OpenCV computes them where that differs from
what exact numbers would give.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from sage_fusion_ros.engines.device_pair import Place

_LUMA, _LUMA_BITS = (9798, 19235, 3735), 15  # 0.299, 0.587 and 0.114 as OpenCV's grey conversion has them
_TAP_BITS = 11  # of the two weights of a bilinear pixel
_ROW_SHIFT, _TAP_SHIFT, _LAST_SHIFT = 4, 16, 2  # what its vertical pass drops in turn


def luma(rgb: Tensor) -> Tensor:
    """Y of uint8 (H, W, 3) as float32 (H, W) in 0..1, rounded to a level."""
    red, green, blue = rgb.to(torch.int32).unbind(2)
    total = red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2] + (1 << (_LUMA_BITS - 1))
    return (total >> _LUMA_BITS).float() * (1 / 255)


def recolour(rgb: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """The change of luma, added to R, G and B alike; uint8 (H, W, 3), and float32 (H, W) in 0..1 twice, to uint8."""
    change = torch.round(after * 255 - before * 255)
    return (rgb.float() + change[..., None]).clamp(0, 255).to(torch.uint8)


def blend(inside: Tensor, outside: Tensor, weight: Tensor, rest: Tensor) -> Tensor:
    """Two uint8 (H, W, 3) by weights (H, W), as cv2.blendLinear."""
    weight, rest = weight[..., None], rest[..., None]
    mixed = (inside.float() * weight + outside.float() * rest) / (weight + rest + 1e-5)
    return torch.round(mixed).clamp(0, 255).to(torch.uint8)


class Scaler:
    """Brings an image to its place in a network's input; what depends on the size alone is computed here.

    Args:
        place: Where it lies.
        padding: Level of the rest.
        device: Where images are.
    """

    def __init__(self, place: Place, padding: int, device: torch.device) -> None:
        self._pads = (
            place.left,
            place.net_width - place.left - place.inner_width,
            place.top,
            place.net_height - place.top - place.inner_height,
        )
        self._padding = padding / 255
        sides = ((place.width, place.inner_width), (place.height, place.inner_height))
        self._same = all(old == new for old, new in sides)
        self._shrinks = any(new < old for old, new in sides)
        self._halves = all(old == 2 * new for old, new in sides)
        if self._shrinks:
            self._areas = [torch.from_numpy(_areas(*side)).to(device) for side in sides]
        elif not self._same:
            self._taps = [[torch.from_numpy(part).to(device) for part in _taps(*side)] for side in sides]

    def __call__(self, rgb: Tensor) -> Tensor:
        """uint8 (H, W, 3) to float32 (1, 3, net height, net width) in 0..1."""
        planes = rgb.permute(2, 0, 1)[None]
        if self._same:
            levels = planes.float()
        elif self._shrinks:
            columns, rows = self._areas
            exact = rows @ (planes.float() @ columns.T)
            # OpenCV has a way of its own for halves, which rounds .5 up; by other factors it goes to the even level.
            levels = torch.floor(exact + 0.5) if self._halves else torch.round(exact)
        else:
            levels = self._bilinear(planes.to(torch.int32)).float()
        return torch.nn.functional.pad(levels.clamp(0, 255) / 255, self._pads, value=self._padding)

    def _bilinear(self, planes: Tensor) -> Tensor:
        (left, right, a, b), (top, bottom, c, d) = self._taps
        across = planes[..., left] * a + planes[..., right] * b
        across = across >> _ROW_SHIFT
        upper = across[..., top, :] * c[:, None] >> _TAP_SHIFT
        lower = across[..., bottom, :] * d[:, None] >> _TAP_SHIFT
        return (upper + lower + (1 << (_LAST_SHIFT - 1))) >> _LAST_SHIFT


@functools.lru_cache(maxsize=8)
def _taps(old: int, new: int) -> tuple[np.ndarray, ...]:
    """First and second pixel for each new one, and their weights in 2048ths, as cv2.INTER_LINEAR has them."""
    where = ((np.arange(new) + 0.5) * (old / new) - 0.5).astype(np.float32)
    first = np.floor(where).astype(np.int64)
    share = where - first.astype(np.float32)
    share[(first < 0) | (first >= old - 1)] = 0
    first = first.clip(0, old - 1)
    weights = [np.rint(each * (1 << _TAP_BITS)).astype(np.int32) for each in (1 - share, share)]
    return first, np.minimum(first + 1, old - 1), *weights


@functools.lru_cache(maxsize=8)
def _areas(old: int, new: int) -> np.ndarray:
    """float32 (new, old): how much of each old pixel lies in a new one, over the new one's size, as cv2.INTER_AREA."""
    edges = np.arange(new + 1) * (old / new)
    pixels = np.arange(old)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (overlap.clip(0) * (new / old)).astype(np.float32)
