"""Textures from random numbers."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


def clouds(
    random: np.random.Generator, size: int = 512, coarsest: int = 4, octaves: int = 6, gain: float = 0.5
) -> Array:
    """A tileable cloud texture, size x size, in 0..1 with a mean near 0.5: value noise summed over octaves."""
    total = np.zeros((size, size), np.float32)
    weight = 1.0
    for octave in range(octaves):
        cells = coarsest << octave
        if cells > size:
            break
        grid = random.random((cells, cells), np.float32)
        wrapped = np.pad(grid, 2, mode="wrap")  # so that the interpolation meets itself at the seam
        scale = size // cells
        large = cv2.resize(wrapped, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        total += weight * (large[2 * scale : 2 * scale + size, 2 * scale : 2 * scale + size] - 0.5)
        weight *= gain
    spread = float(np.abs(total).max())
    return total / (2 * spread) + 0.5


def sample(texture: Array, a: Array, b: Array, scale: float) -> Array:
    """Looks a tileable texture up at a, b (metres), with `scale` texels to the metre."""
    size = texture.shape[0]
    column = np.floor(a * scale).astype(np.int32) % size
    row = np.floor(b * scale).astype(np.int32) % size
    return texture[row, column]


def hash01(*parts: npt.NDArray[np.int32] | int) -> npt.NDArray[np.float32]:
    """A number in 0..1 for each combination of integers, without order or pattern to the eye."""
    value = np.uint32(0x9E3779B9)
    for part in parts:
        value = (
            np.asarray(value, np.uint32) ^ (np.asarray(part, np.int64) & 0xFFFFFFFF).astype(np.uint32)
        ) * np.uint32(0x85EBCA6B)
        value = value ^ (value >> np.uint32(13))
        value = value * np.uint32(0xC2B2AE35)
        value = value ^ (value >> np.uint32(16))
    return (np.asarray(value, np.uint32) >> np.uint32(8)).astype(np.float32) / np.float32(1 << 24)
