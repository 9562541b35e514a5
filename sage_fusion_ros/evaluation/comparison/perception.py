"""What perception models make of every row's images: boxes, masks, people in smoke; plain values, ready for JSON."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sage_fusion_ros.evaluation.comparison.box_scores import score_boxes
from sage_fusion_ros.evaluation.comparison.contenders import ContenderSpec
from sage_fusion_ros.evaluation.comparison.mask_scores import score_masks
from sage_fusion_ros.evaluation.comparison.masks import MaskResult
from sage_fusion_ros.evaluation.comparison.measures import PairResult
from sage_fusion_ros.evaluation.comparison.perceivers import PerceptionSpec
from sage_fusion_ros.evaluation.comparison.runner import Result
from sage_fusion_ros.evaluation.comparison.sets import PairSet
from sage_fusion_ros.evaluation.comparison.smoke import SmokeClip, SmokeResult


def read_perception(
    sets: Sequence[PairSet],
    results: Sequence[Result],
    rows: Sequence[ContenderSpec],
    perception: Sequence[PerceptionSpec],
    references: Sequence[str],
    alone: str,
    lists: Mapping[str, Collection[str]],
) -> tuple[dict[str, Any], list[str]]:
    """Everything about perception.

    Args:
        sets: The sets.
        results: Of all jobs.
        rows: Whose images were read.
        perception: The perception models.
        references: Names of the detectors beside them; the first one says who is hidden in smoke.
        alone: See score_boxes.
        lists: See score_masks.

    Returns:
        "models" (name, files' SHA-256), "boxes" (see score_boxes), "masks" (see score_masks) and "smoke" (see
        count_smoke); and sentences on what was left out.
    """
    notes: list[str] = []
    found = {(r.item.set_name, r.item.name): r.boxes for r in results if isinstance(r, PairResult) and r.boxes}
    masks = [result for result in results if isinstance(result, MaskResult)]
    smoke = [result for result in results if isinstance(result, SmokeResult)]
    read = {
        "models": [{"name": spec.name, "judged": spec.judged, "sha256": list(spec.sha256)} for spec in perception],
        "boxes": score_boxes(sets, found, rows, references, perception, alone, notes),
        "masks": score_masks(masks, rows, perception, lists, notes),
        "smoke": count_smoke(smoke, rows, [*(spec.name for spec in perception), *references], references),
    }
    return read, notes


def count_smoke(
    results: Sequence[SmokeResult], rows: Sequence[ContenderSpec], readers: Sequence[str], references: Sequence[str]
) -> list[dict[str, Any]]:
    """By clip: "clip", "reference", frames "looked" at and "hidden", "lines" (reader, row, frames "seen", "share")."""
    clips: dict[SmokeClip, list[SmokeResult]] = {}
    for result in results:
        clips.setdefault(result.part.clip, []).append(result)
    counted = []
    for clip, own in clips.items():
        hidden = sorted(frame for result in own for frame in result.hidden)
        seen = {
            (reader, row.name): sum(len(result.seen.get((reader, row.name), ())) for result in own)
            for reader in readers
            for row in rows
            if any((reader, row.name) in result.seen for result in own)
        }
        counted.append(
            {
                "clip": clip.name,
                "reference": references[0],
                "looked": sum(len(result.looked) for result in own),
                "hidden": hidden,
                "lines": [
                    {"reader": reader, "row": row, "seen": count, "share": count / len(hidden)}
                    for (reader, row), count in seen.items()
                ],
            }
        )
    return counted
