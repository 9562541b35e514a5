"""What is in a training pair: label maps of two kinds merged into one, and boxes that people or detectors drew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.pipeline.classes import CITYSCAPES_CLASSES, DRIVING_CLASSES, UNLABELLED
from sage_fusion_ros.sources.base import SceneTruth
from sage_fusion_ros.sources.boxes import BOXES_FILE, read_boxes

CITYSCAPES_MAPS = "seg_cityscapes19"
"""Folder of label maps with Cityscapes train ids, made from the RGB image."""
RGBT_MAPS = "seg_msrs9"
"""Folder of label maps with the ids of MSRS (Tang et al. 2022), made from both images."""

_PERSON, _RIDER = (CITYSCAPES_CLASSES.index(name) for name in ("person", "rider"))
_FROM_RGBT = {1: CITYSCAPES_CLASSES.index("car"), 2: _PERSON, 3: CITYSCAPES_CLASSES.index("bicycle")}
# Whoever rides is a person to a detector, as in COCO.
_BOX_NAMES = {"rider": "person"}

Mask = npt.NDArray[np.uint8]


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


@dataclass(frozen=True)
class Labels:
    """mask: uint8 HxW of Cityscapes train ids, 255 where nothing is known; boxes: see there."""

    mask: Mask
    boxes: Boxes


def truth_labels(truth: SceneTruth) -> Labels:
    """Labels of a scene that knows what is in it. Things smaller than 4 pixels are left out: nobody could see them."""
    sides = (truth.boxes[:, 2:] - truth.boxes[:, :2]).min(axis=1) if len(truth.boxes) else np.zeros(0)
    rows = [
        (box, _BOX_NAMES.get(label, label), 1.0)
        for box, label, side in zip(truth.boxes, truth.labels, sides, strict=True)
        if side >= 4
    ]
    return Labels(truth.mask, Boxes.of(rows))


def read_mask(root: Path, name: str, rgb_luma: npt.NDArray[np.uint8], day_luma: float) -> Mask:
    """The merged label map of a pair.

    By day the Cityscapes map counts, and the RGB-T map fills what it left open. By night the Cityscapes map, which
    knows only the RGB image, is not believed: people, cars and bicycles of the RGB-T map are all that is known.

    Args:
        root: Folder of the set.
        name: Of the pair, relative to it: "FLIR_00018", "clip/0003", or "clip/000030" of a video.
        rgb_luma: uint8 HxW; its mean tells day from night.
        day_luma: See PerceptionSettings.

    Returns:
        uint8 HxW of the image's size, Cityscapes train ids; 255 everywhere where the set has no label maps.

    Raises:
        SourceError: A label map can't be read.
    """
    shape = rgb_luma.shape
    mask = np.full(shape, UNLABELLED, np.uint8)
    if rgb_luma.mean() >= day_luma and (path := _find_map(root, name, CITYSCAPES_MAPS)):
        mask = _read_map(path, shape)
    if path := _find_map(root, name, RGBT_MAPS):
        rgbt = _read_map(path, shape)
        for theirs, ours in _FROM_RGBT.items():
            mask[(rgbt == theirs) & (mask == UNLABELLED)] = ours
    return mask


def _find_map(root: Path, name: str, kind: str) -> Path | None:
    """root/clip/kind/stem.png beside images, root/labels/clip/kind/00030.png beside videos."""
    *clip, stem = Path(name).parts
    number = f"{int(stem):05d}" if stem.isdigit() else stem
    for candidate in (root.joinpath(*clip, kind, f"{stem}.png"), root.joinpath("labels", *clip, kind, f"{number}.png")):
        if candidate.is_file():
            return candidate
    return None


def _read_map(path: Path, shape: tuple[int, ...]) -> Mask:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 2 or image.dtype != np.uint8:
        raise SourceError(f"label map {path} can't be read as one 8-bit channel; repair it, or remove it from the set")
    return np.asarray(cv2.resize(image, shape[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)


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
    return Boxes(
        np.concatenate([boxes.xyxy, pseudo.xyxy[other]]),
        np.concatenate([boxes.classes, pseudo.classes[other]]),
        np.concatenate([boxes.confidence, pseudo.confidence[other]]),
    )


PseudoBoxes = Mapping[str, Boxes]
