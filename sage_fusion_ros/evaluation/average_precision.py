"""Average precision of detections against boxes drawn by people, and how sure a difference is.

Matching is pycocotools'; its accumulation is repeated here with a weight for each image, which the bootstrap needs.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.evaluation.detectors import DetectedBoxes
from sage_fusion_ros.sources.boxes import BoxedImage

RECALLS = np.linspace(0, 1, 101)
MAX_DETECTIONS = 100

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ClassMatches:
    """The detections of one class in all images, best first, matched against the drawn boxes.

    Attributes:
        hit: bool N, whether each detection found a box that no better one had found.
        image: int N, the image each belongs to.
        boxes: int (images,), drawn boxes in each image.
    """

    hit: npt.NDArray[np.bool_]
    image: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.int64]

    def average_precision(self, weights: Floats | None = None) -> float:
        """COCO's: mean over 101 recalls of the best precision at that recall or beyond; nan without any box.

        Args:
            weights: How often each image counts; once when None.
        """
        weights = np.ones(len(self.boxes)) if weights is None else weights
        total = float(weights @ self.boxes)
        if total <= 0:
            return float("nan")
        weight = weights[self.image]
        hits, misses = np.cumsum(weight * self.hit), np.cumsum(weight * ~self.hit)
        recall, precision = hits / total, hits / np.maximum(hits + misses, np.spacing(1))
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        found = np.searchsorted(recall, RECALLS, side="left")
        return float(
            np.where(found < len(precision), np.append(precision, 0.0)[np.minimum(found, len(precision))], 0).mean()
        )


def match(
    truth: Sequence[BoxedImage], found: Sequence[DetectedBoxes], labels: Sequence[str], iou: float = 0.5
) -> dict[str, ClassMatches]:
    """Matches detections to drawn boxes, class by class, as pycocotools does: best score first, at most 100 an image.

    Args:
        truth: The drawn boxes, one entry an image.
        found: The detections in the same images, in the same order.
        labels: The classes to look at.
        iou: Overlap from which on a box is found.
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
    if not drawn or not seen:
        return {label: _unmatched(truth, label) for label in labels}
    with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress by print
        coco = COCO()
        coco.dataset = {"images": images, "annotations": drawn, "categories": categories}
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(seen), "bbox")
        evaluation.params.iouThrs = np.array([iou])
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [MAX_DETECTIONS]
        evaluation.evaluate()
    entries = iter(evaluation.evalImgs)  # by category, then by image
    return {label: _gather([next(entries) for _ in truth]) for label in labels}


def _unmatched(truth: Sequence[BoxedImage], label: str) -> ClassMatches:
    boxes = np.array([boxed.labels.count(label) for boxed in truth], np.int64)
    return ClassMatches(np.zeros(0, bool), np.zeros(0, np.int64), boxes)


def _gather(entries: Sequence[dict | None]) -> ClassMatches:
    """One class of pycocotools' matches, all images together."""
    scores = [np.asarray(entry["dtScores"] if entry else [], float) for entry in entries]
    hits = [np.asarray(entry["dtMatches"][0] > 0 if entry else [], bool) for entry in entries]
    boxes = [len(entry["gtIds"]) if entry else 0 for entry in entries]
    order = np.argsort(-np.concatenate(scores), kind="stable")
    image = np.repeat(np.arange(len(entries)), [len(values) for values in scores])
    return ClassMatches(np.concatenate(hits)[order], image[order], np.array(boxes, np.int64))


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

    In each draw every set's images are drawn anew with replacement, the same ones for a and b (Efron 1979, percentile
    interval).

    Args:
        a: Matches by set and class in the first kind of image.
        b: The same sets and images in the second kind.
        labels: The classes that count.
        draws: Number of draws.
        seed: Of the draws.

    Returns:
        The difference, and the lower and upper end of its interval.
    """
    rng = np.random.default_rng(seed)
    differences = np.empty(draws)
    for draw in range(draws):
        values = []
        for name, matches in a.items():
            count = len(next(iter(matches.values())).boxes)
            weights = np.bincount(rng.integers(count, size=count), minlength=count).astype(float)
            values += [
                matches[label].average_precision(weights) - b[name][label].average_precision(weights)
                for label in labels
                if label in matches
            ]
        differences[draw] = np.nanmean(values)
    low, high = np.nanpercentile(differences, [2.5, 97.5])
    return mean_average_precision(a, labels) - mean_average_precision(b, labels), float(low), float(high)
