"""A first guess of how the thermal image lies in the RGB image: every size and turn in a range is tried."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from sage_fusion_ros.evaluation.alignment.features import Matrix, View
from sage_fusion_ros.evaluation.alignment.matching import Level, correlation, sharpness

_SIDE = 112  # longer side of the images that are tried
_SCALE_STEP, _ROTATION_STEP = 1.035, 1.5
_FRAMES = 16  # at the most; finer levels use all
_CORE = 0.8  # part of the overlap that is looked for


@dataclass(frozen=True)
class SearchRange:
    """What is tried, around the thermal image stretched over the RGB image.

    Attributes:
        max_scale: Greatest factor by which the thermal image is enlarged or shrunk, from 1.
        max_rotation: Greatest turn in degrees, 0..45.
        max_shift: Greatest shift, of the image's width and height, 0..0.4.
    """

    max_scale: float = 1.2
    max_rotation: float = 4.5
    max_shift: float = 0.12

    def scales(self) -> list[float]:
        """The factors to try."""
        steps = int(np.ceil(np.log(self.max_scale) / np.log(_SCALE_STEP) - 1e-9))
        return [_SCALE_STEP**i for i in range(-steps, steps + 1)]

    def rotations(self) -> list[float]:
        """The turns to try, in degrees."""
        steps = int(np.ceil(self.max_rotation / _ROTATION_STEP - 1e-9))
        return [_ROTATION_STEP * i for i in range(-steps, steps + 1)]


@dataclass(frozen=True)
class Guess:
    """The best of all that was tried.

    Attributes:
        homography: From original thermal to original RGB pixels.
        correlation: Mean correlation of the edges there, -1..1.
        sharpness: Standard deviations by which it stands out from the other shifts.
    """

    homography: Matrix
    correlation: float
    sharpness: float


def stretched(thermal_size: tuple[int, int], rgb_size: tuple[int, int]) -> list[Matrix]:
    """Where the search begins: the thermal image stretched over the RGB image, and with square pixels in its middle."""
    (tw, th), (rw, rh) = thermal_size, rgb_size
    sx, sy = rw / tw, rh / th
    even = float(np.sqrt(sx * sy))
    scales = [(sx, sy)] if abs(sx / sy - 1) < 0.01 else [(sx, sy), (even, even)]
    return [_about_centre(thermal_size, rgb_size, np.diag(scale)) for scale in scales]


def _about_centre(thermal_size: tuple[int, int], rgb_size: tuple[int, int], linear: Matrix) -> Matrix:
    middle = (np.array(thermal_size) - 1) / 2
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = (np.array(rgb_size) - 1) / 2 - linear @ middle
    return matrix


def guess(views: Sequence[View], search: SearchRange) -> Guess:
    """Tries every size and turn in the range, each with every shift, on small images of up to 16 frames.

    Args:
        views: Frames of equal sizes, at least one.
        search: The range.

    Returns:
        The similarity (or stretched similarity) with the highest mean correlation.
    """
    views = views[:: -(-len(views) // _FRAMES)]
    level = Level.make(views, _SIDE)
    width, height = level.size
    rgb_size = views[0].rgb.shape[::-1]
    thermal_size = views[0].thermal.shape[::-1]
    pad = (int(np.ceil(search.max_shift * width)), int(np.ceil(search.max_shift * height)))
    padded = [cv2.copyMakeBorder(rgb, pad[1], pad[1], pad[0], pad[0], cv2.BORDER_CONSTANT) for rgb in level.rgb]
    best: tuple[float, Guess] | None = None
    for start, scale, turn in itertools.product(stretched(thermal_size, rgb_size), search.scales(), search.rotations()):
        angle = np.deg2rad(turn)
        turned = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ start[:2, :2]
        matrix = _about_centre(thermal_size, rgb_size, turned)
        box = _core(level.covered(matrix))
        if box is None:
            continue
        left, top, right, bottom = box
        total = np.zeros((2 * pad[1] + 1, 2 * pad[0] + 1))
        for index in range(len(views)):
            window = padded[index][top : bottom + 2 * pad[1], left : right + 2 * pad[0]]
            total += correlation(window, level.warped(index, matrix)[top:bottom, left:right])
        total /= len(views)
        row, column = np.unravel_index(int(total.argmax()), total.shape)
        score = float(total[row, column])
        if best is None or score > best[0]:
            shift = np.array([column - pad[0], row - pad[1]]) / np.diag(level.from_rgb)[:2]
            moved = matrix.copy()
            moved[:2, 2] += shift
            best = (score, Guess(moved, score, sharpness(total)))
    assert best is not None  # the scale 1 always covers the middle
    return best[1]


def _core(covered: np.ndarray) -> tuple[int, int, int, int] | None:
    """The inner part of the rectangle around the covered pixels: left, top, right, bottom."""
    x, y, w, h = cv2.boundingRect(covered)
    cut_x, cut_y = round(w * (1 - _CORE) / 2), round(h * (1 - _CORE) / 2)
    if w - 2 * cut_x < 16 or h - 2 * cut_y < 16:
        return None
    return x + cut_x, y + cut_y, x + w - cut_x, y + h - cut_y
