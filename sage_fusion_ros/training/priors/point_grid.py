"""Masks of everything in an image, from a network that is asked about points: SAM's automatic mask generation.

After Kirillov et al. 2023 (Segment Anything, section 5 and appendix B): a regular grid of points, three masks for each,
those that the network is sure of and that do not hang on the threshold, one of each group with nearly the same box; on
request the same again in overlapping parts of the image, for small things. It knows nothing of SAM itself: whatever can
embed a view and answer points will do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from sage_fusion_ros.training.priors.mask_filters import (
    Boxes,
    boxes_of,
    cut_off,
    not_overlapping,
    stability,
    without_specks,
)
from sage_fusion_ros.training.priors.masks import MOST_MASKS, Bools, Grey
from sage_fusion_ros.training.priors.sam_settings import SamSettings

_OVERLAP = 512 / 1500  # of the parts of a layer, in the image's shorter side, as released
_AT_ONCE = 16  # masks enlarged together; more only take memory


class View(Protocol):
    """An image, or a part of one, that the network has looked at."""

    def propose(self, points: npt.NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        """Several masks for each point.

        Args:
            points: (P, 2), x and y in pixels of the view.

        Returns:
            Logits float32 (N, h, w) of some size, and the IoU float32 (N,) that the network expects of each.
        """

    def enlarge(self, logits: Tensor) -> Tensor:
        """Logits (n, h, w) of propose() as float32 (n, H, W) in the view's size."""


Embed = Callable[[Grey], View]


@dataclass(frozen=True)
class _Found:
    """Masks of the image as bits (N, H, ceil(W / 8)), their boxes (N, 4) and how good each is (N,)."""

    bits: Grey
    boxes: Boxes
    scores: npt.NDArray[np.float64]

    def take(self, index: npt.NDArray[np.int64]) -> _Found:
        return _Found(self.bits[index], self.boxes[index], self.scores[index])


def find_everything(image: Grey, embed: Embed, settings: SamSettings) -> Bools:
    """The masks of all that stands out in an image.

    Args:
        image: uint8 HxWx3, RGB.
        embed: Looks at a view, uint8 hxwx3; called once for each.
        settings: What to keep.

    Returns:
        bool (M, H, W), largest first, at most 20.
    """
    size = (image.shape[0], image.shape[1])
    found, fineness_of = [], []
    for layer, view in views(size, settings.crop_layers):
        side = max(1, settings.points_per_side // settings.crop_points_divisor**layer)
        found.append(_search(embed, image, view, side, settings))
        left, top, right, bottom = view
        fineness_of.append(np.full(len(found[-1].scores), 1 / ((right - left) * (bottom - top))))
    together = _join(found, size)
    if len(found) > 1:
        # Of the same thing seen by several views, the one from the smallest view is the finest.
        parts = [view for _, view in views(size, settings.crop_layers)]
        areas = [(right - left) * (bottom - top) for left, top, right, bottom in parts]
        fineness = np.concatenate(
            [np.full(len(each.scores), 1 / area) for each, area in zip(found, areas, strict=True)]
        )
        together = together.take(not_overlapping(together.boxes, fineness, settings.box_iou))
    masks = _tidy(together, size, settings)
    return masks[:MOST_MASKS]


def views(size: tuple[int, int], layers: int) -> list[tuple[int, tuple[int, int, int, int]]]:
    """What is looked at: the image (layer 0), and with each further layer twice as many overlapping parts a side.

    Args:
        size: Height and width.
        layers: Beyond the image itself.

    Returns:
        (layer, (left, top, right, bottom)); no part is empty.
    """
    height, width = size
    found = [(0, (0, 0, width, height))]
    for layer in range(1, layers + 1):
        parts = 2**layer
        overlap = int(_OVERLAP * min(size) * 2 / parts)
        part_h, part_w = (math.ceil((overlap * (parts - 1) + length) / parts) for length in size)
        for top in (index * (part_h - overlap) for index in range(parts)):
            for left in (index * (part_w - overlap) for index in range(parts)):
                box = (left, top, min(left + part_w, width), min(top + part_h, height))
                if box[2] > left and box[3] > top:
                    found.append((layer, box))
    return found


def point_grid(side: int, size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Points in the middle of side x side equal cells, (side^2, 2) as x and y in pixels of an image of this size."""
    steps = (np.arange(side) + 0.5) / side
    x, y = np.meshgrid(steps * size[1], steps * size[0])
    return np.stack([x.ravel(), y.ravel()], axis=1)


def _search(embed: Embed, image: Grey, box: tuple[int, int, int, int], side: int, settings: SamSettings) -> _Found:
    """What one view shows, each thing once."""
    left, top, right, bottom = box
    view = embed(np.ascontiguousarray(image[top:bottom, left:right]))
    points = point_grid(side, (bottom - top, right - left))
    found = []
    for start in range(0, len(points), settings.points_per_batch):
        logits, expected = view.propose(points[start : start + settings.points_per_batch])
        sure = expected >= settings.predicted_iou
        if not sure.any():
            continue
        for few, scores in zip(logits[sure].split(_AT_ONCE), expected[sure].split(_AT_ONCE), strict=True):
            found.append(_keep_stable(view.enlarge(few), scores, box, (image.shape[0], image.shape[1]), settings))
    joined = _join(found, (image.shape[0], image.shape[1]))
    return joined.take(not_overlapping(joined.boxes, joined.scores, settings.box_iou))


def _keep_stable(
    logits: Tensor, scores: Tensor, box: tuple[int, int, int, int], size: tuple[int, int], settings: SamSettings
) -> _Found:
    """The stable ones of a few masks of a view, laid into the image."""
    stable = stability(logits, settings.stability_offset) >= settings.stability
    masks = (logits[stable] > 0).cpu().numpy()
    left, top, right, bottom = box
    whole = np.zeros((len(masks), *size), bool)
    whole[:, top:bottom, left:right] = masks
    boxes = boxes_of(whole)
    kept = np.flatnonzero(~cut_off(boxes, box, size) & (boxes[:, 2] > 0))
    return _Found(np.packbits(whole[kept], axis=2), boxes[kept], scores[stable].double().cpu().numpy()[kept])


def _tidy(found: _Found, size: tuple[int, int], settings: SamSettings) -> Bools:
    """Without specks and holes; what has become alike by that is kept once, the untouched first; largest first."""
    tidied, boxes, areas, untouched = [], [], [], []
    for bits in found.bits:
        mask = np.unpackbits(bits, axis=1, count=size[1]).astype(bool)
        clean = without_specks(mask, settings.least_area)
        if clean.any():
            tidied.append(np.packbits(clean, axis=1))
            boxes.append(boxes_of(clean[None])[0])
            areas.append(np.count_nonzero(clean))
            untouched.append(float((clean == mask).all()))
    if not tidied:
        return np.zeros((0, *size), bool)
    kept = not_overlapping(np.array(boxes), np.array(untouched), settings.box_iou)
    order = kept[np.argsort(-np.array(areas)[kept], kind="stable")][:MOST_MASKS]
    return np.unpackbits(np.stack([tidied[index] for index in order]), axis=2, count=size[1]).astype(bool)


def _join(found: Sequence[_Found], size: tuple[int, int]) -> _Found:
    nothing = _Found(np.zeros((0, size[0], -(-size[1] // 8)), np.uint8), np.zeros((0, 4)), np.zeros(0))
    parts = [nothing, *found]
    return _Found(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(_Found)))
