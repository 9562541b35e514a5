"""Mean intersection over union of masks by row and condition, and how much of it a condition leaves, with intervals."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.evaluation.bootstrap import draw_weights
from sage_fusion_ros.evaluation.comparison.box_scores import DRAWS, with_interval
from sage_fusion_ros.evaluation.comparison.contenders import ContenderSpec
from sage_fusion_ros.evaluation.comparison.masks import MaskResult
from sage_fusion_ros.evaluation.comparison.perceivers import PerceptionSpec
from sage_fusion_ros.evaluation.conditions import AS_IS, CONDITIONS
from sage_fusion_ros.evaluation.mask_areas import Areas, class_ious, mean_ious
from sage_fusion_ros.pipeline.classes import CITYSCAPES_CLASSES

MEAN_CLASSES = ("road", "building", "vegetation", "sky", "person", "car")

Floats = npt.NDArray[np.float64]


def score_masks(
    results: Sequence[MaskResult],
    rows: Sequence[ContenderSpec],
    perception: Sequence[PerceptionSpec],
    lists: Mapping[str, Collection[str]],
    notes: list[str],
) -> list[dict[str, Any]]:
    """What the masks are worth, on each list of pairs.

    Args:
        results: Of all labelled pairs.
        rows: Whose images the masks are of.
        perception: Whose masks.
        lists: The pairs, as "set/pair", by the list's name.
        notes: Gains sentences on what was left out.

    Returns:
        For each list with a pair: "list", its name; "pairs"; "sets", how many of each; "mean_of", the classes of the
        mean; "share", by class its share of the labelled pixels; "images", by class how many have it; "lines"
        ("reader", "row", "condition"; "miou" with its interval; "kept", the share of that as is, with its interval;
        "classes"; "sets", the figure by set).
    """
    parts = []
    for name, pairs in lists.items():
        own = [result for result in results if result.areas and result.item.key in pairs]
        if own:
            parts.append({"list": name, **_score(own, rows, perception, notes)})
    return parts


def _score(
    results: Sequence[MaskResult],
    rows: Sequence[ContenderSpec],
    perception: Sequence[PerceptionSpec],
    notes: list[str],
) -> dict[str, Any]:
    results = sorted(results, key=lambda result: result.item.key)
    sets = list(dict.fromkeys(result.item.set_name for result in results))
    weights = draw_weights({s: sum(r.item.set_name == s for r in results) for s in sets}, DRAWS)
    # Sorted by key, the pairs of a set stand together, and the sets as in `sets`.
    drawn = np.vstack([np.ones(len(results)), np.hstack([weights[name] for name in sets])])
    mean_of = [CITYSCAPES_CLASSES.index(name) for name in MEAN_CLASSES]
    lines, labels = [], _labels(results)
    for spec in perception:
        for row in rows:
            as_is: Floats | None = None
            for condition in CONDITIONS:
                key = (spec.name, row.name, condition)
                areas = [result.areas[key] for result in results if key in result.areas]
                if len(areas) < len(results):
                    if areas:
                        notes.append(
                            f"{row.name} has {len(areas)} of the {len(results)} labelled pairs ({condition}), so the "
                            f"masks of {spec.name} are not judged there."
                        )
                    continue
                ious = class_ious(np.stack(areas), drawn)
                miou = mean_ious(ious, mean_of)
                as_is = miou if condition == AS_IS else as_is
                lines.append(
                    {
                        "reader": spec.name,
                        "row": row.name,
                        "condition": condition,
                        "miou": with_interval(miou),
                        "kept": _kept(miou, as_is),
                        "sets": {name: _one_set(areas, results, name, mean_of) for name in sets},
                        "classes": {
                            name: float(value)
                            for name, value in zip(CITYSCAPES_CLASSES, ious[0], strict=True)
                            if math.isfinite(value)
                        },
                    }
                )
    return {
        "pairs": [result.item.key for result in results],
        "sets": {name: sum(result.item.set_name == name for result in results) for name in sets},
        "mean_of": list(MEAN_CLASSES),
        "share": dict(zip(CITYSCAPES_CLASSES, (labels.sum(axis=0) / max(1, labels.sum())).tolist(), strict=True)),
        "images": dict(zip(CITYSCAPES_CLASSES, (labels > 0).sum(axis=0).tolist(), strict=True)),
        "lines": lines,
    }


def _one_set(areas: Sequence[Areas], results: Sequence[MaskResult], name: str, mean_of: list[int]) -> float | None:
    """The mean intersection over union within one set."""
    own = np.stack([area for area, result in zip(areas, results, strict=True) if result.item.set_name == name])
    value = float(mean_ious(class_ious(own, np.ones((1, len(own)))), mean_of)[0])
    return value if math.isfinite(value) else None


def _labels(results: Sequence[MaskResult]) -> Areas:
    """Labelled pixels, int64 images x classes; they are the same for every reader, row and condition."""
    return np.stack([next(iter(result.areas.values()))[2] for result in results])


def _kept(miou: Floats, as_is: Floats | None) -> dict[str, float | None] | None:
    """Share of the figure as is that is left, draw by draw; None where that one is not there or is nothing."""
    if as_is is None or as_is[0] <= 0:
        return None
    return with_interval(np.divide(miou, as_is, out=np.full_like(miou, np.nan), where=as_is > 0))
