"""Two consecutive frames of a clip in numbers, and which of them are steady, repeated or shifted as a whole."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import ImageFormatError

SOURCES = ("rgb", "thermal")
BLOCK = 16  # pixels a side; noise of deviation 10 moves such a block's mean by 10 * sqrt(2) / 16 = 0.9 levels
STEADY_LEVELS = 4.0  # a block is steady when its mean moves by less in both sources; what crosses it moves it by more
JUMP_LEVELS = 2.0  # a source's whole image shifted: so much, in one direction, at half of the blocks or more
# A repeated frame differs by its compression alone: by a few hundredths to a tenth of what a new one does.
_REPEAT_SHARE = 0.25
_REPEAT_WINDOW = 9

Grey = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Step:
    """Two consecutive frames.

    Attributes:
        blocks: Number of blocks in the image.
        steady: How many of them are steady.
        change: By name, mean |change| of a pixel in the steady blocks, in grey levels; nan where none is steady.
        flicker: By name, mean |change| of a steady block's mean, which leaves out most of the sensor noise.
        whole: By name, mean |change| of a pixel in the whole image.
        shift: By source, median of the signed changes of all block means.
    """

    blocks: int
    steady: int
    change: dict[str, float]
    flicker: dict[str, float]
    whole: dict[str, float]
    shift: dict[str, float]

    @property
    def jumps(self) -> list[str]:
        """The sources whose level shifts as a whole."""
        return [source for source in SOURCES if abs(self.shift[source]) > JUMP_LEVELS]


def checked_frames(frames: Mapping[str, Grey]) -> dict[str, Grey]:
    """The images of one moment as they were given, with "maximum" added where it is missing.

    Raises:
        ImageFormatError: A source is missing, or an image is no uint8 HxW, of another size, or under one block.
    """
    if missing := [source for source in SOURCES if source not in frames]:
        raise ImageFormatError(f"'{missing[0]}' is missing; give the luma of 'rgb', 'thermal' and the fused images")
    shape = frames["rgb"].shape
    for name, image in frames.items():
        if image.dtype != np.uint8 or image.ndim != 2 or image.shape != shape or min(shape) < BLOCK:
            raise ImageFormatError(
                f"'{name}' is {image.dtype} of shape {image.shape}; expected uint8 HxW in the size of 'rgb', "
                f"{shape}, with sides of {BLOCK} pixels or more"
            )
    maximum = {} if "maximum" in frames else {"maximum": np.maximum(frames["rgb"], frames["thermal"])}
    return {**frames, **maximum}


def measure_step(before: Mapping[str, Grey], after: Mapping[str, Grey]) -> Step:
    """Measures one step between frames of the same names and size, checked before.

    Steady is judged by the means of blocks in the sources alone: sensor noise averages out there and excludes nothing,
    things that move do not, and every way of fusing is measured on the same pixels.
    """
    signed = {name: _block_means(cv2.subtract(after[name], before[name], dtype=cv2.CV_32F)) for name in after}
    pixels = {name: cv2.absdiff(after[name], before[name]) for name in after}
    absolute = {name: _block_means(image.astype(np.float32)) for name, image in pixels.items()}
    steady = np.logical_and(*(np.abs(signed[source]) < STEADY_LEVELS for source in SOURCES))
    return Step(
        blocks=steady.size,
        steady=int(steady.sum()),
        change={name: _mean(blocks[steady]) for name, blocks in absolute.items()},
        flicker={name: _mean(np.abs(blocks[steady])) for name, blocks in signed.items()},
        whole={name: float(image.mean()) for name, image in pixels.items()},
        shift={source: float(np.median(signed[source])) for source in SOURCES},
    )


def find_repeats(changes: Sequence[float]) -> list[bool]:
    """Which steps show the last frame again, as where 15 or 10 frames a second were saved as 30.

    Told by a change under a quarter of the upper quartile of the nine steps around, which finds every frame shown two
    or three times and is not misled by a cut. In a clip that stands still without any noise nothing is called repeated.

    Args:
        changes: Mean |change| of a source over the whole image, step by step.
    """
    last_start = max(0, len(changes) - _REPEAT_WINDOW)
    starts = [min(max(0, index - _REPEAT_WINDOW // 2), last_start) for index in range(len(changes))]
    usual = [np.percentile(changes[start : start + _REPEAT_WINDOW], 75, method="lower") for start in starts]
    return [change < _REPEAT_SHARE * level for change, level in zip(changes, usual, strict=True)]


def _block_means(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Means of the whole blocks; what is left at the right and the bottom is left out."""
    rows, columns = (side // BLOCK for side in image.shape)
    whole = image[: rows * BLOCK, : columns * BLOCK]
    return whole.reshape(rows, BLOCK, columns, BLOCK).mean(axis=(1, 3))


def _mean(values: npt.NDArray[np.float32]) -> float:
    return float(values.mean()) if values.size else math.nan
