"""The bootstrap over images: how far a figure moves when other images of the same kind had been taken.

Efron 1979, percentile intervals. Every figure of a comparison is computed on the same draws, so a difference or a ratio
of two figures, taken draw by draw, is a paired one.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def draw_weights(images: Mapping[str, int], draws: int, seed: int = 0) -> dict[str, Floats]:
    """How often each image counts in each draw. Every set's images are drawn among themselves, with replacement.

    Args:
        images: Number of images by set.
        draws: Number of draws.
        seed: Of the draws; equal seeds and sets give equal weights.

    Returns:
        By set, float (draws, images); each row sums to the number of images.
    """
    rng = np.random.default_rng(seed)
    return {
        name: np.stack([np.bincount(rng.integers(count, size=count), minlength=count) for _ in range(draws)]).astype(
            float
        )
        for name, count in images.items()
    }


def interval(values: Floats) -> tuple[float, float]:
    """The 95 % percentile interval of a figure over the draws; draws in which it is not defined do not count.

    Returns:
        Lower and upper end; nan where no draw has a value.
    """
    defined = values[np.isfinite(values)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)
