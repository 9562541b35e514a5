"""Pseudo-boxes: what frozen detectors see in both images of a pair, in the whole and in four tiles.

Tiles bring small things nearer, and each camera sees what the other misses: merged, a small detector reads clearly more
than in any single image (docs/models.md has the figures).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.pipeline.classes import DRIVING_CLASSES
from sage_fusion_ros.pipeline.detect import Detector
from sage_fusion_ros.training.pairs import StoredPair
from sage_fusion_ros.training.perception.boxes import Boxes, PseudoBoxes

FLOOR = 0.05
_TILE = 0.6  # of each side; four of them overlap in the middle
_CUT = 4.0  # a box this near to a tile's inner edge is only a part of something
_SAME = 0.6  # IoU from which on two boxes of a class are one thing
_SAVE_EVERY = 50

Bytes = npt.NDArray[np.uint8]
Rows = list[tuple[list[float], str, float]]


def find_pseudo_boxes(pairs: Sequence[StoredPair], detectors: Sequence[Detector], key: str, cache: Path) -> PseudoBoxes:
    """The pseudo-boxes of every pair, from the cache where they are there already.

    Args:
        pairs: Whose boxes are wanted.
        detectors: Detectors that know the classes of DRIVING_CLASSES by these names.
        key: What the boxes depend on besides the pairs, such as the detectors' hashes.
        cache: JSON file, written as the work goes on, so that an interrupted run takes it up.

    Raises:
        SourceError: The cache is of other detectors, or can't be read.
    """
    rows = _read_cache(cache, key)
    missing = [pair for pair in pairs if pair.name not in rows]
    for count, pair in enumerate(tqdm(missing, desc="pseudo-boxes", unit="pair", disable=not missing), start=1):
        rows[pair.name] = look(pair.rgb, pair.thermal, detectors)
        if count % _SAVE_EVERY == 0 or count == len(missing):
            _write_cache(cache, key, rows)
    return {pair.name: Boxes.of(rows[pair.name]) for pair in pairs}


def look(rgb: Bytes, thermal: Bytes, detectors: Sequence[Detector]) -> Rows:
    """All detectors on all views of both images, merged.

    Args:
        rgb: uint8 HxWx3.
        thermal: uint8 HxW of the same size.
        detectors: See find_pseudo_boxes.

    Returns:
        (corners in pixels, class name, score), best first.
    """
    found = [
        _in_view(
            np.ascontiguousarray(image[top : top + height, left : left + width]), (top, left), image.shape, detector
        )
        for image in (rgb, np.repeat(thermal[..., None], 3, axis=2))
        for top, left, height, width in views(*thermal.shape)
        for detector in detectors
    ]
    xyxy, scores, classes = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return merge(xyxy, scores, classes)


def views(height: int, width: int) -> list[tuple[int, int, int, int]]:
    """Top, left, height and width of the whole image and of its four tiles."""
    rows, columns = max(1, int(_TILE * height)), max(1, int(_TILE * width))
    tiles = [(top, left, rows, columns) for top in (0, height - rows) for left in (0, width - columns)]
    return [(0, 0, height, width), *tiles]


def _in_view(
    view: Bytes, start: tuple[int, int], shape: tuple[int, ...], detector: Detector
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Boxes of one view in pixels of the image; those that the view's inner edges cut are left out."""
    seen = detector.detect(view, FLOOR, _SAME)
    classes = np.array([_driving(detector.classes[index]) for index in seen.class_ids], np.int64)
    (top, left), (height, width) = start, view.shape[:2]
    x0, y0, x1, y1 = seen.xyxy.T
    cut = (x0 < _CUT) & (left > 0) | (y0 < _CUT) & (top > 0)
    cut |= (x1 > width - _CUT) & (left + width < shape[1]) | (y1 > height - _CUT) & (top + height < shape[0])
    kept = (classes >= 0) & ~cut
    return seen.xyxy[kept] + np.array([left, top, left, top], np.float32), seen.scores[kept], classes[kept]


def _driving(name: str) -> int:
    return DRIVING_CLASSES.index(name) if name in DRIVING_CLASSES else -1


def merge(xyxy: npt.NDArray[np.float32], scores: npt.NDArray[np.float32], classes: npt.NDArray[np.int64]) -> Rows:
    """Boxes of one thing become one: corners averaged by score (Solovyev et al. 2021), the score is the best one's."""
    rows: Rows = []
    for index, name in enumerate(DRIVING_CLASSES):
        mine = classes == index
        boxes, values = xyxy[mine].astype(np.float64), scores[mine]
        rectangles = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        for best in np.array(cv2.dnn.NMSBoxes(rectangles.tolist(), values.tolist(), FLOOR, _SAME), int).ravel():
            weight = values * (_iou(boxes[best], boxes) >= _SAME)
            corners = (boxes * weight[:, None]).sum(axis=0) / weight.sum()
            rows.append(([round(float(value), 2) for value in corners], name, round(float(values[best]), 4)))
    return sorted(rows, key=lambda row: -row[2])


def _iou(box: npt.NDArray[np.float64], boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    common = np.clip(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0, None).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return np.asarray(common / np.maximum((box[2:] - box[:2]).prod() + areas - common, 1e-9))


def _read_cache(path: Path, key: str) -> dict[str, Rows]:
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        made_with, boxes = data["key"], data["boxes"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(
            f"the pseudo-boxes {path} can't be read ({error}); remove the file, they are found anew"
        ) from error
    if made_with != key:
        raise SourceError(f"the pseudo-boxes {path} are of other detectors; remove the file, or give another --out")
    return {name: [(box, label, score) for box, label, score in rows] for name, rows in boxes.items()}


def _write_cache(path: Path, key: str, rows: dict[str, Rows]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".partial")
    beside.write_text(json.dumps({"key": key, "boxes": rows}), encoding="utf-8")
    os.replace(beside, path)
