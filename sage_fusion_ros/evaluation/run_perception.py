"""What a run found: its masks and boxes by stamp, drawn, counted, and scored where the source knows the truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.evaluation.index_check import StampIndex
from sage_fusion_ros.evaluation.output_check import OutputCheck
from sage_fusion_ros.evaluation.recording import Found, Recording
from sage_fusion_ros.evaluation.scene_score import ALL, SceneScore
from sage_fusion_ros.pipeline.classes import CITYSCAPES_CLASSES
from sage_fusion_ros.pipeline.overlay import colour_of_class, draw_overlay
from sage_fusion_ros.pipeline.types import Detections
from sage_fusion_ros.sources.base import PairSource, SceneTruth

SCORED_PAIRS = 120
"""Pairs scored at most where no masks say which; every one has to be read, or drawn, again."""

Image = npt.NDArray[np.uint8]


class RunPerception:
    """Masks and detections of a run.

    Args:
        run: The recording.
        folder: Where the recorder kept the masks.

    Attributes:
        mask_classes: Class name by id.
        detection_classes: The classes announced, and behind them what else was found.
    """

    def __init__(self, run: Recording, folder: Path) -> None:
        self.mask_classes = run.classes.get("mask", {})
        announced = run.classes.get("detections", {})
        labels = [
            *(announced[number] for number in sorted(announced)),
            *(n for one in run.detections for n in one.labels),
        ]
        self.detection_classes = tuple(dict.fromkeys(labels))
        self._files = {frame.stamp_ns: folder / frame.file for frame in run.mask_files}
        self._found = {one.stamp_ns: one for one in run.detections}

    def __contains__(self, stamp_ns: int) -> bool:
        """Whether anything is known of this fused image."""
        return stamp_ns in self._files or stamp_ns in self._found

    def mask(self, stamp_ns: int) -> Image | None:
        """The mask of a fused image, uint8 HxW ids; None where it was not kept."""
        path = self._files.get(stamp_ns)
        return None if path is None else cv2.imread(str(path), cv2.IMREAD_UNCHANGED)

    def found(self, stamp_ns: int) -> Found | None:
        """The detections of a fused image; None where none came."""
        return self._found.get(stamp_ns)

    def scored_stamps(self) -> list[int]:
        """Which fused images to score: those whose mask was kept; without any mask an even choice of the detections."""
        if self._files:
            return sorted(self._files)
        stamps = sorted(self._found)
        return stamps[:: -(-len(stamps) // SCORED_PAIRS)] if stamps else []

    def overlay(self, fused: Image, stamp_ns: int) -> Image | None:
        """Mask and boxes drawn into a fused image, uint8 HxWx3 RGB; None where neither is known."""
        if stamp_ns not in self:
            return None
        mask, found = self.mask(stamp_ns), self.found(stamp_ns)
        if mask is not None and mask.shape != fused.shape[:2]:
            mask = None
        names = [self.mask_classes.get(number, str(number)) for number in range(max(self.mask_classes, default=-1) + 1)]
        boxes = None if found is None else _detections(found.xyxy, found.scores, found.labels, self.detection_classes)
        return draw_overlay(fused, mask, names, boxes, self.detection_classes)


def truth_overlay(image: Image, truth: SceneTruth) -> Image:
    """What is really there, drawn like what was found; boxes without a score."""
    names = tuple(dict.fromkeys(truth.labels))
    boxes = _detections(truth.boxes, np.full(len(truth.labels), np.nan, np.float32), truth.labels, names)
    return draw_overlay(image, truth.mask, CITYSCAPES_CLASSES, boxes, names)


def count_boxes(run: Recording, act_of: Callable[[int], str]) -> dict[str, Any]:
    """Boxes by class and act, over all pairs whose detections came.

    Args:
        run: The recording.
        act_of: What the pair with a stamp shows, in a word; empty where nothing is known.

    Returns:
        By act in the order of time, "all" last: "pairs" and "boxes", a number by class, the most frequent first.
    """
    pairs: Counter[str] = Counter()
    boxes: dict[str, Counter[str]] = {}
    for one in run.detections:
        for act in dict.fromkeys((act_of(one.stamp_ns) or ALL, ALL)):
            pairs[act] += 1
            boxes.setdefault(act, Counter()).update(one.labels)
    acts = [act for act in boxes if act != ALL]
    order = [*(acts if len(acts) > 1 else ()), *([ALL] if boxes else ())]
    return {act: {"pairs": pairs[act], "boxes": dict(boxes[act].most_common())} for act in order}


def score_run(
    perception: RunPerception, source: PairSource, stamps: StampIndex, describe: Callable[[int], str]
) -> dict[str, Any] | None:
    """Scores a run against its source's own truth; see SceneScore.result. None where the source has none.

    Args:
        perception: What was found.
        source: Where the replay read.
        stamps: What the replay sent.
        describe: What a source index shows, in a word.
    """
    score = SceneScore(perception.mask_classes, perception.detection_classes)
    for stamp in perception.scored_stamps():
        index = source_index(stamps, stamp)
        if index is None:
            continue
        try:
            truth = source.read(index).truth
        except (SourceError, IndexError):
            continue
        if truth is None:
            return None
        mask = perception.mask(stamp)
        if mask is not None and mask.shape != truth.mask.shape:
            mask = None
        score.add(describe(index), truth, mask, perception.found(stamp))
    return score.result()


def source_index(stamps: StampIndex, stamp_ns: int) -> int | None:
    """The source's RGB image behind a fused image's stamp; None for a stamp nobody sent."""
    keys = stamps.keys("rgb", stamp_ns) or stamps.keys("thermal", stamp_ns)
    return min(keys)[0] if keys else None


def perception_report(
    run: Recording,
    checks: Mapping[str, OutputCheck],
    *,
    counts: Mapping[str, Any],
    truth: Mapping[str, Any] | None,
) -> dict[str, Any] | None:
    """The perception's part of report.json; None where it was off.

    Args:
        run: What the recorder saw.
        checks: The outputs that were asked for, held against the fused images.
        counts: See count_boxes.
        truth: See score_run.
    """
    if not checks:
        return None
    arrived = {"mask": run.masks, "detections": run.detections}
    return {
        "models": run.status("engine").get("perception"),
        "outputs": {
            output: {
                "arrived": len(arrived[output]),
                "classes": [run.classes[output][number] for number in sorted(run.classes.get(output, {}))],
                **check.as_dict(),
            }
            for output, check in checks.items()
        },
        "unavailable": dict(run.unavailable),
        "masks_kept": len(run.mask_files),
        "score_threshold": run.score_threshold,
        "boxes_found": dict(counts),
        "against_truth": truth,
    }


def box_counts(run: Recording) -> tuple[npt.NDArray[np.float64], dict[str, npt.NDArray[np.float64]]]:
    """Seconds of every message of detections since the first stamp, and the number of boxes in each by class."""
    stamps = np.array([found.stamp_ns for found in run.detections], np.int64)
    totals = Counter(label for found in run.detections for label in found.labels)
    counts = {
        name: np.array([found.labels.count(name) for found in run.detections], float)
        for name, _ in totals.most_common()
    }
    return (stamps - stamps[:1]) / 1e9, counts


def act_starts(run: Recording, act_of: Callable[[int], str]) -> list[tuple[float, str]]:
    """Where an act begins, in seconds since the first detections, with its name; none where there is only one."""
    starts: list[tuple[float, str]] = []
    for found in run.detections:
        act = act_of(found.stamp_ns)
        if not starts or starts[-1][1] != act:
            starts.append(((found.stamp_ns - run.detections[0].stamp_ns) / 1e9, act))
    return starts if len(starts) > 1 else []


def class_colours(report: Mapping[str, Any] | None) -> dict[str, str]:
    """The overlays' colour of each class that a perception_report names, as CSS has it."""
    if report is None:
        return {}
    names = {name for output in report["outputs"].values() for name in output["classes"]}
    names |= {name for act in report["boxes_found"].values() for name in act["boxes"]}
    return {name: "#{:02x}{:02x}{:02x}".format(*colour_of_class(name)) for name in names}


def _detections(xyxy: Image, scores: Image, labels: Sequence[str], classes: Sequence[str]) -> Detections:
    return Detections(xyxy, scores, np.array([classes.index(label) for label in labels], np.int64))
