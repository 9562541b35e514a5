"""Losses that look through another network, against values computed by hand and numerical gradients."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.training.semantic_losses import contrastive_semantic, feature_distance, fused_rgb, task_loss

few_examples = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**16)


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def maps(image: Tensor) -> tuple[Tensor, Tensor]:
    """Two smooth maps of an image, the second at half the size: enough of a network for the formulas."""
    weights = noise(4, 3, 3, 3, seed=99, dtype=image.dtype) - 0.5
    first = torch.tanh(F.conv2d(image, weights, padding=1))
    return first, F.avg_pool2d(first, 2) ** 2


def scene(seed: int, masks: int = 2) -> dict[str, Tensor]:
    """A micro-batch of two samples of 6x6."""
    names = ("fused", "reference", "rgb_luma", "thermal")
    images = {name: noise(2, 1, 6, 6, seed=seed + i) for i, name in enumerate(names)}
    drawn = noise(2, 2, masks, 6, 6, seed=seed + 9) > 0.5
    return {**images, "rgb_masks": drawn[0].double(), "thermal_masks": drawn[1].double()}


def test_feature_distance_of_normalised_maps_by_hand() -> None:
    # (-1, 1) and (1, -1), whatever their brightness and contrast: the gap is (2, 2), its norm the root of 8.
    a = torch.tensor([3.0, 5.0], dtype=torch.float64).reshape(1, 1, 1, 2)
    b = torch.tensor([900.0, 100.0], dtype=torch.float64).reshape(1, 1, 1, 2)
    assert feature_distance((a,), (b,)).item() == pytest.approx(math.sqrt(8), rel=1e-4)
    assert feature_distance((a, a), (b, a)).item() == pytest.approx(math.sqrt(8), rel=1e-4)
    # The norm is over the batch: twice the samples, root of twice the distance.
    assert feature_distance((torch.cat([a, a]),), (torch.cat([b, b]),)).item() == pytest.approx(4.0, rel=1e-4)


def test_feature_distance_normalises_each_channel_of_each_sample() -> None:
    a, b = noise(2, 3, 4, 5), noise(2, 3, 4, 5, seed=1)
    expected = (F.instance_norm(a) - F.instance_norm(b)).norm()
    assert feature_distance((a,), (b,)).item() == pytest.approx(expected.item(), rel=1e-9)
    gain = noise(2, 3, 1, 1, seed=2) + 1
    assert feature_distance((a * gain + 7,), (a,)).item() == pytest.approx(0.0, abs=1e-2)


def test_feature_distance_has_gradients() -> None:
    a, b = noise(2, 3, 4, 4).requires_grad_(), noise(2, 3, 4, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, y: feature_distance((x, x**2), (y, y**2)), (a, b))
    feature_distance((a,), (a,)).backward()
    assert a.grad is not None
    assert (a.grad == 0).all()  # the root has no slope at 0; it must not become NaN


def test_feature_distance_of_single_pixels_is_zero_and_counts_must_match() -> None:
    a = noise(2, 3, 1, 1)
    assert feature_distance((a,), (a + 1,)).item() == 0.0
    with pytest.raises(ValueError, match=r"shorter|longer"):
        feature_distance((a,), (a, a))


def test_contrastive_is_the_sum_of_ratios_over_both_cameras_masks() -> None:
    given_ = scene(seed=3)

    def d(a: Tensor, b: Tensor, mask: Tensor) -> float:
        first, second = (maps((image * mask).repeat(1, 3, 1, 1)) for image in (a, b))
        return sum((F.instance_norm(x) - F.instance_norm(y)).norm().item() for x, y in zip(first, second, strict=True))

    expected = 0.0
    for source, masks in (("rgb_luma", "rgb_masks"), ("thermal", "thermal_masks")):
        for k in range(2):
            mask = given_[masks][:, k : k + 1]
            near = d(given_["fused"], given_["reference"], mask)
            expected += near / (d(given_["fused"], given_[source], mask) + 1e-7)
    assert contrastive_semantic(maps, **given_).item() == pytest.approx(expected, rel=1e-9)


@few_examples
@given(seeds)
def test_contrastive_is_zero_where_fused_is_the_reference_inside_the_masks(seed: int) -> None:
    given_ = scene(seed)
    anywhere = torch.cat([given_["rgb_masks"], given_["thermal_masks"]], dim=1).amax(dim=1, keepdim=True)
    given_["fused"] = torch.where(anywhere > 0, given_["reference"], given_["fused"])
    assert contrastive_semantic(maps, **given_).item() == 0.0


@few_examples
@given(seeds, st.booleans())
def test_empty_masks_change_nothing(seed: int, in_front: bool) -> None:
    given_ = scene(seed)
    before = contrastive_semantic(maps, **given_).item()
    blank = torch.zeros(2, 1, 6, 6, dtype=torch.float64)
    for key in ("rgb_masks", "thermal_masks"):
        given_[key] = torch.cat([blank, given_[key]] if in_front else [given_[key], blank], dim=1)
    assert contrastive_semantic(maps, **given_).item() == pytest.approx(before, rel=1e-12)


@few_examples
@given(seeds)
def test_a_sample_without_a_mask_changes_nothing(seed: int) -> None:
    alone = scene(seed)
    alone["thermal_masks"][1] = alone["rgb_masks"][1] = 0
    before = contrastive_semantic(maps, **alone).item()
    alone["fused"][1] = 0.123
    first_only = {name: value[:1] for name, value in alone.items()}
    assert contrastive_semantic(maps, **alone).item() == pytest.approx(before, rel=1e-12)
    assert contrastive_semantic(maps, **first_only).item() == pytest.approx(before, rel=1e-12)


def test_without_any_mask_contrastive_is_a_zero_that_can_be_differentiated() -> None:
    given_ = scene(seed=1)
    given_["rgb_masks"] = given_["thermal_masks"] = torch.zeros(2, 2, 6, 6, dtype=torch.float64)
    given_["fused"].requires_grad_()
    loss = contrastive_semantic(maps, **given_)
    loss.backward()
    assert loss.item() == 0.0
    assert (given_["fused"].grad == 0).all()


def test_contrastive_has_gradients_to_fused_and_to_the_reference() -> None:
    given_ = scene(seed=5)
    fused, reference = given_.pop("fused").requires_grad_(), given_.pop("reference").requires_grad_()
    loss = partial(contrastive_semantic, maps, **given_)
    assert torch.autograd.gradcheck(lambda f, r: loss(fused=f, reference=r), (fused, reference))
    loss(fused=fused, reference=reference).backward()
    untouched = torch.cat([given_["rgb_masks"], given_["thermal_masks"]], dim=1).amax(dim=1, keepdim=True) == 0
    assert untouched.any()
    assert (fused.grad[untouched] == 0).all()  # outside of all masks nothing is asked


def test_task_loss_is_the_mean_over_labelled_pixels_by_hand() -> None:
    # Logits (0, ln 3): the second class has probability 3/4, the first 1/4.
    logits = torch.tensor([0.0, math.log(3)], dtype=torch.float64).reshape(1, 2, 1, 1).expand(1, 2, 2, 2)
    labels = torch.tensor([[[1, 1], [0, 255]]])
    expected = (2 * math.log(4 / 3) + math.log(4)) / 3
    assert task_loss(logits, labels).item() == pytest.approx(expected, rel=1e-9)


def test_task_loss_resizes_logits_to_the_labels() -> None:
    logits, labels = noise(2, 3, 2, 2), torch.randint(0, 3, (2, 8, 6), generator=torch.Generator().manual_seed(0))
    resized = F.interpolate(logits, size=(8, 6), mode="bilinear", align_corners=False)
    assert task_loss(logits, labels).item() == pytest.approx(F.cross_entropy(resized, labels).item(), rel=1e-9)
    half = task_loss(logits.bfloat16(), labels)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(task_loss(logits, labels).item(), abs=0.02)


@few_examples
@given(seeds)
def test_task_loss_ignores_what_is_not_labelled(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (2, 4, 4), generator=generator)
    labels[torch.rand((2, 4, 4), generator=generator) < 0.4] = 255
    logits = noise(2, 3, 4, 4, seed=seed).requires_grad_()
    task_loss(logits, labels).backward()
    assert (logits.grad.transpose(0, 1)[:, labels == 255] == 0).all()
    changed = torch.where((labels == 255)[:, None], noise(2, 3, 4, 4, seed=seed + 1), logits.detach())
    assert task_loss(changed, labels).item() == pytest.approx(task_loss(logits, labels).item(), rel=1e-9)


def test_task_loss_without_labels_is_a_zero_that_can_be_differentiated() -> None:
    logits = noise(1, 3, 4, 4).requires_grad_()
    loss = task_loss(logits, torch.full((1, 4, 4), 255))
    loss.backward()
    assert loss.item() == 0.0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("strange", [3, 254, -1])
def test_task_loss_refuses_ids_the_network_does_not_know(strange: int) -> None:
    labels = torch.full((1, 4, 4), 255)
    labels[0, 1, 1], labels[0, 2, 2] = 2, strange
    with pytest.raises(ParameterError, match=f"ids {strange}, .*0 to 2"):
        task_loss(noise(1, 3, 4, 4), labels)


def test_the_ignored_id_may_be_a_low_one() -> None:
    labels = torch.tensor([[[0, 1]]])
    logits = noise(1, 3, 1, 2)
    expected = F.cross_entropy(logits[..., 1], labels[..., 1])
    assert task_loss(logits, labels, ignore=0).item() == pytest.approx(expected.item(), rel=1e-9)


def test_task_loss_has_gradients() -> None:
    labels = torch.tensor([[[0, 1, 2, 255], [2, 2, 255, 0]]])
    assert torch.autograd.gradcheck(partial(task_loss, labels=labels), noise(1, 3, 2, 2).requires_grad_())


def luma(rgb: Tensor) -> Tensor:
    return (rgb * rgb.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=1, keepdim=True)


@few_examples
@given(seeds)
def test_fused_rgb_has_the_fused_luma_and_the_rgb_images_chroma(seed: int) -> None:
    rgb, fused = 0.3 + 0.4 * noise(2, 3, 4, 5, seed=seed), 0.4 + 0.2 * noise(2, 1, 4, 5, seed=seed + 1)
    shown = fused_rgb(rgb, luma(rgb), fused)
    inside = ((shown > 0) & (shown < 1)).all(dim=1, keepdim=True)
    assert inside.any()
    assert torch.allclose(luma(shown)[inside], fused[inside])
    for channel in (0, 2):  # Cr and Cb are multiples of R - Y and B - Y
        chroma, before = ((image - luma(image))[:, channel] for image in (shown, rgb))
        assert torch.allclose(chroma[inside[:, 0]], before[inside[:, 0]])


def test_fused_rgb_by_hand_and_clamped() -> None:
    rgb = torch.tensor([0.5, 0.2, 0.9], dtype=torch.float64).reshape(1, 3, 1, 1)
    shown = fused_rgb(rgb, luma(rgb), luma(rgb) + 0.3)
    assert shown.flatten().tolist() == pytest.approx([0.8, 0.5, 1.0])
    assert fused_rgb(rgb, luma(rgb), torch.full_like(rgb[:, :1], -2.0)).flatten().tolist() == [0.0, 0.0, 0.0]


def test_fused_rgb_has_gradients_where_it_is_not_clamped() -> None:
    rgb = noise(1, 3, 3, 3)
    fused = (luma(rgb) + 0.4).requires_grad_()
    assert torch.autograd.gradcheck(lambda f: fused_rgb(rgb, luma(rgb), f), fused)
    fused_rgb(rgb, luma(rgb), fused).sum().backward()
    free = (rgb + 0.4 < 1).sum(dim=1, keepdim=True)
    assert torch.equal(fused.grad, free.double())
