"""What is in a training image: a mask and boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.sources.base import SceneTruth
from sage_fusion_ros.training.perception.boxes import Boxes

# Whoever rides is a person to a detector, as in COCO.
_BOX_NAMES = {"rider": "person"}
_SEEN = 4  # pixels; what is smaller nobody could see


@dataclass(frozen=True)
class Labels:
    """mask: uint8 HxW of Cityscapes train ids, 255 where nothing is known; boxes: see there."""

    mask: npt.NDArray[np.uint8]
    boxes: Boxes


def truth_labels(truth: SceneTruth) -> Labels:
    """Labels of a scene that knows what is in it; boxes with a side under 4 pixels are left out."""
    sides = (truth.boxes[:, 2:] - truth.boxes[:, :2]).min(axis=1) if len(truth.boxes) else np.zeros(0)
    rows = [
        (box, _BOX_NAMES.get(label, label), 1.0)
        for box, label, side in zip(truth.boxes, truth.labels, sides, strict=True)
        if side >= _SEEN
    ]
    return Labels(truth.mask, Boxes.of(rows))
