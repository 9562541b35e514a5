"""A batch of random crops in colour with masks and labels, for every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.pipeline.classes import UNLABELLED
from sage_fusion_ros.training.augment import add_sensor_noise, change_scene
from sage_fusion_ros.training.config import AugmentSettings
from sage_fusion_ros.training.pairs import chances
from sage_fusion_ros.training.priors.masks import PackedMasks
from sage_fusion_ros.training.sage.prepare import PreparedPair
from sage_fusion_ros.training.whole import relight

_STREAM = 3  # keeps these draws apart from those of the other samplers of a seed
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SageBatch:
    """N crops of the side c, with K masks of each camera.

    Attributes:
        rgb: float32 (N, 3, c, c) in 0..1.
        rgb_luma: Its luma as the networks are given it, float32 (N, 1, c, c) in 0..1.
        thermal: As the networks are given it, likewise.
        rgb_masks: float32 (N, K, c, c), 0 or 1; all 0 where a pair has fewer than K that show in the crop.
        thermal_masks: Likewise. The k-th of the two cameras need not be of the same object.
        labels: int64 (N, c, c), class ids of the task network, 255 where nothing is known.
    """

    rgb: Tensor
    rgb_luma: Tensor
    thermal: Tensor
    rgb_masks: Tensor
    thermal_masks: Tensor
    labels: Tensor


@dataclass
class SamplerCounts:
    """What a sampler draws from, and what it met so far.

    Attributes:
        pairs: That are drawn from.
        too_small: Left out because the crop doesn't fit into them.
        unlabelled: Of the pairs, without a label map.
        without_masks: Of the pairs, with no mask of one of the cameras or of both.
        crops: Made so far.
        empty_masks: Masks of the two cameras that a crop so far missed altogether.
        blank_masks: Masks of the batches so far that are all 0, because too few showed in the crop.
    """

    pairs: int
    too_small: int
    unlabelled: int
    without_masks: int
    crops: int = 0
    empty_masks: int = 0
    blank_masks: int = 0


class SageSampler:
    """Random crops, flips, masks and augmentation, drawn anew from (seed, step): the same step, the same batch.

    Light, veil and glare change the RGB image and its luma alike; both cameras' noise is in what the networks are given
    and in the colours, as a camera would deliver it.

    Attributes:
        counts: See there.

    Args:
        pairs: What to crop from; a set of n pairs is drawn in proportion to sqrt(n).
        batch: Number of crops.
        crop: Their side in pixels.
        augment: How the pairs are changed.
        masks: K, masks of each camera; they are drawn from those that show in the crop, and stand largest first.
        seed: Of everything drawn.

    Raises:
        SourceError: Every pair is smaller than the crop.
    """

    def __init__(
        self, pairs: Sequence[PreparedPair], batch: int, crop: int, augment: AugmentSettings, masks: int, seed: int
    ) -> None:
        self._pairs = [prepared for prepared in pairs if min(prepared.pair.thermal.shape) >= crop]
        if not self._pairs:
            raise SourceError(f"none of the {len(pairs)} pairs is as large as the crop of {crop} pixels; take smaller")
        self._batch, self._crop, self._masks, self._augment, self._seed = batch, crop, masks, augment, seed
        self._chances = chances([prepared.pair.name for prepared in self._pairs])
        self.counts = SamplerCounts(
            pairs=len(self._pairs),
            too_small=len(pairs) - len(self._pairs),
            unlabelled=sum(prepared.labels is None for prepared in self._pairs),
            without_masks=sum(not (len(own.rgb_masks) and len(own.thermal_masks)) for own in self._pairs),
        )

    def __call__(self, step: int) -> SageBatch:
        """The batch of a step, counted from 0."""
        rng = np.random.default_rng([self._seed, _STREAM, step])
        # Draws of their own, so that runs with other masks, or without, see the same crops in the same light.
        mask_rng = np.random.default_rng([self._seed, _STREAM, step, 1])
        chosen = rng.choice(len(self._pairs), size=self._batch, p=self._chances)
        samples = [self._sample(self._pairs[index], rng, mask_rng) for index in chosen]
        return SageBatch(*(torch.from_numpy(np.stack(planes)) for planes in zip(*samples, strict=True)))

    def _sample(
        self, prepared: PreparedPair, rng: np.random.Generator, mask_rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.generic], ...]:
        """The fields of a SageBatch for one crop."""
        pair, crop = prepared.pair, self._crop
        top, left = (int(rng.integers(side - crop + 1)) for side in pair.thermal.shape)
        rows, columns = slice(top, top + crop), slice(left, left + crop)
        flip = int(rng.choice([-1, 1]))
        rgb, thermal = (image[rows, columns][:, ::flip] for image in (pair.rgb, pair.thermal))
        rgb, luma, thermal = self._disturb(rgb, thermal, rng)
        masks = [
            self._draw(stored, rows, columns, mask_rng)[..., ::flip]
            for stored in (prepared.rgb_masks, prepared.thermal_masks)
        ]
        labels = np.full((crop, crop), UNLABELLED, np.int64)
        if prepared.labels is not None:
            labels = prepared.labels[rows, columns][:, ::flip].astype(np.int64)
        self.counts.crops += 1
        return rgb.transpose(2, 0, 1), luma[None], thermal[None], *masks, labels

    def _disturb(
        self, rgb: npt.NDArray[np.uint8], thermal: npt.NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[Floats, Floats, Floats]:
        """Another scene, then noise: RGB (c, c, 3), its luma and thermal (c, c), float32 in 0..1."""
        colour = rgb.astype(np.float32) / 255
        luma = _luma(colour)
        changed, warm = change_scene(luma, thermal.astype(np.float32) / 255, self._augment, rng)
        colour = relight(colour, luma, changed)
        luma = _luma(colour)
        noisy, warm = add_sensor_noise(luma, warm, self._augment, rng)
        colour = np.clip(colour + (noisy - luma)[..., None], 0, 1)
        # The luma of what is left after clipping, as the node takes it from the image that it gets.
        return colour, _luma(colour), warm

    def _draw(self, stored: PackedMasks, rows: slice, columns: slice, rng: np.random.Generator) -> Floats:
        """K masks of one camera in the crop, float32 (K, c, c)."""
        masks = stored.unpack(rows, columns)
        showing = np.flatnonzero(masks.any(axis=(1, 2)))
        drawn = np.sort(rng.permutation(showing)[: self._masks])
        self.counts.empty_masks += len(masks) - len(showing)
        self.counts.blank_masks += self._masks - len(drawn)
        filled = np.zeros((self._masks, self._crop, self._crop), np.float32)
        filled[: len(drawn)] = masks[drawn]
        return filled


def _luma(rgb: Floats) -> Floats:
    """BT.601, float32 in 0..1."""
    return np.clip(np.asarray(cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY)), 0, 1)
