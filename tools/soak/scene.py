"""The images that the soak's cameras send: few, known to both ends, and told apart by the stamp they travel under."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

COUNT = 16
"""Images of a camera, sent in turn; a stamp's remainder by this is the number of its image."""


def images(camera: str, height: int, width: int) -> list[npt.NDArray[np.uint8]]:
    """All images of a camera: uint8 HxWx3 RGB, or HxW for thermal; smooth noise that moves, and a warm body."""
    rng = np.random.default_rng(1 if camera == "rgb" else 2)
    channels = 3 if camera == "rgb" else 1
    coarse = rng.integers(20, 220, (height // 16 + 1, width // 16 + 1, channels), np.uint8)
    ground = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, channels)
    result = []
    for i in range(COUNT):
        image = np.roll(ground, i * width // COUNT, axis=1)
        left = width // 4 + i * width // (2 * COUNT)
        image[height // 3 : height // 2, left : left + width // 16] = 250 if camera == "thermal" else 90
        result.append(np.ascontiguousarray(image if channels == 3 else image[:, :, 0]))
    return result


def number_of(stamp_ns: int) -> int:
    """Which image travels under a stamp."""
    return stamp_ns % COUNT
