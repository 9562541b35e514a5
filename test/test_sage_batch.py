"""Batches with masks and labels: what lies where, what is drawn, and what is counted."""

from __future__ import annotations

from dataclasses import fields

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.training.config import AugmentSettings
from sage_fusion_ros.training.damage import DamageLog
from sage_fusion_ros.training.pairs import StoredPair
from sage_fusion_ros.training.priors.masks import PairMasks
from sage_fusion_ros.training.sage.batch import SageBatch, SageSampler
from sage_fusion_ros.training.sage.prepare import PreparedPair, prepare_pairs
from sage_fusion_ros.training.semantic_losses import fused_rgb

STILL = AugmentSettings()
LIVELY = AugmentSettings(dark=0.5, glare=0.5, haze=0.5, thermal_range=0.5, thermal_noise=0.5, rgb_noise=0.5)
CROP = 32
few_examples = settings(max_examples=15, deadline=None)


def pair_of(name: str = "set/a", shape: tuple[int, int] = (70, 90), labelled: bool = True) -> PreparedPair:
    """Thermal values of 0..255 anywhere; two RGB masks, one thermal mask and the labels tell the value of a pixel."""
    rng = np.random.default_rng(len(name))
    rgb, thermal = rng.integers(0, 256, (*shape, 3), np.uint8), rng.integers(0, 256, shape, np.uint8)
    pair = StoredPair(name, rgb, cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), thermal)
    masks = PairMasks(np.stack([thermal < 200, thermal < 60]), (rgb[..., 0] >= 128)[None])
    labels = {name: thermal // 32} if labelled else {}
    return prepare_pairs([pair], {name: masks}, labels, DamageLog())[0]


def squares(name: str, places: list[tuple[int, int]], shape: tuple[int, int] = (64, 64)) -> PreparedPair:
    """A pair whose RGB masks are 8x8 squares at these corners; no thermal ones."""
    masks = np.zeros((len(places), *shape), bool)
    for mask, (top, left) in zip(masks, places, strict=True):
        mask[top : top + 8, left : left + 8] = True
    grey = np.zeros(shape, np.uint8)
    pair = StoredPair(name, np.zeros((*shape, 3), np.uint8), grey, grey)
    return prepare_pairs([pair], {name: PairMasks(masks, np.zeros((0, *shape), bool))}, {}, DamageLog())[0]


def luma(rgb: torch.Tensor) -> torch.Tensor:
    return (rgb * rgb.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=1, keepdim=True)


def equal(a: SageBatch, b: SageBatch) -> list[str]:
    return [field.name for field in fields(SageBatch) if torch.equal(getattr(a, field.name), getattr(b, field.name))]


def test_shapes_and_types() -> None:
    batch = SageSampler([pair_of()], 3, CROP, LIVELY, 4, 1)(0)
    assert batch.rgb.shape == (3, 3, CROP, CROP)
    assert batch.rgb_luma.shape == batch.thermal.shape == (3, 1, CROP, CROP)
    assert batch.rgb_masks.shape == batch.thermal_masks.shape == (3, 4, CROP, CROP)
    assert batch.labels.shape == (3, CROP, CROP)
    assert batch.labels.dtype == torch.int64
    for image in (batch.rgb, batch.rgb_luma, batch.thermal, batch.rgb_masks, batch.thermal_masks):
        assert image.dtype == torch.float32
        assert image.min() >= 0
        assert image.max() <= 1


@few_examples
@given(st.integers(0, 10_000))
def test_masks_and_labels_lie_on_their_pixels(step: int) -> None:
    batch = SageSampler([pair_of()], 2, CROP, STILL, 2, 1)(step)
    value = (batch.thermal[:, 0] * 255).round().long()
    assert torch.equal(batch.labels, value // 32)
    assert torch.equal(batch.rgb_masks[:, 0] > 0, value < 200)  # the larger mask comes first
    assert torch.equal(batch.rgb_masks[:, 1] > 0, value < 60)
    assert torch.equal(batch.thermal_masks[:, 0] > 0, (batch.rgb[:, 0] * 255).round() >= 128)
    assert (batch.thermal_masks[:, 1] == 0).all()


@few_examples
@given(st.integers(0, 10_000))
def test_augmentation_moves_nothing_and_the_luma_stays_that_of_the_colours(step: int) -> None:
    still, lively = (SageSampler([pair_of()], 2, CROP, augment, 4, 1)(step) for augment in (STILL, LIVELY))
    for batch in (still, lively):
        assert torch.allclose(luma(batch.rgb), batch.rgb_luma, atol=1e-5)
        assert torch.allclose(fused_rgb(batch.rgb, batch.rgb_luma, batch.rgb_luma), batch.rgb, atol=1e-6)
    # The first crop is drawn before any augmentation is.
    assert torch.equal(still.labels[0], lively.labels[0])
    assert torch.equal(still.rgb_masks[0], lively.rgb_masks[0])


def test_light_and_noise_change_the_images() -> None:
    sampler = SageSampler([pair_of()], 1, CROP, AugmentSettings(dark=1.0), 4, 1)
    still = SageSampler([pair_of()], 1, CROP, STILL, 4, 1)
    assert all((sampler(step).rgb <= still(step).rgb + 1e-6).all() for step in range(4))
    assert sampler(0).rgb.mean() < 0.9 * still(0).rgb.mean()
    assert torch.equal(sampler(0).thermal, still(0).thermal)
    noisy = SageSampler([pair_of()], 1, CROP, AugmentSettings(rgb_noise=1.0), 4, 1)(0)
    assert not torch.equal(noisy.rgb, still(0).rgb)
    assert torch.allclose(luma(noisy.rgb), noisy.rgb_luma, atol=1e-5)


def test_a_step_always_gives_the_same_batch() -> None:
    pairs = [pair_of(), pair_of("set/bc"), pair_of("other/c", labelled=False)]
    first, again = (SageSampler(pairs, 4, CROP, LIVELY, 2, 1) for _ in range(2))
    expected = [first(step) for step in range(4)]
    for step in (3, 0, 2, 1, 1):
        assert len(equal(again(step), expected[step])) == 6
    assert "rgb" not in equal(expected[0], expected[1])
    assert "rgb" not in equal(expected[0], SageSampler(pairs, 4, CROP, LIVELY, 2, 2)(0))


def test_runs_with_other_masks_see_the_same_crops() -> None:
    pairs = [pair_of(), pair_of("set/bc")]
    without = prepare_pairs([prepared.pair for prepared in pairs], {}, {}, DamageLog())
    for step in range(3):
        a, b = (SageSampler(chosen, 4, CROP, LIVELY, 1, 1)(step) for chosen in (pairs, without))
        assert equal(a, b) == ["rgb", "rgb_luma", "thermal"]


def test_each_mask_that_shows_is_drawn_at_times_and_none_twice_in_a_crop() -> None:
    places = [(0, 0), (0, 20), (0, 40), (20, 0), (20, 20), (20, 40)]
    sampler = SageSampler([squares("set/a", places)], 1, 64, STILL, 4, 1)  # the crop is the whole image
    met = set()
    for step in range(30):
        drawn = [tuple(mask.flatten().tolist()) for mask in sampler(step).rgb_masks[0]]
        assert all(sum(mask) == 64 for mask in drawn)
        assert len(set(drawn)) == 4
        met.update(drawn)
    assert len(met) == 2 * len(places)  # each as it is and mirrored


def test_empty_and_blank_masks_are_counted() -> None:
    # The crop is the whole image, so both masks show; two of four are blank, and all four of the thermal camera.
    whole = SageSampler([squares("set/a", [(0, 0), (40, 40)])], 2, 64, STILL, 4, 1)
    whole(0)
    assert (whole.counts.crops, whole.counts.empty_masks, whole.counts.blank_masks) == (2, 0, 2 * (2 + 4))
    # A square at each end of a strip three crops long: no crop shows both.
    strip = SageSampler([squares("set/a", [(0, 0), (0, 88)], (32, 96))], 1, CROP, STILL, 2, 1)
    missed = 0
    for step in range(20):
        shown = int((strip(step).rgb_masks.flatten(2).sum(dim=2) > 0).sum())
        assert shown <= 1
        missed += 2 - shown
        assert strip.counts.empty_masks == missed
        assert strip.counts.blank_masks == missed + 2 * (step + 1)  # and both of the thermal camera
    assert missed > 20


def test_what_is_drawn_from_is_counted() -> None:
    pairs = [pair_of(), pair_of("set/bc", labelled=False), pair_of("set/small", (20, 90)), squares("set/d", [(0, 0)])]
    counts = SageSampler(pairs, 1, CROP, STILL, 4, 1).counts
    assert (counts.pairs, counts.too_small, counts.unlabelled, counts.without_masks) == (3, 1, 2, 1)
    with pytest.raises(SourceError, match="none of the 4 pairs is as large as the crop of 128 pixels"):
        SageSampler(pairs, 1, 128, STILL, 4, 1)


def test_a_data_set_without_labels_and_masks_gives_batches_all_the_same() -> None:
    bare = prepare_pairs([pair_of().pair], {}, {}, DamageLog())
    sampler = SageSampler(bare, 2, CROP, LIVELY, 4, 1)
    batch = sampler(0)
    assert (batch.labels == 255).all()
    assert (batch.rgb_masks == 0).all()
    assert (batch.thermal_masks == 0).all()
    assert (sampler.counts.unlabelled, sampler.counts.without_masks, sampler.counts.blank_masks) == (1, 1, 16)
