"""Fused training images: pairs are disturbed first and fused after, by the models the network will stand behind.

A fused image costs more than a training step has time for, so a pool of them is kept, a few are made anew as the steps
go by, and each serves for many crops. What is in the pool at a step depends on the seed and the step alone, so that an
interrupted run goes on with the same pool.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from sage_fusion_ros.pipeline.fuse import Fuser
from sage_fusion_ros.pipeline.thermal import ThermalNormaliser
from sage_fusion_ros.sources.base import PairSource
from sage_fusion_ros.training.augment import add_sensor_noise, change_scene
from sage_fusion_ros.training.config import AugmentSettings
from sage_fusion_ros.training.pairs import StoredPair, chances
from sage_fusion_ros.training.perception.labels import Labels, truth_labels
from sage_fusion_ros.training.perception.settings import PerceptionSettings
from sage_fusion_ros.training.whole import relight

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LabelledPair:
    """A stored pair and what is in it.

    Attributes:
        pair: The images.
        labels: What is there.
        drawn: Whether people drew the boxes.
        rgb_only: Whether there is no thermal image; the pair's is then blank.
    """

    pair: StoredPair
    labels: Labels
    drawn: bool = False
    rgb_only: bool = False


@dataclass(frozen=True)
class FusedSample:
    """One image of the pool.

    Attributes:
        image: uint8 HxWx3 RGB, what the network is shown.
        labels: Of the same pixels.
        rgb: uint8 HxWx3, what the RGB camera saw before anything was disturbed.
    """

    image: Bytes
    labels: Labels
    rgb: Bytes


class FusedPool:
    """A changing set of fused images.

    Args:
        pairs: What to fuse; a set of n pairs is drawn in proportion to sqrt(n).
        scenes: Synthetic scenes, drawn from with `settings.synthetic_share`; their truth is the label.
        fusers: The fusion models, in the order of `settings.fusion`.
        settings: Size of the pool and chances.
        augment: How the cameras' images are changed before fusion.
        seed: Of everything drawn.
    """

    def __init__(
        self,
        pairs: Sequence[LabelledPair],
        scenes: Sequence[PairSource],
        fusers: Sequence[Fuser],
        settings: PerceptionSettings,
        augment: AugmentSettings,
        seed: int,
    ) -> None:
        self._pairs, self._scenes, self._fusers = pairs, scenes, fusers
        self._settings, self._augment, self._seed = settings, augment, seed
        weights = chances([labelled.pair.name for labelled in pairs])
        weights = weights * [settings.drawn_weight if labelled.drawn else 1.0 for labelled in pairs]
        self._chances = weights / weights.sum()
        shares = np.array(settings.fusion_shares)
        self._fuser_chances = shares / shares.sum()
        self._samples: list[FusedSample | None] = [None] * settings.pool
        self._versions = [-1] * settings.pool

    def at(self, step: int) -> Sequence[FusedSample]:
        """The pool at a step, counted from 0. Steps in order cost `refresh` images each, a jump the whole pool."""
        rounds, replaced = divmod(int(step * self._settings.refresh), self._settings.pool)
        wanted = [rounds + (entry < replaced) for entry in range(self._settings.pool)]
        stale = [entry for entry, version in enumerate(wanted) if version != self._versions[entry]]
        for entry in tqdm(stale, desc="fused images", unit="image", leave=False, disable=len(stale) < 64):
            self._samples[entry] = self._make(np.random.default_rng([self._seed, 2, entry, wanted[entry]]))
            self._versions[entry] = wanted[entry]
        return [sample for sample in self._samples if sample is not None]

    def _make(self, rng: np.random.Generator) -> FusedSample:
        if self._scenes and rng.random() < self._settings.synthetic_share:
            scene = self._scenes[int(rng.integers(len(self._scenes)))]
            drawn = scene.read(int(rng.integers(len(scene))))
            assert drawn.truth is not None
            rgb, thermal, labels = drawn.rgb, ThermalNormaliser()(drawn.thermal), truth_labels(drawn.truth)
        else:
            labelled = self._pairs[int(rng.choice(len(self._pairs), p=self._chances))]
            rgb, thermal, labels = labelled.pair.rgb, labelled.pair.thermal, labelled.labels
            if labelled.rgb_only:
                return FusedSample(self._show_rgb_only(rgb, thermal, rng), labels, rgb)
        return FusedSample(self._show(rgb, thermal, rng), labels, rgb)

    def _show(self, rgb: Bytes, thermal: Bytes, rng: np.random.Generator) -> Bytes:
        """What the network is shown of a pair: fused after the cameras were disturbed, or one camera alone."""
        settings = self._settings
        draw = rng.random()
        for chance, show in (
            (settings.rgb_alone, lambda: self._disturb(rgb, thermal, rng, light=False)[0]),
            (settings.thermal_alone, lambda: np.repeat(self._disturb(rgb, thermal, rng)[1][..., None], 3, axis=2)),
            (settings.rgb_dead, lambda: self._fuse(dead_rgb(rgb, rng), self._disturb(rgb, thermal, rng)[1], rng)),
            (
                settings.thermal_dead,
                lambda: self._fuse(self._disturb(rgb, thermal, rng, light=False)[0], dead_thermal(thermal, rng), rng),
            ),
        ):
            if draw < chance:
                return show()
            draw -= chance
        return self._fuse(*self._disturb(rgb, thermal, rng), rng)

    def _show_rgb_only(self, rgb: Bytes, thermal: Bytes, rng: np.random.Generator) -> Bytes:
        """Half of the times as it is, else fused with what a dead thermal camera gives."""
        shown, _ = self._disturb(rgb, thermal, rng, light=False)
        return shown if rng.random() < 0.5 else self._fuse(shown, dead_thermal(thermal, rng), rng)

    def _fuse(self, rgb: Bytes, thermal: Bytes, rng: np.random.Generator) -> Bytes:
        fuser = self._fusers[int(rng.choice(len(self._fusers), p=self._fuser_chances))]
        return fuser.fuse(rgb, thermal)

    def _disturb(self, rgb: Bytes, thermal: Bytes, rng: np.random.Generator, light: bool = True) -> tuple[Bytes, Bytes]:
        """Another light (where `light`), another thermal range, noise of both sensors; what is there stays the same."""
        colour = rgb.astype(np.float32) / 255
        luma = np.asarray(cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY), np.float32)
        changed, warm = change_scene(luma, thermal.astype(np.float32) / 255, self._augment, rng)
        if light:
            colour = relight(colour, luma, changed)
        noisy, warm = add_sensor_noise(luma, warm, self._augment, rng)
        colour = colour + (noisy - luma)[..., None]
        return _bytes(colour), _bytes(warm)


def dead_rgb(rgb: Bytes, rng: np.random.Generator) -> Bytes:
    """An RGB camera that sees nothing: one grey, mostly black, with a little noise. uint8 HxWx3."""
    level = 0.0 if rng.random() < 0.7 else rng.uniform(0, 255)
    return _bytes((level + rng.uniform(0, 4) * rng.standard_normal(rgb.shape, dtype=np.float32)) / 255)


def dead_thermal(thermal: Bytes, rng: np.random.Generator) -> Bytes:
    """A thermal camera behind its shutter: one grey with a little noise. uint8 HxW."""
    noise = rng.uniform(0, 4) * rng.standard_normal(thermal.shape, dtype=np.float32)
    return _bytes((rng.uniform(0, 160) + noise) / 255)


def _bytes(image: npt.NDArray[np.floating]) -> Bytes:
    return np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)
