"""A batch of random crops for every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.training.augment import add_sensor_noise, change_scene
from sage_fusion_ros.training.config import AugmentSettings
from sage_fusion_ros.training.pairs import StoredPair, chances
from sage_fusion_ros.training.whole import WholePair, WholePairSampler


@dataclass(frozen=True)
class Batch:
    """float32 (N, 1, crop, crop) in 0..1: what the network is given, and the same pairs without sensor noise.

    `whole` has whole pairs besides, for recipes with a reader.
    """

    rgb_luma: Tensor
    thermal: Tensor
    clean_rgb_luma: Tensor
    clean_thermal: Tensor
    whole: tuple[WholePair, ...] = ()


class BatchSampler:
    """Random crops, flips and augmentation, drawn anew from (seed, step): the same step always gives the same batch.

    Args:
        pairs: What to crop from; a set of n pairs is drawn in proportion to sqrt(n).
        batch, crop: Number and side of the crops.
        augment: How the pairs are changed.
        seed: Of everything drawn.
        whole: Draws the whole pairs of a step; none without it.
    """

    def __init__(
        self,
        pairs: Sequence[StoredPair],
        batch: int,
        crop: int,
        augment: AugmentSettings,
        seed: int,
        whole: WholePairSampler | None = None,
    ) -> None:
        small = [pair.name for pair in pairs if min(pair.thermal.shape) < crop]
        if len(small) == len(pairs):
            raise SourceError(f"every pair is smaller than the crop of {crop} pixels; take a smaller crop")
        self._pairs = [pair for pair in pairs if min(pair.thermal.shape) >= crop]
        self.too_small = small
        self._batch, self._crop, self._augment, self._seed = batch, crop, augment, seed
        self._chances = chances([pair.name for pair in self._pairs])
        self._whole = whole

    def __call__(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        rng = np.random.default_rng([self._seed, step])
        chosen = rng.choice(len(self._pairs), size=self._batch, p=self._chances)
        samples = [self._sample(self._pairs[index], rng) for index in chosen]
        tensors = [torch.from_numpy(np.stack(images)[:, None]) for images in zip(*samples, strict=True)]
        return Batch(*tensors, whole=self._whole(step) if self._whole else ())

    def _sample(self, pair: StoredPair, rng: np.random.Generator) -> tuple[npt.NDArray[np.float32], ...]:
        height, width = pair.thermal.shape
        top = int(rng.integers(height - self._crop + 1))
        left = int(rng.integers(width - self._crop + 1))
        area = (slice(top, top + self._crop), slice(left, left + self._crop))
        step = int(rng.choice([-1, 1]))
        images = (image[area][:, ::step].astype(np.float32) / 255 for image in (pair.rgb_luma, pair.thermal))
        clean_rgb, clean_thermal = change_scene(*images, self._augment, rng)
        noisy_rgb, noisy_thermal = add_sensor_noise(clean_rgb, clean_thermal, self._augment, rng)
        return noisy_rgb, noisy_thermal, clean_rgb, clean_thermal
