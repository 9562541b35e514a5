"""Holds the masks and boxes of a run against what a source knows of its scene: by act, and in all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.evaluation.average_precision import ClassMatches
from sage_fusion_ros.evaluation.box_matching import Boxes, match_boxes
from sage_fusion_ros.evaluation.mask_areas import IGNORED, Areas, class_areas, class_ious, mean_ious
from sage_fusion_ros.evaluation.recording import Found
from sage_fusion_ros.pipeline.classes import CITYSCAPES_CLASSES
from sage_fusion_ros.sources.base import SceneTruth

ALL = "all"
DECIMALS = 4


@dataclass
class SceneScore:
    """Collects pairs with their truth one by one, and scores them together.

    Attributes:
        mask_classes: Name of each id of the masks.
        detection_classes: Classes the detector knows.
    """

    mask_classes: Mapping[int, str]
    detection_classes: Sequence[str]
    _acts: list[str] = field(default_factory=list)
    _areas: list[Areas | None] = field(default_factory=list)
    _truth: list[Boxes] = field(default_factory=list)
    _found: list[Found | None] = field(default_factory=list)

    def add(self, act: str, truth: SceneTruth, mask: npt.NDArray[np.uint8] | None, found: Found | None) -> None:
        """Adds one pair.

        Args:
            act: What it shows: "day", for example.
            truth: What is in it.
            mask: uint8 HxW ids of `mask_classes` in the truth's size, or None where it is not known.
            found: Its detections, or None where they are not known.
        """
        self._acts.append(act)
        self._areas.append(None if mask is None else self._compare(mask, truth.mask))
        self._truth.append((truth.boxes, [self._known_as(label) for label in truth.labels]))
        self._found.append(found)

    def result(self) -> dict[str, Any] | None:
        """Scores by act in the order they came, "all" last; None where nothing was added.

        For each: "pairs"; where boxes were looked at "boxes" (how many true ones), "ap50", "ap50_95" (means over the
        classes that the truth has there) and both by class; where masks were looked at "miou" (mean over the classes
        that the masks and the truth have) and "ious". Where the truth has nothing to score, a value is None.
        """
        if not self._acts:
            return None
        boxed = [i for i, found in enumerate(self._found) if found is not None]
        labels = [name for name in self.detection_classes if any(name in self._truth[i][1] for i in boxed)]
        seen = [self._found[i] for i in boxed]
        matches = match_boxes(
            [self._truth[i] for i in boxed],
            [(one.xyxy, one.labels) for one in seen],
            [one.scores for one in seen],
            labels,
        )
        scores = {}
        for act in [*(dict.fromkeys(self._acts) if len(set(self._acts)) > 1 else ()), ALL]:
            chosen = [act in (ALL, own) for own in self._acts]
            scores[act] = {"pairs": sum(chosen)}
            if boxed:
                weights = np.array([chosen[i] for i in boxed], float)
                scores[act].update(_box_scores(matches, weights))
            if any(areas is not None for areas in self._areas):
                scores[act].update(self._mask_scores(chosen))
        return scores

    def _compare(self, mask: npt.NDArray[np.uint8], truth: npt.NDArray[np.uint8]) -> Areas:
        to_truth = np.full(256, IGNORED, np.uint8)
        for number, name in self.mask_classes.items():
            if name in CITYSCAPES_CLASSES and number < 256:
                to_truth[number] = CITYSCAPES_CLASSES.index(name)
        return class_areas(to_truth[mask], truth, len(CITYSCAPES_CLASSES))

    def _known_as(self, label: str) -> str:
        """A detector trained on COCO's classes calls a rider a person."""
        return "person" if label == "rider" and label not in self.detection_classes else label

    def _mask_scores(self, chosen: Sequence[bool]) -> dict[str, Any]:
        """Pixels of classes that the masks do not have are not scored, but what is found in them counts as found."""
        areas = [own for own, wanted in zip(self._areas, chosen, strict=True) if own is not None and wanted]
        classes = [i for i, name in enumerate(CITYSCAPES_CLASSES) if name in self.mask_classes.values()]
        if not areas or not classes:
            return {"miou": None, "ious": {}}
        ious = class_ious(np.stack(areas), np.ones((1, len(areas))))
        return {
            "miou": _rounded(mean_ious(ious, classes)[0]),
            "ious": {CITYSCAPES_CLASSES[i]: _rounded(ious[0, i]) for i in classes if np.isfinite(ious[0, i])},
        }


def _box_scores(matches: Mapping[str, ClassMatches], weights: npt.NDArray[np.float64]) -> dict[str, Any]:
    classes = {}
    for label, own in matches.items():
        if boxes := int(weights @ own.boxes):
            at_half = replace(own, hit=own.hit[:1]).average_precision(weights)
            all_overlaps = own.average_precision(weights)
            classes[label] = {"boxes": boxes, "ap50": _rounded(at_half), "ap50_95": _rounded(all_overlaps)}
    means = {
        name: _rounded(np.mean([one[name] for one in classes.values()])) if classes else None
        for name in ("ap50", "ap50_95")
    }
    return {"boxes": sum(one["boxes"] for one in classes.values()), **means, "classes": classes}


def _rounded(value: float) -> float | None:
    return round(float(value), DECIMALS) if np.isfinite(value) else None
