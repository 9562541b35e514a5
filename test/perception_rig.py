"""A picture with one bright square, and perceivers loaded as tests need them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sage_fusion_ros.pipeline.network import NetworkOptions
from sage_fusion_ros.pipeline.perceive import Perceiver, PerceptionChoice, load_perceiver

THREE = ("person", "bicycle", "car")
NONE = {"mask": False, "detections": False, "score_threshold": 0.4, "iou_threshold": 0.65}


def bright(height: int = 96, width: int = 128, top: int = 32, left: int = 64, side: int = 32) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    image[top : top + side, left : left + side] = 255
    return image


def load(perception: str | Path = "", **others) -> Perceiver:
    texts = {key: str(value) if isinstance(value, Path) else value for key, value in others.items()}
    choice = PerceptionChoice(str(perception), **texts)
    perceiver = load_perceiver(choice, NetworkOptions(device="cpu", threads=1, warm_up_size=(96, 128)))
    assert perceiver is not None
    return perceiver
