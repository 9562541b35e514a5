"""Mean intersection over union of masks by row and condition, and how much of it a condition leaves, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    notes: list[str],
) -> dict[str, Any]:
    """What the masks of all labelled pairs are worth.

    Args:
        results: Of all pairs.
        rows: Whose images the masks are of.
        perception: Whose masks.
        notes: Gains sentences on what was left out.

    Returns:
        "pairs"; "mean_of", the classes of the mean; "share", by class its share of the labelled pixels; "images", by
        class how many have it; "lines" ("reader", "row", "condition"; "miou" with its interval; "kept", the share of
        that as is, with its interval; "classes"). Empty where there is nothing.
    """
    results = sorted((result for result in results if result.areas), key=lambda result: result.item.key)
    if not results:
        return {}
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
                        "classes": {
                            name: float(value)
                            for name, value in zip(CITYSCAPES_CLASSES, ious[0], strict=True)
                            if math.isfinite(value)
                        },
                    }
                )
    return {
        "pairs": [result.item.key for result in results],
        "mean_of": list(MEAN_CLASSES),
        "share": dict(zip(CITYSCAPES_CLASSES, (labels.sum(axis=0) / max(1, labels.sum())).tolist(), strict=True)),
        "images": dict(zip(CITYSCAPES_CLASSES, (labels > 0).sum(axis=0).tolist(), strict=True)),
        "lines": lines,
    }


def _labels(results: Sequence[MaskResult]) -> Areas:
    """Labelled pixels, int64 images x classes; they are the same for every reader, row and condition."""
    return np.stack([next(iter(result.areas.values()))[2] for result in results])


def _kept(miou: Floats, as_is: Floats | None) -> dict[str, float | None] | None:
    """Share of the figure as is that is left, draw by draw; None where that one is not there or is nothing."""
    if as_is is None or as_is[0] <= 0:
        return None
    return with_interval(np.divide(miou, as_is, out=np.full_like(miou, np.nan), where=as_is > 0))
