"""Small sets of pairs for the tests of evaluation: a street at night or by day, with a warm square in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

SIZE = (128, 128)
HOT = (32, 64, 64, 96)
"""Left, top, right and bottom of the warm square; on the grid of mock_detector's cells."""


def rgb_image(seed: int, bright: bool) -> np.ndarray:
    """uint8 HxWx3 RGB: soft texture, in which the warm square can't be seen."""
    noise = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    soft = cv2.GaussianBlur(noise, (0, 0), 4).astype(np.float32) - 128
    return np.clip(soft * 2 + (100 if bright else 30), 0, 255).astype(np.uint8)


def thermal_image(seed: int) -> np.ndarray:
    """uint8 HxW: cold, with a little noise, and the warm square."""
    image = np.random.default_rng(seed + 1000).integers(20, 26, SIZE).astype(np.uint8)
    left, top, right, bottom = HOT
    image[top:bottom, left:right] = 255
    return image


def write_set(root: Path, names: Sequence[str], *, bright: bool = True, boxes: bool = False) -> Path:
    """Pairs in rgb/ and thermal/; a name's seed is its position. With boxes, each warm square is a person."""
    for seed, name in enumerate(names):
        for folder, image in (("rgb", rgb_image(seed, bright)[..., ::-1]), ("thermal", thermal_image(seed))):
            path = root / folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), image)
    if boxes:
        write_boxes(root, names)
    return root


def write_boxes(root: Path, names: Sequence[str]) -> None:
    """A COCO file that calls the warm square of each pair a person, and a lamp, which COCO does not know.

    The files' suffix there is another one than on disk.
    """
    left, top, right, bottom = HOT
    data = {
        "images": [{"id": i, "file_name": f"{name}.jpg"} for i, name in enumerate(names)],
        "annotations": [
            {"id": 2 * i + kind, "image_id": i, "category_id": kind, "bbox": [left, top, right - left, bottom - top]}
            for i in range(len(names))
            for kind in (0, 1)
        ],
        "categories": [{"id": 0, "name": "People"}, {"id": 1, "name": "Lamp"}],
    }
    (root / "boxes_coco.json").write_text(json.dumps(data), encoding="utf-8")


def write_png(path: Path, image: np.ndarray) -> Path:
    """Any image; colour in the order red, green, blue."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image)
    return path
