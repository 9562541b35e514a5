"""One homography for all parts of the image at once: the one under which the correlations of all parts add up best."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.evaluation.alignment.features import Matrix
from sage_fusion_ros.evaluation.alignment.matching import Surfaces

Doubles = npt.NDArray[np.float64]

AFFINE, HOMOGRAPHY = 6, 8  # numbers that are free
_FINEST = 0.02  # pixels of the level
# What holds back a motion that the images say nothing about: correlation lost for each squared pixel at the border.
_STIFFNESS = np.array([0, 0, 1, 1, 4, 4, 8, 8]) * 5e-5


def motions(points: Doubles, size: tuple[int, int]) -> Doubles:
    """The eight ways in which a homography moves a point a little.

    Args:
        points: Nx2 pixels.
        size: Width and height of the image.

    Returns:
        8xNx2 in pixels, up to 1 at the border: two shifts, growth, turn, aspect, shear and the two perspectives.
    """
    middle = np.array([(size[0] - 1) / 2, (size[1] - 1) / 2])
    u, v = ((points - middle) / middle).T
    one, zero, tall = np.ones_like(u), np.zeros_like(u), size[1] / size[0]
    linear = [(one, zero), (zero, one), (u, v), (-v, u), (u, -v), (v, u)]
    fields = [*linear, (u * u, u * v * tall), (u * v, v * v * tall)]
    return np.array([np.stack(field, axis=1) for field in fields])


def best_motion(surfaces: Surfaces, free: int, blur: float) -> Doubles:
    """Climbs to the motion of highest mean correlation, from no motion.

    A part with edges in one direction only, or with several likely places, says what it can and does not decide alone.

    Args:
        surfaces: Correlation of each part by its shift.
        free: AFFINE or HOMOGRAPHY.
        blur: Standard deviation in pixels by which the surfaces are smoothed first, so that far places draw too.

    Returns:
        The eight amounts in pixels of the level; those not free are 0.
    """
    smooth = np.array([cv2.GaussianBlur(surface, (0, 0), blur) for surface in surfaces.values])
    fields = motions(surfaces.centres, surfaces.size)
    radius = smooth.shape[1] // 2

    def score(amounts: Doubles) -> float:
        shifts = np.clip(np.tensordot(amounts, fields, 1) + radius, 0, 2 * radius - 1e-6)
        return float(_lookup(smooth, shifts).mean() - (_STIFFNESS * amounts**2).sum())

    amounts = np.zeros(8)
    best, step = score(amounts), radius / 2
    while step > _FINEST:
        improved = False
        for mode in range(free):
            for sign in (1.0, -1.0):
                trial = amounts.copy()
                trial[mode] += sign * step
                value = score(trial)
                if value > best:
                    amounts, best, improved = trial, value, True
        if not improved:
            step /= 2
    return amounts


def as_matrix(amounts: Doubles, size: tuple[int, int]) -> Matrix:
    """The homography that moves the corners of an image of (width, height) by these amounts."""
    right, bottom = size[0] - 1.0, size[1] - 1.0
    corners = np.array([[0.0, 0.0], [right, 0.0], [right, bottom], [0.0, bottom]])
    moved = (corners + np.tensordot(amounts, motions(corners, size), 1)).astype(np.float32)
    return np.asarray(cv2.getPerspectiveTransform(corners.astype(np.float32), moved), np.float64)


def _lookup(surfaces: Doubles, places: Doubles) -> Doubles:
    """Each surface at its place (column, row), between pixels by Catmull-Rom.

    A bilinear value is lower everywhere between the pixels of a peak, which would draw all motions to whole pixels.
    """
    whole = np.floor(places).astype(int)
    weights = _cubic(places - whole)  # 4xNx2
    index, last = np.arange(len(surfaces)), surfaces.shape[1] - 1
    value = np.zeros(len(surfaces))
    for i in range(4):
        row = np.clip(whole[:, 1] + i - 1, 0, last)
        for j in range(4):
            column = np.clip(whole[:, 0] + j - 1, 0, last)
            value += weights[i, :, 1] * weights[j, :, 0] * surfaces[index, row, column]
    return value


def _cubic(part: Doubles) -> Doubles:
    squared, cubed = part**2, part**3
    return np.stack(
        [
            (-part + 2 * squared - cubed) / 2,
            (2 - 5 * squared + 3 * cubed) / 2,
            (part + 4 * squared - 3 * cubed) / 2,
            (cubed - squared) / 2,
        ]
    )
