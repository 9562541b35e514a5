"""Label maps that other networks made, read and believed only as far as something else agrees with them.

Such maps come with some sets of pairs: Cityscapes ids made from the RGB image, and MSRS ids made from both images. The
first kind is good on clear days and wrong in ways that repeat: by night everything is a building, in washed-out colours
trees are people or buildings, roads are cars, and cloudy skies are buildings. Nobody has drawn the truth for these
pairs, so each doubtful label is held against what is independent of it (boxes, what is cold in the thermal image,
what is green) and where that disagrees, the pixel becomes unknown or what the evidence says.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.pipeline.classes import CITYSCAPES_CLASSES, DRIVING_CLASSES, UNLABELLED
from sage_fusion_ros.training.label_files import Mask, find_label_map, read_label_map
from sage_fusion_ros.training.pairs import StoredPair
from sage_fusion_ros.training.perception.boxes import Boxes

CITYSCAPES_MAPS = "seg_cityscapes19"
"""Folder of label maps with Cityscapes train ids, made from the RGB image."""
RGBT_MAPS = "seg_msrs9"
"""Folder of label maps with the ids of MSRS (Tang et al. 2022), made from both images."""

_ID = {name: CITYSCAPES_CLASSES.index(name) for name in CITYSCAPES_CLASSES}
_FROM_RGBT = {1: _ID["car"], 2: _ID["person"], 3: _ID["bicycle"]}
_VEHICLES, _TWO_WHEELERS = ("car", "truck", "bus"), ("bicycle", "motorcycle")
# By class of the mask, the boxes it may lie in. Riders are people to a detector, and stand before their bicycles.
_LIES_IN = {
    **{_ID[name]: _VEHICLES for name in (*_VEHICLES, "train")},
    _ID["person"]: ("person",),
    **{_ID[name]: ("person", *_TWO_WHEELERS) for name in ("rider", *_TWO_WHEELERS)},
}
_GROW = 0.1  # of a box's sides: masks reach a little beyond their boxes
_SURE = 0.15  # least confidence of a box that a mask may rest on
_COLD = 25  # percentile of the thermal image under which a bright thing at the top is sky
_BRIGHT = 150  # luma of a sky by day
# Leaves have more green than red and blue have in the mean, walls more red than green. Levels over the road's.
_LEAVES_GREEN, _LEAVES_RED, _WALLS_RED = 6.0, 4.0, 6.0
NO_TRAFFIC = 254
"""In a mask to learn from: nobody says what it is, but no person and no vehicle."""


def read_mask(root: Path, pair: StoredPair, boxes: Boxes, by_day: bool, doubtful: bool = False) -> Mask:
    """The believed label map of a pair.

    By day the Cityscapes map counts, and the RGB-T map fills what it left open; by night only the RGB-T map.

    Args:
        root: Folder of the set.
        pair: Its name, after the set's, is "FLIR_00018", "clip/0003", or "clip/000030" for a frame of a video.
        boxes: What people or detectors have drawn in it.
        by_day: Whether the RGB camera saw the scene in daylight.
        doubtful: Whether its buildings need further evidence.

    Returns:
        uint8 HxW of the image's size, Cityscapes train ids; NO_TRAFFIC where only that is known, 255 elsewhere.

    Raises:
        SourceError: A label map can't be read.
    """
    name, shape = pair.name.split("/", 1)[1], pair.thermal.shape
    mask = np.full(shape, UNLABELLED, np.uint8)
    if by_day and (path := find_label_map(root, name, CITYSCAPES_MAPS)):
        mask = read_label_map(path, shape)
        mask = recognise_sky(mask, pair.rgb, pair.thermal)
        mask = recognise_leaves(mask, pair.rgb) if doubtful else mask
    if path := find_label_map(root, name, RGBT_MAPS):
        rgbt = read_label_map(path, shape)
        for theirs, ours in _FROM_RGBT.items():
            mask[(rgbt == theirs) & (mask == UNLABELLED)] = ours
    return keep_in_boxes(mask, boxes)


def is_by_day(rgb_luma: npt.NDArray[np.uint8], day_luma: float) -> bool:
    """Whether the upper third, which is sky, trees and walls, is bright.

    Street lamps light the road and leave the sky dark, even where a camera brightens its nights to the level of days.

    Args:
        rgb_luma: uint8 HxW.
        day_luma: Least median of the upper third, 0..255.
    """
    return bool(np.median(rgb_luma[: max(1, rgb_luma.shape[0] // 3)]) >= day_luma)


def keep_in_boxes(mask: Mask, boxes: Boxes) -> Mask:
    """People and vehicles outside of any box of theirs become unknown; what is unknown outside of all, NO_TRAFFIC.

    Args:
        mask: uint8 HxW.
        boxes: All that people or detectors saw, doubtful ones too.

    Returns:
        uint8 HxW, a new array.
    """
    kept = mask.copy()
    height, width = mask.shape
    inside: dict[str, npt.NDArray[np.bool_]] = {name: np.zeros(mask.shape, bool) for name in DRIVING_CLASSES}
    outside = np.ones(mask.shape, bool)
    for (left, top, right, bottom), index, confidence in zip(boxes.xyxy, boxes.classes, boxes.confidence, strict=True):
        dx, dy = _GROW * (right - left) + 2, _GROW * (bottom - top) + 2
        rows = slice(max(0, int(top - dy)), min(height, int(bottom + dy) + 1))
        columns = slice(max(0, int(left - dx)), min(width, int(right + dx) + 1))
        outside[rows, columns] = False
        if confidence >= _SURE:
            inside[DRIVING_CLASSES[index]][rows, columns] = True
    for label, names in _LIES_IN.items():
        allowed = np.any([inside[name] for name in names], axis=0)
        kept[(mask == label) & ~allowed] = UNLABELLED
    kept[(kept == UNLABELLED) & outside] = NO_TRAFFIC
    return kept


def recognise_sky(mask: Mask, rgb: npt.NDArray[np.uint8], thermal: npt.NDArray[np.uint8]) -> Mask:
    """A building that is bright, cold and joined to the image's top edge is sky.

    Args:
        mask: uint8 HxW, Cityscapes train ids.
        rgb: uint8 HxWx3.
        thermal: uint8 HxW.

    Returns:
        uint8 HxW, a new array.
    """
    luma = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))
    cold = (cv2.blur(thermal, (5, 5)) < np.percentile(thermal, _COLD)) & (luma >= _BRIGHT)
    count, regions = cv2.connectedComponents(cold.astype(np.uint8))
    at_the_top = np.zeros(count, bool)
    at_the_top[np.unique(regions[0])] = True
    at_the_top[0] = False
    return np.where((mask == _ID["building"]) & at_the_top[regions], np.uint8(_ID["sky"]), mask)


def recognise_leaves(mask: Mask, rgb: npt.NDArray[np.uint8]) -> Mask:
    """Of doubtful buildings, the green are vegetation, those red like a wall stay, the rest is unknown.

    Colours are taken against the road's, which is grey; without a road all are unknown.

    Args:
        mask: uint8 HxW, Cityscapes train ids.
        rgb: uint8 HxWx3.

    Returns:
        uint8 HxW, a new array.
    """
    sorted_out = mask.copy()
    building, road = mask == _ID["building"], mask == _ID["road"]
    sorted_out[building] = UNLABELLED
    if road.mean() >= 0.02:
        red, green, blue = cv2.split(cv2.GaussianBlur(rgb.astype(np.float32), (0, 0), 3))
        greenness, redness = (each - np.median(each[road]) for each in (2 * green - red - blue, red - green))
        sorted_out[building & (greenness > _LEAVES_GREEN) & (redness < _LEAVES_RED)] = _ID["vegetation"]
        sorted_out[building & (redness > _WALLS_RED)] = _ID["building"]
    return sorted_out
