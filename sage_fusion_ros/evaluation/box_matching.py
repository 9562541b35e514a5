"""Matches found boxes to true ones by pycocotools' rules, without pycocotools.

The demo scores its own scene, and its installation (the extra "report") has to stay light and free of compiled packages
that not every robot's processor has wheels for; the rules themselves are twenty lines. `average_precision.match` goes
on using pycocotools, and a test holds the two equal.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.evaluation.average_precision import AP50_95, MAX_DETECTIONS, ClassMatches

Floats = npt.NDArray[np.float64]
Boxes = tuple[npt.NDArray[np.float32], Sequence[str]]
"""xyxy float32 Nx4 and N class names."""


def match_boxes(
    truth: Sequence[Boxes],
    found: Sequence[Boxes],
    scores: Sequence[npt.NDArray[np.float32]],
    labels: Sequence[str],
    overlaps: Sequence[float] = AP50_95,
) -> dict[str, ClassMatches]:
    """Matches detections to true boxes, class by class: best score first, at most 100 of a class in an image.

    Args:
        truth: The true boxes, one entry an image.
        found: The boxes found in the same images, in the same order.
        scores: The scores of the boxes found, float32 N in 0..1.
        labels: The classes to look at.
        overlaps: Intersections over union from which on a box is found; each is matched by itself.

    Returns:
        The matches by class.
    """
    return {label: _match_class(truth, found, scores, label, overlaps) for label in labels}


def _match_class(
    truth: Sequence[Boxes],
    found: Sequence[Boxes],
    scores: Sequence[npt.NDArray[np.float32]],
    label: str,
    overlaps: Sequence[float],
) -> ClassMatches:
    hits, ranked, images, counts = [], [], [], []
    for image, (true, seen, score) in enumerate(zip(truth, found, scores, strict=True)):
        real, boxes = _of_class(true, label), _of_class(seen, label)
        score = np.asarray(score, np.float64)[[name == label for name in seen[1]]]
        best = np.argsort(-score, kind="stable")[:MAX_DETECTIONS]
        hits.append(_hits(_ious(boxes[best], real), overlaps))
        ranked.append(score[best])
        images.append(np.full(len(best), image))
        counts.append(len(real))
    score = np.concatenate([np.zeros(0), *ranked])
    order = np.argsort(-score, kind="stable")
    return ClassMatches(
        np.concatenate([np.zeros((len(overlaps), 0), bool), *hits], axis=1)[:, order],
        np.concatenate([np.zeros(0, np.int64), *images])[order],
        score[order],
        np.array(counts, np.int64),
    )


def _of_class(boxes: Boxes, label: str) -> Floats:
    chosen = [name == label for name in boxes[1]]
    return np.asarray(boxes[0], np.float64).reshape(-1, 4)[chosen]


def _ious(boxes: Floats, others: Floats) -> Floats:
    """Intersection over union of N boxes with M others: N x M."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    areas, other_areas = (np.prod(one[:, 2:] - one[:, :2], axis=1) for one in (boxes, others))
    whole = areas[:, None] + other_areas[None] - shared
    return np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)


def _hits(ious: Floats, overlaps: Sequence[float]) -> npt.NDArray[np.bool_]:
    """Whether each box, in the order of its rank, finds one that no better box has found: overlaps x N."""
    hits = np.zeros((len(overlaps), len(ious)), bool)
    if not ious.size:
        return hits
    for row, overlap in zip(hits, overlaps, strict=True):
        free = ious.copy()
        for rank in range(len(free)):
            # Of equal ones the last, as pycocotools' loop has it.
            nearest = free.shape[1] - 1 - int(np.argmax(free[rank, ::-1]))
            if free[rank, nearest] >= min(overlap, 1 - 1e-10):
                row[rank] = True
                free[:, nearest] = -1
    return hits
