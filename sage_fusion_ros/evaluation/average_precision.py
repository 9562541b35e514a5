"""Average precision of detections against boxes drawn by people, and how sure it and a difference are.

Matching is pycocotools'; its accumulation is repeated here with a weight for each image, which the bootstrap needs.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.evaluation.bootstrap import draw_weights, interval
from sage_fusion_ros.evaluation.detectors import DetectedBoxes
from sage_fusion_ros.sources.boxes import BoxedImage

RECALLS = np.linspace(0, 1, 101)
MAX_DETECTIONS = 100
AP50 = (0.5,)
AP50_95 = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""The overlaps of COCO's main figure: 0.50, 0.55, ... 0.95."""
_BLOCK = 1 << 22  # weights held at a time; a thousand draws of some thousand detections would fill memory

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ClassMatches:
    """The detections of one class in all images, best first, matched against the drawn boxes.

    Attributes:
        hit: bool (overlaps, N), whether each detection found a box that no better one had found, by overlap asked for.
        image: int N, the image each belongs to.
        score: float N, falling.
        boxes: int (images,), drawn boxes in each image.
    """

    hit: npt.NDArray[np.bool_]
    image: npt.NDArray[np.int64]
    score: Floats
    boxes: npt.NDArray[np.int64]

    def average_precision(self, weights: Floats | None = None) -> float:
        """COCO's: mean over 101 recalls of the best precision at that recall or beyond; nan without any box.

        In the mean over the overlaps, where there are several.

        Args:
            weights: How often each image counts; once when None.
        """
        weights = np.ones(len(self.boxes)) if weights is None else weights
        return float(self.average_precisions(weights[None])[0])

    def average_precisions(self, weights: Floats) -> Floats:
        """The same for many weightings at once: float (draws,) from float (draws, images)."""
        return np.asarray(self.by_overlap(weights).mean(axis=1))

    def by_overlap(self, weights: Floats) -> Floats:
        """Average precision at each overlap for many weightings at once.

        Args:
            weights: float (draws, images), how often each image counts.

        Returns:
            float (draws, overlaps); nan in draws without any box.
        """
        hit = np.flatnonzero(self.hit.any(axis=0))
        end = hit[-1] + 1 if len(hit) else 0  # misses below the last hit change nothing
        rows = max(1, _BLOCK // max(1, end))
        return np.concatenate([self._block(weights[at : at + rows], end) for at in range(0, len(weights), rows)])

    def _block(self, weights: Floats, end: int) -> Floats:
        total = weights @ self.boxes  # (draws,)
        weight = weights[:, self.image[:end]]  # (draws, end)
        ranks = np.cumsum(weight, axis=1)
        values = np.zeros((len(weights), len(self.hit)))
        for overlap, hit in enumerate(self.hit[:, :end]):
            # Precision is best where a box has just been found, so the misses in between need no look of their own.
            found = np.flatnonzero(hit)
            hits = np.cumsum(weight[:, found], axis=1)
            recall = hits / np.maximum(total, np.spacing(1))[:, None]
            precision = hits / np.maximum(ranks[:, found], np.spacing(1))
            precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            reached = np.searchsorted(RECALLS, recall, side="right")
            values[:, overlap] = (np.diff(reached, axis=1, prepend=0) * precision).sum(axis=1) / len(RECALLS)
        values[total <= 0] = np.nan
        return values


def join_images(parts: Sequence[ClassMatches]) -> ClassMatches:
    """One class in several sets as one class in all their images, in the order given."""
    shifts = np.cumsum([0, *(len(part.boxes) for part in parts)])[:-1]
    image = [part.image + shift for part, shift in zip(parts, shifts, strict=True)]
    return _ranked(parts, np.concatenate(image), np.concatenate([part.boxes for part in parts]))


def join_classes(parts: Sequence[ClassMatches]) -> ClassMatches:
    """Several classes in the same images as one, each detection still a hit in its own class alone."""
    return _ranked(parts, np.concatenate([part.image for part in parts]), np.sum([p.boxes for p in parts], axis=0))


def _ranked(parts: Sequence[ClassMatches], image: npt.NDArray[np.int64], boxes: npt.NDArray[np.int64]) -> ClassMatches:
    score = np.concatenate([part.score for part in parts])
    order = np.argsort(-score, kind="stable")
    hit = np.concatenate([part.hit for part in parts], axis=1)
    return ClassMatches(hit[:, order], image[order], score[order], boxes)


def match(
    truth: Sequence[BoxedImage],
    found: Sequence[DetectedBoxes],
    labels: Sequence[str],
    overlaps: Sequence[float] = AP50,
) -> dict[str, ClassMatches]:
    """Matches detections to drawn boxes, class by class, as pycocotools does: best score first, at most 100 an image.

    Args:
        truth: The drawn boxes, one entry an image.
        found: The detections in the same images, in the same order.
        labels: The classes to look at.
        overlaps: Intersections over union from which on a box is found; each is matched by itself.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if len(truth) != len(found):
        raise ValueError(f"{len(truth)} images with boxes, {len(found)} with detections; expected one for one")
    ids = {label: i + 1 for i, label in enumerate(labels)}
    drawn, seen = [], []
    for i, (boxed, detected) in enumerate(zip(truth, found, strict=True)):
        for (x1, y1, x2, y2), label in zip(boxed.xyxy.tolist(), boxed.labels, strict=True):
            if label in ids:
                box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
                drawn.append({"id": len(drawn) + 1, "image_id": i, "category_id": ids[label], **box})
        for (x1, y1, x2, y2), score, label in zip(
            detected.xyxy.tolist(), detected.scores.tolist(), detected.labels, strict=True
        ):
            if label in ids:
                box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "score": score}
                seen.append({"image_id": i, "category_id": ids[label], **box})
    images, categories = [{"id": i} for i in range(len(truth))], [{"id": ids[n], "name": n} for n in labels]
    if not seen:
        return {label: _unmatched(truth, label, len(overlaps)) for label in labels}
    with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress by print
        coco = COCO()
        coco.dataset = {"images": images, "annotations": drawn, "categories": categories}
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(seen), "bbox")
        evaluation.params.iouThrs = np.array(overlaps)
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [MAX_DETECTIONS]
        evaluation.evaluate()
    entries = iter(evaluation.evalImgs)  # by category, then by image
    return {label: _gather([next(entries) for _ in truth], len(overlaps)) for label in labels}


def _unmatched(truth: Sequence[BoxedImage], label: str, overlaps: int) -> ClassMatches:
    boxes = np.array([boxed.labels.count(label) for boxed in truth], np.int64)
    return ClassMatches(np.zeros((overlaps, 0), bool), np.zeros(0, np.int64), np.zeros(0), boxes)


def _gather(entries: Sequence[dict | None], overlaps: int) -> ClassMatches:
    """One class of pycocotools' matches, all images together."""
    scores = [np.asarray(entry["dtScores"] if entry else [], float) for entry in entries]
    hits = [np.asarray(entry["dtMatches"] > 0 if entry else np.zeros((overlaps, 0)), bool) for entry in entries]
    boxes = [len(entry["gtIds"]) if entry else 0 for entry in entries]
    score = np.concatenate(scores)
    order = np.argsort(-score, kind="stable")
    image = np.repeat(np.arange(len(entries)), [len(values) for values in scores])
    return ClassMatches(np.concatenate(hits, axis=1)[:, order], image[order], score[order], np.array(boxes, np.int64))


Cells = Mapping[str, Mapping[str, ClassMatches]]


def mean_average_precision(cells: Cells, labels: Sequence[str]) -> float:
    """Mean of the average precision over sets and classes; cells without boxes do not count.

    Args:
        cells: Matches by set and class.
        labels: The classes that count.
    """
    values = [matches[label].average_precision() for matches in cells.values() for label in labels if label in matches]
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def bootstrap_difference(
    a: Cells, b: Cells, labels: Sequence[str], draws: int = 1000, seed: int = 0
) -> tuple[float, float, float]:
    """Difference of two mean average precisions, a less b, with its 95 % interval by a paired bootstrap over images.

    In each draw every set's images are drawn anew with replacement, the same ones for a and b; see draw_weights.

    Args:
        a: Matches by set and class in the first kind of image.
        b: The same sets and images in the second kind.
        labels: The classes that count.
        draws: Number of draws.
        seed: Of the draws.

    Returns:
        The difference, and the lower and upper end of its interval.
    """
    weights = draw_weights({name: len(next(iter(own.values())).boxes) for name, own in a.items()}, draws, seed)
    values = [
        matches[label].average_precisions(weights[name]) - b[name][label].average_precisions(weights[name])
        for name, matches in a.items()
        for label in labels
        if label in matches
    ]
    low, high = interval(np.nanmean(values, axis=0))
    return mean_average_precision(a, labels) - mean_average_precision(b, labels), low, high
