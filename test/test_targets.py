"""The picture `sage_fast` learns to draw."""

from __future__ import annotations

import math

import pytest
import torch

from sage_fusion_ros.training.targets import (
    TargetSettings,
    double,
    fusion_target,
    halve,
    laplacian_pyramid,
    noise_level,
    roll_off,
    soft_threshold,
)

SETTINGS = TargetSettings()


def flat(value: float, size: int = 64) -> torch.Tensor:
    return torch.full((1, 1, size, size), value)


def test_halving_and_doubling_keep_flat_images_and_place() -> None:
    assert torch.allclose(halve(flat(0.3)), flat(0.3, 32))
    assert torch.allclose(double(flat(0.3)), flat(0.3, 128))
    # A ramp of slope 1: each coarse pixel lies between two fine ones, so nothing shifts.
    ramp = torch.arange(16.0).expand(1, 1, 16, 16)
    assert torch.allclose(halve(ramp)[0, 0, 4, 1:-1], torch.arange(2.5, 14, 2))


def test_a_pyramid_adds_up_to_its_image() -> None:
    image = torch.rand(1, 1, 64, 96, generator=torch.Generator().manual_seed(0))
    details, rest = laplacian_pyramid(image, 5)
    for detail in reversed(details):
        rest = double(rest) + detail
    assert torch.allclose(rest, image, atol=1e-6)


def test_noise_is_measured_and_gated() -> None:
    noise = 0.01 * torch.randn(1, 1, 128, 128, generator=torch.Generator().manual_seed(1))
    assert noise_level(noise).item() == pytest.approx(0.01, rel=0.05)
    gated = soft_threshold(torch.tensor([-0.3, -0.1, 0.05, 0.4]), torch.tensor(0.1))
    assert torch.allclose(gated, torch.tensor([-0.2, 0.0, 0.0, 0.3]))


def test_most_thermal_noise_does_not_reach_the_picture() -> None:
    generator = torch.Generator().manual_seed(2)
    thermal = flat(0.3, 128) + 0.01 * torch.randn(1, 1, 128, 128, generator=generator)
    target = fusion_target(flat(0.5, 128), thermal, SETTINGS)
    assert target.std() < 0.5 * thermal.std()


def test_noise_is_never_made_louder() -> None:
    generator = torch.Generator().manual_seed(3)
    for levels in ((0.01, 0.003), (0.003, 0.01), (0.01, 0.01)):
        pair = [flat(0.5, 128) + level * torch.randn(1, 1, 128, 128, generator=generator) for level in levels]
        assert fusion_target(*pair, SETTINGS).std() < 1.1 * max(image.std() for image in pair)


def test_flat_sources_give_a_flat_picture_between_them() -> None:
    brighter = fusion_target(flat(0.2), flat(0.6), SETTINGS)
    assert torch.allclose(brighter, flat(0.2 + SETTINGS.brighter_share * 0.4), atol=1e-6)
    darker = fusion_target(flat(0.6), flat(0.2), SETTINGS)
    undershoot = SETTINGS.undershoot * math.tanh(SETTINGS.darker_share * 0.4 / SETTINGS.undershoot)
    assert torch.allclose(darker, flat(0.6 - undershoot), atol=1e-6)


def test_a_strong_thermal_edge_leaves_no_halo() -> None:
    """A warm roof before a cold sky, both bright to the RGB camera: along the edge and far from it alike."""
    thermal = flat(0.0, 128)
    thermal[..., 64:, :] = 0.9
    target = fusion_target(flat(0.7, 128), thermal, SETTINGS)[0, 0, :, 64]
    assert target[:64].min() >= 0.7 - SETTINGS.undershoot
    assert target[64:].max() <= 0.9 + SETTINGS.overshoot


def test_a_warm_body_stays_as_bright_as_thermal_shows_it() -> None:
    thermal = flat(0.1, 128)
    thermal[..., 60:68, 60:64] = 0.8
    target = fusion_target(flat(0.4, 128), thermal, SETTINGS)
    assert target[..., 61:67, 61:63].min() >= 0.79
    assert target[..., :20, :20].max() < 0.42


def test_what_only_rgb_shows_stays() -> None:
    rgb = flat(0.3, 128)
    rgb[..., ::16, :] = 0.7
    target = fusion_target(rgb, flat(0.3, 128), SETTINGS)
    assert (target[..., 64, :] - target[..., 70, :]).min() > 0.3


def test_roll_off_never_burns_and_leaves_the_rest() -> None:
    image = torch.tensor([-0.1, 0.0, 0.5, 0.8, 0.9, 1.5])
    rolled = roll_off(image, 0.8)
    assert torch.equal(rolled[:4], torch.tensor([0.0, 0.0, 0.5, 0.8]))
    assert 0.88 < rolled[4] < 0.9
    assert 0.99 < rolled[5] <= 1.0
