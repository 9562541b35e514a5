"""Estimates the homography between two cameras from many pairs, and measures its error on pairs it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import CalibrationError
from sage_fusion_ros.evaluation.alignment.coarse import SearchRange, guess
from sage_fusion_ros.evaluation.alignment.features import Matrix, View, is_flat
from sage_fusion_ros.evaluation.alignment.joint import AFFINE, HOMOGRAPHY, as_matrix, best_motion
from sage_fusion_ros.evaluation.alignment.matching import Level, clear_distances, find_surfaces

MIN_FRAMES = 4  # that show something
HELD_OUT = 4  # every fourth frame is kept out
MIN_AGREEING = 0.5
AGREE_PX = 4.0
# Longer side of the images, radius of the search in their pixels, rounds, what is free.
_PYRAMID = ((160, 10, 2, AFFINE), (320, 8, 2, HOMOGRAPHY), (640, 6, 2, HOMOGRAPHY))
_MEASURE_RADIUS, _MEASURE_BLOCK, _MEASURE_GRID = 12, 0.34, 4
_LEAST_PARTS = 4
_CLEAR, _CLEAR_ALONE = 2.5, 4.0  # standard deviations by which a part's best place stands out; of one frame alone


@dataclass(frozen=True)
class HeldOut:
    """How well kept-out frames fit.

    Attributes:
        median_px: Median distance, in RGB pixels, between where blocks of kept-out thermal images lie and where the
            same edges lie in their RGB images; every frame by itself.
        p90_px: The 90th percentile of the same distances.
        joint_px: The median with the edges of all kept-out frames added up, which leaves what is common to them.
        agreeing: Share, 0..1, of the parts that stand out in all kept-out frames together and lie no farther off than
            4 pixels of an image 640 across.
        blocks: How many blocks of single frames were measured.
    """

    median_px: float
    p90_px: float
    joint_px: float
    agreeing: float
    blocks: int


@dataclass(frozen=True)
class Alignment:
    """A homography and what is known of it.

    Attributes:
        homography: float64 3x3, from thermal to RGB pixels, centres at whole numbers, its last entry 1.
        used: Names of the frames that it was estimated from.
        kept_out: Names of those it was measured on.
        flat: Names of frames that show too little.
        held_out: Its error.
    """

    homography: Matrix
    used: list[str]
    kept_out: list[str]
    flat: list[str]
    held_out: HeldOut


def align(
    views: Sequence[View],
    names: Sequence[str],
    search: SearchRange | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Alignment:
    """Estimates one homography for all frames.

    Args:
        views: Frames of equal sizes.
        names: What messages call them.
        search: How far the two cameras may differ.
        tell: Takes one line for each step.

    Raises:
        CalibrationError: The frames show too few edges, or too few that both cameras see; the message says which.
    """
    flat = [name for name, view in zip(names, views, strict=True) if is_flat(view.rgb) or is_flat(view.thermal)]
    good = [(name, view) for name, view in zip(names, views, strict=True) if name not in set(flat)]
    if len(good) < MIN_FRAMES:
        raise CalibrationError(
            f"only {len(good)} of {len(views)} frames show edges in both images, and {MIN_FRAMES} are needed: take "
            "frames with buildings, vehicles, people or trees in the whole image, by day, with the thermal camera warm"
        )
    kept = [pair for index, pair in enumerate(good) if index % HELD_OUT == HELD_OUT - 1]
    used = [pair for index, pair in enumerate(good) if index % HELD_OUT != HELD_OUT - 1]
    homography = estimate([view for _, view in used], search or SearchRange(), tell)
    held_out = measure([view for _, view in kept], homography)
    if held_out is None:
        raise CalibrationError(
            f"what was found can't be proven: the {len(kept)} kept-out frames have too few edges that both cameras "
            "see. Are the pairs of the same moment? Give more frames, with more to see in the whole image"
        )
    if held_out.agreeing < MIN_AGREEING:
        raise CalibrationError(
            f"what was found does not hold: on the {len(kept)} kept-out frames {held_out.agreeing:.0%} of the "
            f"image's parts lie where they should, and {MIN_AGREEING:.0%} are needed. Are the pairs of the "
            "same moment? Give more frames with edges that both cameras see, or a wider search"
        )
    return Alignment(homography, [name for name, _ in used], [name for name, _ in kept], flat, held_out)


def estimate(views: Sequence[View], search: SearchRange, tell: Callable[[str], None]) -> Matrix:
    """The homography alone, from coarse to fine: float64 3x3 from thermal to RGB pixels.

    Raises:
        CalibrationError: The thermal image covers too little of the RGB image.
    """
    first = guess(views, search)
    tell(f"first guess: edges correlate by {first.correlation:.2f}")
    homography = first.homography
    frames = range(len(views))
    for side, radius, rounds, free in _PYRAMID:
        level = Level.make(views, side)
        for number in range(rounds):
            surfaces = find_surfaces(level, homography, radius, frames)
            if len(surfaces.values) < _LEAST_PARTS:
                raise CalibrationError(
                    "the thermal image covers less than a quarter of the RGB image: crop the RGB image, or calibrate "
                    "with intrinsics and extrinsics instead"
                )
            amounts = best_motion(surfaces, free, blur=0.7 if number else 1.5)
            step = np.linalg.inv(level.from_rgb) @ as_matrix(amounts, level.size) @ level.from_rgb
            homography = step @ homography
        tell(f"at {level.size[0]}x{level.size[1]}: last moved by {np.abs(amounts).max():.2f} px")
    return np.asarray(homography / homography[2, 2])


def measure(views: Sequence[View], homography: Matrix) -> HeldOut | None:
    """The error of a homography on frames that it was not estimated from; None where nothing stands out."""
    level = Level.make(views, _PYRAMID[-1][0])

    def distances(frames: Sequence[int], least: float) -> npt.NDArray[np.float64]:
        surfaces = find_surfaces(level, homography, _MEASURE_RADIUS, frames, _MEASURE_BLOCK, _MEASURE_GRID)
        return clear_distances(surfaces, least) / level.from_rgb[0, 0]

    joint = distances(range(len(views)), _CLEAR)
    alone = np.concatenate([distances([index], _CLEAR_ALONE) for index in range(len(views))])
    if len(joint) < _LEAST_PARTS:
        return None
    if not len(alone):  # nothing stands out in one frame, as at night: the sum over all frames has to do
        alone = joint
    return HeldOut(
        float(np.median(alone)),
        float(np.percentile(alone, 90)),
        float(np.median(joint)),
        float((joint <= AGREE_PX / level.from_rgb[0, 0]).mean()),
        len(alone),
    )
