"""Mask and boxes drawn into a fused image, for people to look at; quick enough to run beside the networks."""

from __future__ import annotations

import colorsys
import functools
import math
import zlib
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.pipeline.classes import CITYSCAPES_CLASSES, CITYSCAPES_COLOURS
from sage_fusion_ros.pipeline.types import Detections

Image = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

FONT = cv2.FONT_HERSHEY_SIMPLEX
DARK: Colour = (16, 16, 16)
LIGHT: Colour = (255, 255, 255)
_IDS = 256
_CITYSCAPES: dict[str, Colour] = {
    name: (int(red), int(green), int(blue))
    for name, (red, green, blue) in zip(CITYSCAPES_CLASSES, CITYSCAPES_COLOURS, strict=True)
}


def draw_overlay(
    fused: Image,
    mask: Image | None,
    mask_classes: Sequence[str],
    detections: Detections | None,
    detection_classes: Sequence[str],
    opacity: float = 0.5,
) -> Image:
    """Tints an image by its mask and draws its boxes with their class and score.

    Args:
        fused: uint8 HxWx3 RGB; it stays as it is.
        mask: uint8 HxW ids of `mask_classes`, or None. Pixels of an id beyond them (255: unlabelled) are not tinted.
        mask_classes: Name of each id.
        detections: Boxes in pixels of the image, or None. What lies beyond the border is cut off. A score of nan, as of
            a box that a person drew, is not shown.
        detection_classes: Name of each class id; an id beyond them is shown as a number.
        opacity: 0..1, how strongly the mask covers the image; boxes are always drawn.

    Returns:
        A new uint8 HxWx3 RGB image.

    Raises:
        ValueError: The mask's size is not the image's.
    """
    if mask is None or opacity <= 0 or not mask_classes:
        out = np.array(fused, np.uint8, order="C")
    else:
        out = _tint(fused, mask, mask_classes, min(float(opacity), 1.0))
    if detections is not None and len(detections.scores):
        _draw_boxes(out, detections, detection_classes)
    return out


@functools.lru_cache(maxsize=1024)
def colour_of_class(name: str) -> Colour:
    """The colour of a class, the same in masks and boxes: red, green, blue, each 0..255.

    Cityscapes classes have that dataset's usual colours. Others get a saturated hue that depends on the name alone, so
    that it is the same in every process and on every machine.
    """
    known = _CITYSCAPES.get(name)
    if known is not None:
        return known
    # hash() differs from process to process.
    number = zlib.crc32(name.encode("utf-8"))
    red, green, blue = colorsys.hsv_to_rgb((number % 360) / 360, 0.85, 0.75 + (number // 360 % 26) / 100)
    return round(red * 255), round(green * 255), round(blue * 255)


@functools.lru_cache(maxsize=16)
def _colour_table(classes: tuple[str, ...]) -> Image:
    """Colour by id as cv2.LUT takes it: uint8 1x256x3, black beyond the classes."""
    table = np.zeros((1, _IDS, 3), np.uint8)
    table[0, : len(classes)] = [colour_of_class(name) for name in classes[:_IDS]]
    return table


def _tint(fused: Image, mask: Image, classes: Sequence[str], opacity: float) -> Image:
    if mask.shape != fused.shape[:2]:
        raise ValueError(f"the mask is {mask.shape[1]}x{mask.shape[0]}, the image {fused.shape[1]}x{fused.shape[0]}")
    colours = cv2.LUT(cv2.merge([mask, mask, mask]), _colour_table(tuple(classes)))
    out = cv2.addWeighted(fused, 1 - opacity, colours, opacity, 0)
    if len(classes) < _IDS:
        cv2.copyTo(fused, (mask >= len(classes)).view(np.uint8), out)
    return np.asarray(out, np.uint8)


def _draw_boxes(image: Image, detections: Detections, classes: Sequence[str]) -> None:
    """Draws into the image, the surest box last, and all labels over all boxes, the surest first."""
    height, width = image.shape[:2]
    labels = []
    for position in np.argsort(detections.scores, kind="stable"):
        corners = detections.xyxy[position]
        if not np.isfinite(corners).all():
            continue
        # Right and bottom lie one past the last pixel.
        left, top, right, bottom = np.clip(np.round(corners), 0, (width, height, width, height)).astype(int).tolist()
        if right <= left or bottom <= top:
            continue
        number = int(detections.class_ids[position])
        name = classes[number] if 0 <= number < len(classes) else str(number)
        colour = colour_of_class(name)
        # At 640x480 lines of 2 pixels; thinner ones where they would hide what is in the box.
        line = max(1, round(min(height, width) / 240)) if min(right - left, bottom - top) >= 24 else 1
        # An edge of the other brightness keeps the line apart from a mask of the same colour.
        cv2.rectangle(image, (left, top), (right - 1, bottom - 1), _ink_on(colour), line + 2)
        cv2.rectangle(image, (left, top), (right - 1, bottom - 1), colour, line)
        score = float(detections.scores[position])
        labels.append((name if math.isnan(score) else f"{name} {score:.2f}", left, top, bottom, colour))
    plates: list[tuple[int, int, int, int]] = []
    for text, left, top, bottom, colour in reversed(labels):
        _draw_label(image, text, left, top, bottom, colour, plates)


def _draw_label(
    image: Image, text: str, left: int, top: int, bottom: int, colour: Colour, plates: list[tuple[int, int, int, int]]
) -> None:
    """Text on a plate of the class's colour: above the box, else inside it, else below it.

    It stays inside the image, and where none of the three places is free of the plates so far it is left out: in a
    crowd the colour tells the class, and labels upon labels would tell nothing.
    """
    height, width = image.shape[:2]
    scale = max(0.4, 0.4 * min(height, width) / 480)
    thickness = max(1, round(scale))
    (text_width, text_height), below = cv2.getTextSize(text, FONT, scale, thickness)
    margin = 2
    plate_width, plate_height = text_width + 2 * margin, text_height + below + margin
    x = max(0, min(left, width - plate_width))
    for wanted in (top - plate_height, top, bottom):
        y = max(0, min(wanted, height - plate_height))
        plate = (x, y, x + plate_width, y + plate_height)
        if not any(_overlap(plate, other) for other in plates):
            break
    else:
        return
    plates.append(plate)
    cv2.rectangle(image, plate[:2], (plate[2] - 1, plate[3] - 1), colour, cv2.FILLED)
    origin = (x + margin, y + margin + text_height)
    cv2.putText(image, text, origin, FONT, scale, _ink_on(colour), thickness, cv2.LINE_AA)


def _overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _ink_on(colour: Colour) -> Colour:
    """Dark or light, whichever reads on a colour; Rec. 601 luma decides."""
    return DARK if 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 120 else LIGHT
