"""Average precision of perception models and of the references beside them, on every row's images, with intervals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.evaluation.average_precision import AP50_95, ClassMatches, join_classes, join_images, match
from sage_fusion_ros.evaluation.bootstrap import draw_weights, interval
from sage_fusion_ros.evaluation.comparison.contenders import SOURCES, ContenderSpec
from sage_fusion_ros.evaluation.comparison.perceivers import PerceptionSpec
from sage_fusion_ros.evaluation.comparison.sets import Item, PairSet
from sage_fusion_ros.evaluation.detectors import DetectedBoxes
from sage_fusion_ros.pipeline.classes import COCO_CLASSES
from sage_fusion_ros.sources.boxes import BoxedImage

DRAWS = 1000
ALL, EVERY_CLASS = "all sets", "every class"
MIN_BOXES, MIN_POOLED = 30, 5
"""A class with fewer boxes in a set has a figure of all sets together alone; with fewer than five in all, none."""
METRICS = ("AP50", "AP50:95")
LEADING = ("person", "car")
NONE_LEFT = {"validation": "kept out of training", "all": "there", "scored": "among those scored"}

Floats = npt.NDArray[np.float64]
Key = tuple[str, str]
"""Set and pair."""
Found = Mapping[Key, Mapping[str, Mapping[str, DetectedBoxes]]]
"""By pair, reader and row."""
Samples = dict[Key, Floats]
"""By set and class: float (1 + draws) x 2, first the figure, then its draws; AP50 and AP50:95."""


def score_boxes(
    sets: Sequence[PairSet],
    found: Found,
    rows: Sequence[ContenderSpec],
    references: Sequence[str],
    perception: Sequence[PerceptionSpec],
    alone: str,
    notes: list[str],
) -> list[dict[str, Any]]:
    """Average precision of all readers in all rows' images: one part for each way of choosing the pairs.

    Args:
        sets: With the drawn boxes.
        found: What every reader saw.
        rows: Whose images they looked at.
        references: Names of the detectors that stand beside.
        perception: The perception models.
        alone: Which pairs judge the references where there is no perception model: "validation", "all" or "scored".
        notes: Gains sentences on what was left out.

    Returns:
        For each way: "judged"; "sets" (by set and for "all sets": "images", "boxes" by class, and "shown", the classes
        with a figure of their own); "lines" ("reader", "row", "cells": by set and class, and by metric, the figure and
        its interval); "differences".
    """
    parts = []
    for judged in dict.fromkeys([spec.judged for spec in perception] or [alone]):
        truth = {
            (entry.name, item.name): entry.boxes[item.name]
            for entry in sets
            for item in entry.items
            if _counts(item, judged) and (entry.name, item.name) in found
        }
        models = [spec.name for spec in perception if spec.judged == judged]
        if not truth and any(entry.boxes for entry in sets):
            notes.append(f"No boxed pair is {NONE_LEFT[judged]}, so no average precision was taken there.")
        if truth:
            annotated = {entry.name: entry.annotated for entry in sets}
            parts.append({"judged": judged, **_score(truth, annotated, found, rows, models, references, notes)})
    return [part for part in parts if part["lines"]]


def _counts(item: Item, judged: str) -> bool:
    return item.boxed if judged == "scored" else item.judged and (judged == "all" or item.validation)


def _score(
    truth: Mapping[Key, BoxedImage],
    annotated: Mapping[str, frozenset[str]],
    found: Found,
    rows: Sequence[ContenderSpec],
    models: Sequence[str],
    references: Sequence[str],
    notes: list[str],
) -> dict[str, Any]:
    keys: dict[str, list[Key]] = {}
    for key in sorted(truth):
        keys.setdefault(key[0], []).append(key)
    counts = {name: Counter(label for key in own for label in truth[key].labels) for name, own in keys.items()}
    labels = {name: [n for n in _ordered(annotated[name]) if n in COCO_CLASSES] for name in keys}
    weights = draw_weights({name: len(own) for name, own in keys.items()}, DRAWS)
    weights = {name: np.vstack([np.ones(len(keys[name])), own]) for name, own in weights.items()}
    samples: dict[tuple[str, str], Samples] = {}
    for reader in (*models, *references):
        for row in rows:
            seen = {key: boxes for key in truth if (boxes := found[key].get(reader, {}).get(row.name)) is not None}
            if len(seen) == len(truth):
                matches = {
                    name: match([truth[k] for k in own], [seen[k] for k in own], labels[name], AP50_95)
                    for name, own in keys.items()
                    if labels[name]
                }
                samples[reader, row.name] = _sample(matches, weights)
            elif seen:
                notes.append(
                    f"{row.name} has {len(seen)} of the {len(truth)} judged pairs, so {reader} is not judged on it."
                )
    total: Counter[str] = Counter()
    for name in keys:
        total.update({label: counts[name][label] for label in labels[name]})
    sizes = {name: {label: counts[name][label] for label in labels[name]} for name in keys} | {ALL: dict(total)}
    return {
        "sets": {
            name: {
                "images": len(keys[name]) if name != ALL else len(truth),
                "boxes": {**own, EVERY_CLASS: sum(own.values())},
                "shown": [n for n in _ordered(own) if own[n] >= (MIN_POOLED if name == ALL else MIN_BOXES)]
                + [EVERY_CLASS] * (sum(own.values()) >= MIN_BOXES or name == ALL),
            }
            for name, own in sizes.items()
        },
        "lines": [
            {"reader": reader, "row": row, "model": reader in models, "cells": _cells(own)}
            for (reader, row), own in samples.items()
        ],
        "differences": list(_differences(samples, rows, models, references)),
    }


def _ordered(labels: Any) -> list[str]:
    """Person and car first, since most boxes are theirs; then by name."""
    return sorted(labels, key=lambda label: (LEADING.index(label) if label in LEADING else len(LEADING), label))


def _sample(matches: Mapping[str, Mapping[str, ClassMatches]], weights: Mapping[str, Floats]) -> Samples:
    """Figures and draws of one reader in one row's images, by set and class; see Samples."""
    samples: Samples = {}
    together: dict[str, list[tuple[str, ClassMatches]]] = {}
    for name, by_label in matches.items():
        for label, own in {**by_label, EVERY_CLASS: join_classes(list(by_label.values()))}.items():
            samples[name, label] = _figures(own, weights[name])
            together.setdefault(label, []).append((name, own))
    for label, parts in together.items():
        joined = join_images([own for _, own in parts])
        samples[ALL, label] = _figures(joined, np.hstack([weights[name] for name, _ in parts]))
    return samples


def _figures(matches: ClassMatches, weights: Floats) -> Floats:
    by_overlap = matches.by_overlap(weights)
    return np.stack([by_overlap[:, 0], by_overlap.mean(axis=1)], axis=1)


def with_interval(values: Floats) -> dict[str, float | None]:
    """A figure and its 95 % interval from one that is followed by its draws."""
    low, high = interval(values[1:])
    named = {"value": float(values[0]), "low": low, "high": high}
    return {name: value if math.isfinite(value) else None for name, value in named.items()}


def _cells(samples: Samples) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for (name, label), values in samples.items():
        if math.isfinite(values[0, 0]):
            figures = {metric: with_interval(values[:, i]) for i, metric in enumerate(METRICS)}
            cells.setdefault(name, {})[label] = figures
    return {name: cells[name] for name in (*(n for n in cells if n != ALL), ALL) if name in cells}


def _differences(
    samples: Mapping[tuple[str, str], Samples],
    rows: Sequence[ContenderSpec],
    models: Sequence[str],
    references: Sequence[str],
) -> Any:
    """Each perception model on each fusion model's images, less the same on each source, and less each reference."""
    for model in models:
        for row in (spec.name for spec in rows if spec.kind == "model"):
            ours = samples.get((model, row))
            others = [(model, source) for source in SOURCES]
            others += [(reference, where) for reference in references for where in (*SOURCES, row)]
            for other in others if ours is not None else ():
                if theirs := samples.get(other):
                    assert ours is not None
                    shared = {n: v - theirs[ALL, n] for (s, n), v in ours.items() if s == ALL}
                    yield {
                        "reader": model,
                        "row": row,
                        "less_reader": other[0],
                        "less_row": other[1],
                        "classes": {
                            label: {metric: with_interval(values[:, i]) for i, metric in enumerate(METRICS)}
                            for label, values in shared.items()
                            if math.isfinite(values[0, 0])
                        },
                    }
