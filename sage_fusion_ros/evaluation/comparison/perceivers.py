"""Perception models as readers of images, and which of them may be judged on which pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.engines.models import find_model
from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.evaluation.comparison.sets import Item
from sage_fusion_ros.evaluation.detectors import DetectedBoxes
from sage_fusion_ros.pipeline.classes import CITYSCAPES_CLASSES, UNLABELLED
from sage_fusion_ros.pipeline.network import NetworkOptions
from sage_fusion_ros.pipeline.perceive import Perceiver, PerceptionChoice, load_perceiver
from sage_fusion_ros.pipeline.types import Detections
from sage_fusion_ros.sources.boxes import canonical

FOLDS = 5
JUDGED = ("validation", "all")
# Below this score nothing moves an average precision that is worth having; it is that of the detectors beside them.
SCORE_FLOOR = 0.01
OVERLAP_LIMIT = 0.5  # as the node has it
_WARM_UP = (64, 64)

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class PerceptionSpec:
    """A perception model, or five that were each trained without another fifth, as it travels to another process.

    Attributes:
        name: Unique among all that read images.
        places: Name or folder of the model; or five, of which number k has not seen the pairs whose position in their
            sorted set leaves the remainder k by five.
        judged: "validation": its boxes are judged on pairs kept out of training alone; "all": on all boxed pairs.
        sha256: Of each model's file.
    """

    name: str
    places: tuple[str, ...]
    judged: str
    sha256: tuple[str, ...] = ()

    def judges(self, item: Item) -> bool:
        """Whether its boxes in this pair count."""
        return item.judged and (self.judged == "all" or item.validation)


def perception_specs(models: Sequence[str], folds: Sequence[str], judged: str) -> list[PerceptionSpec]:
    """Specifications from what the user gave, with every model's file checked against its card.

    Args:
        models: Names or folders, with or without "name=" before them.
        folds: Folders that hold fold0 to fold4, likewise.
        judged: "validation" or "all"; empty for "validation" of models and "all" of folds.

    Raises:
        ModelError: A model is missing, damaged or of another task.
        ParameterError: A fold is missing, or two are called the same.
    """
    specs = []
    for given in models:
        name, place = split_name(given)
        folder = find_model(place, task="perception")
        name = name or folder.path.parent.resolve().name
        specs.append(PerceptionSpec(name, (place,), judged or "validation", (folder.card.sha256,)))
    for given in folds:
        name, place = split_name(given)
        root = Path(place).expanduser().resolve()
        places = [root / f"fold{number}" for number in range(FOLDS)]
        if missing := [path.name for path in places if not path.is_dir()]:
            raise ParameterError(
                f"'{place}' has no {', '.join(missing)}; expected model folders fold0 to fold{FOLDS - 1}, of which "
                f"fold k was trained without the pairs whose position in their sorted set is k by {FOLDS}"
            )
        folders = [find_model(str(path), task="perception") for path in places]
        own = tuple(folder.card.sha256 for folder in folders)
        specs.append(PerceptionSpec(name or root.name, tuple(map(str, places)), judged or "all", own))
    names = [spec.name for spec in specs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ParameterError(f"two perception models are called '{twice[0]}'; name one of them as in 'name=folder'")
    return specs


def split_name(given: str) -> tuple[str, str]:
    """The parts of "name=place"; the name is empty where there is none."""
    name, separator, place = given.partition("=")
    return (name, place) if separator and "/" not in name else ("", given)


class PerceptionReader:
    """A perception model, or five, loaded on one thread of the CPU.

    Raises:
        ModelError: One can't be loaded, or folds differ in what they give.
    """

    def __init__(self, spec: PerceptionSpec) -> None:
        self._perceivers = [_load(place) for place in spec.places]
        first = self._perceivers[0]
        self.detects, self.segments = bool(first.detection_classes), bool(first.mask_classes)

    def boxes(self, rgb: Image, position: int) -> DetectedBoxes:
        """What it sees in an image, down to scores that no longer matter.

        Args:
            rgb: uint8 HxWx3.
            position: Of the pair in its set; see Item.
        """
        perceiver = self._of(position)
        _, found = perceiver.perceive(
            rgb, mask=False, detections=True, score_threshold=SCORE_FLOOR, iou_threshold=OVERLAP_LIMIT
        )
        assert found is not None
        order = np.argsort(-found.scores, kind="stable")
        labels = [canonical(perceiver.detection_classes[number]) for number in found.class_ids[order]]
        return DetectedBoxes(found.xyxy[order], found.scores[order], labels)

    def mask(self, rgb: Image, position: int) -> Image:
        """uint8 HxW in Cityscapes' train ids, 255 where the model's class is none of them; see boxes."""
        perceiver = self._of(position)
        mask, _ = perceiver.perceive(
            rgb, mask=True, detections=False, score_threshold=SCORE_FLOOR, iou_threshold=OVERLAP_LIMIT
        )
        assert mask is not None
        table = np.full(256, UNLABELLED, np.uint8)
        for number, name in enumerate(perceiver.mask_classes):
            if name in CITYSCAPES_CLASSES:
                table[number] = CITYSCAPES_CLASSES.index(name)
        return table[mask]

    def look(self, rgb: Image, position: int, score: float) -> tuple[Image | None, Detections | None, Perceiver]:
        """Mask and boxes of a score as people are shown them, and whose classes they have."""
        perceiver = self._of(position)
        found = perceiver.perceive(
            rgb,
            mask=self.segments,
            detections=self.detects,
            score_threshold=score,
            iou_threshold=OVERLAP_LIMIT,
        )
        return *found, perceiver

    def _of(self, position: int) -> Perceiver:
        return self._perceivers[position % len(self._perceivers)]


def _load(place: str) -> Perceiver:
    choice = PerceptionChoice(perception_model=place)
    perceiver = load_perceiver(choice, NetworkOptions(device="cpu", threads=1, warm_up_size=_WARM_UP))
    assert perceiver is not None
    return perceiver
