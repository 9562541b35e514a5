"""Boxes to learn from: drawn by people, or seen by detectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.pipeline.classes import DRIVING_CLASSES
from sage_fusion_ros.sources.boxes import BOXES_FILE, read_boxes


@dataclass(frozen=True)
class Boxes:
    """Boxes to learn from.

    Attributes:
        xyxy: float32 Nx4, corners in pixels.
        classes: int64 N, index into DRIVING_CLASSES.
        confidence: float32 N in 0..1; 1 for boxes that people drew.
    """

    xyxy: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float32]

    @staticmethod
    def of(rows: Sequence[tuple[Sequence[float], str, float]]) -> Boxes:
        """From (corners, class name, confidence); names that are none of DRIVING_CLASSES are left out."""
        kept = [(box, DRIVING_CLASSES.index(name), score) for box, name, score in rows if name in DRIVING_CLASSES]
        return Boxes(
            np.array([box for box, _, _ in kept], np.float32).reshape(-1, 4),
            np.array([index for _, index, _ in kept], np.int64),
            np.array([score for _, _, score in kept], np.float32),
        )

    def above(self, confidence: float) -> Boxes:
        """Those that are at least this sure."""
        kept = self.confidence >= confidence
        return Boxes(self.xyxy[kept], self.classes[kept], self.confidence[kept])


def drawn_boxes(root: Path) -> dict[str, tuple[Boxes, frozenset[str]]]:
    """By pair name, the boxes people drew and the classes they looked for in that set; empty where there are none."""
    path = root / BOXES_FILE
    if not path.is_file():
        return {}
    images = read_boxes(path)
    known = frozenset(label for image in images for label in image.labels)
    return {
        Path(image.file_name).stem: (
            Boxes.of([(box, label, 1.0) for box, label in zip(image.xyxy, image.labels, strict=True)]),
            known,
        )
        for image in images
    }


def join_boxes(drawn: tuple[Boxes, frozenset[str]] | None, pseudo: Boxes) -> Boxes:
    """Drawn boxes for the classes people looked for, pseudo-boxes for the rest and where nobody drew any."""
    if drawn is None:
        return pseudo
    boxes, known = drawn
    other = np.array([DRIVING_CLASSES[index] not in known for index in pseudo.classes], bool)
    return concatenate([boxes, Boxes(pseudo.xyxy[other], pseudo.classes[other], pseudo.confidence[other])])


def concatenate(parts: Sequence[Boxes]) -> Boxes:
    """All boxes of one image."""
    return Boxes(
        np.concatenate([part.xyxy for part in parts]),
        np.concatenate([part.classes for part in parts]),
        np.concatenate([part.confidence for part in parts]),
    )


PseudoBoxes = Mapping[str, Boxes]
