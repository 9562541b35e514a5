"""Large windows of pairs in colour, for a reader that looks at the fused picture: one or a few for every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.training.augment import change_scene
from sage_fusion_ros.training.config import AugmentSettings, ReaderSettings
from sage_fusion_ros.training.pairs import StoredPair, chances

_MULTIPLE = 4  # of the networks that learn from it
_SMALLEST_WINDOW = 0.5  # share of the sides; scaled to the reader's input it brings things nearer


@dataclass(frozen=True)
class WholePair:
    """float32 in 0..1: rgb (1, 3, H, W) and thermal (1, 1, H, W), H and W multiples of 4."""

    rgb: Tensor
    thermal: Tensor


class WholePairSampler:
    """Draws pairs by (seed, step): a window of half to all of each side, mirrored or not, in another light.

    Args:
        pairs: What to draw from.
        reader: How many a step, and whether pairs with drawn boxes may be among them.
        augment: How the pairs are changed; sensor noise is left out, so that the reader can tell what is there.
        seed: Of everything drawn.

    Raises:
        SourceError: No pair is left.
    """

    def __init__(
        self, pairs: Sequence[StoredPair], reader: ReaderSettings, augment: AugmentSettings, seed: int
    ) -> None:
        self._pairs = [pair for pair in pairs if not (pair.boxed and reader.keep_boxed_for_judging)]
        if not self._pairs:
            raise SourceError(
                "every pair has drawn boxes and is kept for judging, so the reader has none to learn from; give pairs "
                "without boxes, or set keep_boxed_for_judging to false in the section reader"
            )
        self._count, self._augment, self._seed = reader.pairs, augment, seed
        self._chances = chances([pair.name for pair in self._pairs])

    def __call__(self, step: int) -> tuple[WholePair, ...]:
        """The pairs of a step, counted from 0."""
        rng = np.random.default_rng([self._seed, 1, step])
        chosen = rng.choice(len(self._pairs), size=self._count, p=self._chances)
        return tuple(self._prepare(self._pairs[index], rng) for index in chosen)

    def _prepare(self, pair: StoredPair, rng: np.random.Generator) -> WholePair:
        share, step = rng.uniform(_SMALLEST_WINDOW, 1.0), int(rng.choice([-1, 1]))
        sides = [max(_MULTIPLE, int(share * side) // _MULTIPLE * _MULTIPLE) for side in pair.thermal.shape]
        starts = [int(rng.integers(whole - side + 1)) for whole, side in zip(pair.thermal.shape, sides, strict=True)]
        area = tuple(slice(start, start + side) for start, side in zip(starts, sides, strict=True))
        rgb, thermal = (image[area][:, ::step].astype(np.float32) / 255 for image in (pair.rgb, pair.thermal))
        luma = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.float32)
        changed, thermal = change_scene(luma, thermal, self._augment, rng)
        planes = (relight(rgb, luma, changed).transpose(2, 0, 1), thermal[None])
        return WholePair(*(torch.from_numpy(np.ascontiguousarray(image))[None] for image in planes))


def relight(
    rgb: npt.NDArray[np.float32], luma: npt.NDArray[np.float32], changed: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Carries a change of light from luma to colour: less light dims all three alike, veils and glare add white.

    Args:
        rgb: float32 HxWx3 in 0..1.
        luma: Its luma, HxW.
        changed: The luma it should have, HxW.

    Returns:
        float32 HxWx3 in 0..1.
    """
    dimmed = rgb * (changed / np.maximum(luma, 1e-3))[..., None]
    veiled = rgb + (changed - luma)[..., None]
    return np.clip(np.where((changed < luma)[..., None], dimmed, veiled), 0, 1).astype(np.float32)
