"""What is kept of the masks that SAM proposes: boxes, overlap, sureness, specks and holes.

The steps are those of the automatic mask generation of Kirillov et al. 2023 (Segment Anything, appendix B), in our own
words. Boxes are left, top, right, bottom in pixels, right and bottom excluded.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from torch import Tensor

Bools = npt.NDArray[np.bool_]
Boxes = npt.NDArray[np.float64]

_CUT = 20  # pixels from a view's edge within which a mask counts as cut off by it


def stability(logits: Tensor, offset: float) -> Tensor:
    """How little a mask changes when its threshold does: area above +offset over area above -offset.

    Args:
        logits: float32 (N, H, W).
        offset: In logits.

    Returns:
        float32 (N,) in 0..1; 0 for a mask that is empty at both.
    """
    inner, outer = ((logits > level).flatten(1).sum(dim=1) for level in (offset, -offset))
    return inner / outer.clamp_min(1)


def boxes_of(masks: Bools) -> Boxes:
    """The box around each mask of (N, H, W), as (N, 4); zeros where it is empty."""
    edges = []
    for axis in (1, 2):  # taken away: what is left are columns, then rows
        any_set = masks.any(axis=axis)
        first = any_set.argmax(axis=1)
        edges.append((first, np.where(any_set.any(axis=1), any_set.shape[1] - any_set[:, ::-1].argmax(axis=1), 0)))
    (left, right), (top, bottom) = edges
    return np.stack([left, top, right, bottom], axis=1).astype(np.float64)


def not_overlapping(boxes: Boxes, scores: npt.NDArray[np.float64], most_iou: float) -> npt.NDArray[np.int64]:
    """Indices of the boxes that no better one overlaps by more, best first (non-maximum suppression).

    Args:
        boxes: (N, 4).
        scores: (N,); of equal ones the earlier is the better.
        most_iou: Intersection over union in 0..1.
    """
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    left = np.argsort(-scores, kind="stable")
    kept = []
    while left.size:
        best, left = left[0], left[1:]
        kept.append(best)
        corner = np.maximum(boxes[best, :2], boxes[left, :2])
        sides = (np.minimum(boxes[best, 2:], boxes[left, 2:]) - corner).clip(0)
        common = sides[:, 0] * sides[:, 1]
        left = left[common <= most_iou * (areas[best] + areas[left] - common)]
    return np.array(kept, np.int64)


def cut_off(boxes: Boxes, view: tuple[int, int, int, int], size: tuple[int, int]) -> Bools:
    """Which masks end where their view ends, and not the image: the whole thing is seen by another view.

    Args:
        boxes: (N, 4) in pixels of the image.
        view: The part of the image that was looked at.
        size: Height and width of the image.

    Returns:
        bool (N,).
    """
    at_view = np.abs(boxes - np.array(view)) <= _CUT
    at_image = np.abs(boxes - np.array([0, 0, size[1], size[0]])) <= _CUT
    return np.asarray((at_view & ~at_image).any(axis=1))


def without_specks(mask: Bools, least_area: int) -> Bools:
    """The mask with its small holes filled, and then without its small islands.

    Args:
        mask: bool (H, W).
        least_area: Pixels under which a hole or an island is small.

    Returns:
        bool (H, W), a new array; empty where nothing is large enough.
    """
    filled = mask | _small_regions(~mask, least_area)
    return filled & ~_small_regions(filled, least_area)


def _small_regions(mask: Bools, least_area: int) -> Bools:
    _, regions, figures, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    small = figures[:, cv2.CC_STAT_AREA] < least_area
    small[0] = False
    return np.asarray(small[regions])
