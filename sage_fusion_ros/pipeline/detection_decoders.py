"""Raw outputs of detectors to corners and scores; what scores too little is dropped before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.engines.base import Array

Floats = npt.NDArray[np.float32]
# float32 Nx4 corners in pixels of the network's input, and float32 N x classes scores in 0..1.
Candidates = tuple[Floats, Floats]


@lru_cache(maxsize=8)
def grid(height: int, width: int, strides: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Cells of a network's input, stride after stride, row after row.

    Returns:
        float32 Nx2 column and row of each cell, float32 Nx1 its stride in pixels.
    """
    places, sizes = [], []
    for stride in strides:
        rows, columns = np.mgrid[: height // stride, : width // stride].reshape(2, -1)
        places.append(np.stack([columns, rows], axis=1))
        sizes.append(np.full((rows.size, 1), stride))
    return np.concatenate(places).astype(np.float32), np.concatenate(sizes).astype(np.float32)


def _corners(centre: Floats, size: Floats) -> Floats:
    return np.concatenate([centre - size / 2, centre + size / 2], axis=1).astype(np.float32)


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(0.5 + 0.5 * np.tanh(x / 2), np.float32)  # overflows nowhere


def decode_yolox(
    outputs: Sequence[Array], height: int, width: int, floor: float, *, strides: tuple[int, ...] = (8, 16, 32)
) -> Candidates:
    """YOLOX (Ge et al. 2021) without its own decoding.

    Args:
        outputs: (1, cells, 5 + classes): centre in cells from the cell's corner, logarithm of the size in cells,
            objectness, class probabilities.
        height: Of the network's input in pixels.
        width: Likewise.
        floor: Cells whose best class scores no more than this are dropped.
        strides: Of the cells, in pixels.

    Returns:
        Corners, and objectness x class.
    """
    raw = outputs[0][0]
    places, sizes = grid(height, width, strides)
    rows = np.flatnonzero(raw[:, 4] > floor)  # a class adds nothing to its objectness
    part = np.asarray(raw[rows], np.float32)
    scores = part[:, 4:5] * part[:, 5:]
    sure = scores.max(axis=1) > floor
    rows, part, scores = rows[sure], part[sure], scores[sure]
    stride = sizes[rows]
    with np.errstate(over="ignore"):
        return _corners((part[:, :2] + places[rows]) * stride, np.exp(part[:, 2:4]) * stride), scores


def decode_yolov8(outputs: Sequence[Array], height: int, width: int, floor: float) -> Candidates:
    """YOLOv8 and later.

    Args:
        outputs: (1, 4 + classes, cells): centre x, centre y, width, height in pixels of the input, scores 0..1.
        height: Not needed.
        width: Likewise.
        floor: As in decode_yolox.
    """
    raw = outputs[0][0]
    part = np.asarray(raw[:, np.flatnonzero(raw[4:].max(axis=0) > floor)], np.float32).T
    return _corners(part[:, :2], part[:, 2:4]), np.ascontiguousarray(part[:, 4:])


def decode_end2end(outputs: Sequence[Array], height: int, width: int, floor: float, *, classes: int) -> Candidates:
    """YOLOv10 and later without suppression.

    Args:
        outputs: (1, N, 6): left, top, right, bottom in pixels of the input, score, number of the class.
        height: Not needed.
        width: Likewise.
        floor: As in decode_yolox.
        classes: How many there are; a box of another class is dropped.
    """
    raw = outputs[0]
    return decode_deployed([raw[..., 5].astype(np.int64), raw[..., :4], raw[..., 4]], 0, 0, floor, classes=classes)


def decode_deployed(outputs: Sequence[Array], height: int, width: int, floor: float, *, classes: int) -> Candidates:
    """RT-DETR and D-FINE in the form for deployment, asked for boxes in pixels of their input.

    Args:
        outputs: Numbers of classes (1, Q); left, top, right, bottom in pixels of the input (1, Q, 4); scores (1, Q).
        height: Not needed.
        width: Likewise.
        floor: As in decode_yolox.
        classes: How many there are; a box of another class is dropped.
    """
    labels, boxes, scores = (output[0] for output in outputs)
    rows = np.flatnonzero((scores > floor) & (labels >= 0) & (labels < classes))
    each = np.zeros((rows.size, classes), np.float32)
    each[np.arange(rows.size), labels[rows]] = scores[rows]
    return np.asarray(boxes[rows], np.float32), each


def _shares(boxes: Array, scores: Floats, height: int, width: int, floor: float) -> Candidates:
    rows = np.flatnonzero(scores.max(axis=1) > floor)
    part = np.asarray(boxes[rows], np.float32) * np.array([width, height] * 2, np.float32)
    return _corners(part[:, :2], part[:, 2:]), scores[rows]


def decode_rtdetr(outputs: Sequence[Array], height: int, width: int, floor: float) -> Candidates:
    """RT-DETR (Zhao et al. 2024) and D-FINE (Peng et al. 2024) as trained.

    Args:
        outputs: Boxes (1, Q, 4): centre x, centre y, width, height as shares of the input; logits (1, Q, classes).
        height: Of the network's input in pixels.
        width: Likewise.
        floor: As in decode_yolox.
    """
    return _shares(outputs[0][0], _sigmoid(np.asarray(outputs[1][0], np.float32)), height, width, floor)


def decode_ultralytics_rtdetr(outputs: Sequence[Array], height: int, width: int, floor: float) -> Candidates:
    """RT-DETR as Ultralytics exports it: one output (1, Q, 4 + classes), boxes as in decode_rtdetr, scores 0..1."""
    raw = np.asarray(outputs[0][0], np.float32)
    return _shares(raw[:, :4], raw[:, 4:], height, width, floor)


def decode_fastestdet(outputs: Sequence[Array], height: int, width: int, floor: float) -> Candidates:
    """FastestDet (Xuehao Ma 2022).

    Args:
        outputs: (1, 5 + classes, rows, columns): objectness, offsets, sizes, class probabilities.
        height: Of the network's input in pixels.
        width: Likewise.
        floor: As in decode_yolox.

    Returns:
        Corners, and objectness^0.6 x class^0.4.
    """
    raw = np.asarray(outputs[0][0], np.float32)
    rows, columns = raw.shape[1:]
    chance = np.maximum(raw, 0)  # no power of a negative number
    scores = (chance[0] ** 0.6 * chance[5:].max(axis=0) ** 0.4).ravel()
    cells = np.flatnonzero(scores > floor)
    part = raw.reshape(len(raw), -1)[:, cells]
    row, column = np.divmod(cells, columns)
    centre = np.stack([(column + np.tanh(part[1])) / columns * width, (row + np.tanh(part[2])) / rows * height], axis=1)
    size = _sigmoid(part[3:5].T) * np.array([width, height], np.float32)
    chance = chance.reshape(len(raw), -1)[:, cells]
    return _corners(centre.astype(np.float32), size), (chance[0] ** 0.6 * chance[5:] ** 0.4).T
