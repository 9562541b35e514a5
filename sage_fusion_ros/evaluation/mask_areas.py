"""How far masks agree with labels: intersection over union by class, and its mean, however the images are weighed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Areas = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

IGNORED = 255
"""Id of pixels in the labels that do not count."""


def class_areas(mask: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8], classes: int) -> Areas:
    """Pixels of each class in one image, where the labels know anything.

    Args:
        mask: uint8 HxW ids; any id of `classes` and above is none of the classes, and wrong.
        labels: uint8 HxW ids, 255 where nothing is known.
        classes: How many there are.

    Returns:
        int64 3 x classes: pixels in both, in the mask, in the labels.
    """
    if mask.shape != labels.shape:
        raise ValueError(f"the mask is {mask.shape} and the labels are {labels.shape}; expected one size")
    known = labels < classes
    found, drawn = mask[known], labels[known]
    counts = [np.bincount(ids, minlength=256)[:classes] for ids in (found[found == drawn], found, drawn)]
    return np.stack(counts).astype(np.int64)


def class_ious(areas: Areas, weights: Floats) -> Floats:
    """Intersection over union by class, of all images together (as Cityscapes counts it).

    Args:
        areas: int64 images x 3 x classes; see class_areas.
        weights: float draws x images, how often each image counts.

    Returns:
        float draws x classes; nan where the labels have no pixel of the class.
    """
    both, found, drawn = np.tensordot(weights, areas, axes=1).transpose(1, 0, 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(drawn > 0, both / (found + drawn - both), np.nan)


def mean_ious(ious: Floats, classes: list[int]) -> Floats:
    """Mean over some classes, of those that the labels have in a draw; nan where they have none.

    Args:
        ious: float draws x classes.
        classes: Which ones.

    Returns:
        float draws.
    """
    chosen = ious[:, classes]
    there = np.isfinite(chosen)
    total = np.where(there, chosen, 0).sum(axis=1)
    return np.where(there.any(axis=1), total / np.maximum(there.sum(axis=1), 1), np.nan)
