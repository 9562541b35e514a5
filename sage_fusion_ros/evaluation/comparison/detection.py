"""What detectors read: average precision by set and class, and how sure the differences are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sage_fusion_ros.evaluation.average_precision import (
    ClassMatches,
    bootstrap_difference,
    match,
    mean_average_precision,
)
from sage_fusion_ros.evaluation.comparison.baselines import Baselines
from sage_fusion_ros.evaluation.comparison.contenders import SOURCES, ContenderSpec
from sage_fusion_ros.evaluation.comparison.measures import PairResult
from sage_fusion_ros.evaluation.comparison.sets import PairSet
from sage_fusion_ros.evaluation.detectors import COCO_CLASSES
from sage_fusion_ros.sources.boxes import BoxedImage

MEAN_LABELS = ("person", "car")
DRAWS = 1000
MIN_BOXES = 5
"""A class with fewer drawn boxes in a set is left out: one more box found would move it by a fifth."""
BETTER_CAMERA = "better camera, cell by cell"

Cells = dict[str, dict[str, ClassMatches]]


def read_detections(
    sets: Sequence[PairSet],
    results: Sequence[PairResult],
    specs: Sequence[ContenderSpec],
    detectors: Sequence[str],
    baselines: Baselines,
) -> tuple[dict[str, Any], list[str]]:
    """Average precision of every detector in every contender's images.

    Args:
        sets: With the drawn boxes.
        results: With what the detectors found.
        specs: The contenders.
        detectors: Names of the detectors.
        baselines: Figures of others.

    Returns:
        By detector: "boxes" (numbers drawn, by set and class), "images" (numbers by set), "rows" (average precision by
        row, set and class), "means" (of person and car over the sets, by row) and "differences" (by model and other
        row: difference of the means, low and high end of the 95 % interval). And sentences on what was left out.
    """
    truth = {
        (s.name, item.name): s.boxes[item.name] for s in sets for item in s.items if item.boxed and item.name in s.boxes
    }
    found = {(r.item.set_name, r.item.name): r.boxes for r in results if r.boxes}
    notes: list[str] = []
    report = {
        name: _read(name, {key: truth[key] for key in sorted(truth.keys() & found.keys())}, found, specs, notes)
        for name in detectors
    }
    for name in detectors:
        _add_given(report[name], name, baselines, {spec.name for spec in specs}, notes)
        _add_better_camera(report[name])
    return {name: entry for name, entry in report.items() if entry["rows"]}, notes


def _read(
    detector: str,
    truth: Mapping[tuple[str, str], BoxedImage],
    found: Mapping[tuple[str, str], Mapping[str, Any]],
    specs: Sequence[ContenderSpec],
    notes: list[str],
) -> dict[str, Any]:
    sets = list(dict.fromkeys(set_name for set_name, _ in truth))
    keys = {name: [key for key in truth if key[0] == name] for name in sets}
    counts = {name: Counter(label for key in keys[name] for label in truth[key].labels) for name in sets}
    labels = {name: _labels(counts[name]) for name in sets}
    cells: dict[str, Cells] = {}
    for spec in specs:
        for name in sets:
            seen = [found[key][detector].get(spec.name) for key in keys[name]]
            whole = [boxes for boxes in seen if boxes is not None]
            if len(whole) == len(seen) and labels[name]:
                cells.setdefault(spec.name, {})[name] = match([truth[key] for key in keys[name]], whole, labels[name])
            elif whole:
                notes.append(
                    f"{spec.name} has {len(whole)} of the {len(seen)} boxed pairs of {name}, so no {detector} reads it."
                )
    complete = {row: own for row, own in cells.items() if len(own) == len([name for name in sets if labels[name]])}
    counted = {name: own for name, own in complete.items() if _has_mean_label(own)}
    return {
        "images": {name: len(keys[name]) for name in sets},
        "boxes": {name: {label: counts[name][label] for label in labels[name]} for name in sets},
        "rows": {
            row: {name: {k: _finite(m.average_precision()) for k, m in own[name].items()} for name in own}
            for row, own in cells.items()
        },
        "means": {row: _finite(mean_average_precision(own, MEAN_LABELS)) for row, own in counted.items()},
        "differences": {
            spec.name: {other: _difference(own, theirs) for other, theirs in counted.items() if other != spec.name}
            for spec in specs
            if spec.kind == "model" and (own := counted.get(spec.name))
        },
    }


def _labels(counts: Counter[str]) -> list[str]:
    """Classes that a detector knows and that are drawn often enough, those of the mean first."""
    drawn = [label for label, count in counts.most_common() if count >= MIN_BOXES and label in COCO_CLASSES]
    return sorted(drawn, key=lambda label: MEAN_LABELS.index(label) if label in MEAN_LABELS else len(MEAN_LABELS))


def _difference(ours: Cells, theirs: Cells) -> dict[str, float]:
    return dict(zip(("difference", "low", "high"), bootstrap_difference(ours, theirs, MEAN_LABELS, DRAWS), strict=True))


def _has_mean_label(cells: Cells) -> bool:
    return any(label in matches for matches in cells.values() for label in MEAN_LABELS)


def _add_given(
    entry: dict[str, Any], detector: str, baselines: Baselines, measured: set[str], notes: list[str]
) -> None:
    """Rows of others for the sets at hand where they judge the same boxes, and the mean of those with every cell."""
    for set_name, boxes in entry["boxes"].items():
        given = baselines.detector(detector).get(set_name, {})
        others = [n for n in boxes if any(figures.get(f"n_{n}", boxes[n]) != boxes[n] for figures in given.values())]
        if others:
            notes.append(
                f"The given figures of {detector} for {', '.join(others)} in {set_name} count other boxes, so they are "
                "left out."
            )
        for method, figures in given.items():
            own = {label: figures[label] for label in boxes if label in figures and label not in others}
            if own and method not in measured:
                entry["rows"].setdefault(method, {})[set_name] = own
    wanted = _mean_cells(entry)
    for row in (row for row in entry["rows"] if row not in entry["means"]):
        values = [entry["rows"][row].get(set_name, {}).get(label) for set_name, label in wanted]
        if values and None not in values:
            entry["means"][row] = math.fsum(values) / len(values)


def _add_better_camera(entry: dict[str, Any]) -> None:
    """For every cell the better of the two sources: what a perfect choice between the cameras would be worth."""
    rgb, thermal = (entry["rows"].get(source) for source in SOURCES)
    if not rgb or not thermal:
        return
    better = {
        set_name: {label: max(value, thermal[set_name][label]) for label, value in figures.items()}
        for set_name, figures in rgb.items()
        if set_name in thermal
    }
    entry["rows"][BETTER_CAMERA] = better
    wanted = _mean_cells(entry)
    if wanted and all(set_name in better for set_name, _ in wanted):
        entry["means"][BETTER_CAMERA] = math.fsum(better[s][label] for s, label in wanted) / len(wanted)


def _mean_cells(entry: dict[str, Any]) -> list[tuple[str, str]]:
    return [(s, label) for s, boxes in entry["boxes"].items() for label in MEAN_LABELS if label in boxes]


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
