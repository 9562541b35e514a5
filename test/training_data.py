"""Tiny pairs and settings for the tests of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml


def write_pairs(root: Path, count: int = 6, size: tuple[int, int] = (64, 80)) -> Path:
    """RGB and thermal PNG files with a warm square each, named 000 and up."""
    rng = np.random.default_rng(count)
    for folder in ("vi", "ir"):
        (root / folder).mkdir(parents=True)
    for index in range(count):
        rgb = cv2.GaussianBlur(rng.integers(0, 255, (*size, 3)).astype(np.uint8), (0, 0), 3)
        thermal = np.full(size, 60, np.uint8)
        thermal[20 : 30 + index, 10:40] = 220
        cv2.imwrite(str(root / "vi" / f"{index:03d}.png"), rgb)
        cv2.imwrite(str(root / "ir" / f"{index:03d}.png"), thermal)
    return root


def write_settings(path: Path, recipe: str, /, **changes: Any) -> Path:
    """A run of a few small steps."""
    settings = {
        "recipe": recipe,
        "seed": 3,
        "steps": 6,
        "batch": 2,
        "crop": 64,
        "ema_decay": 0.9,
        "checkpoint_every": 2,
        "log_every": 1,
        "augment": dict.fromkeys(("dark", "glare", "haze", "thermal_range", "thermal_noise", "rgb_noise"), 0.5),
        **changes,
    }
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path
