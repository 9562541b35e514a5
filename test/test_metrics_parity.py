"""The metrics held against other libraries and against slow, plain computations of the same formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import visual_information_fidelity

from sage_fusion_ros.evaluation.metrics.profiles import score


def scene(seed: int, height: int = 60, width: int = 83) -> np.ndarray:
    """Blocks, a ramp and noise: flat regions, edges of all strengths and texture."""
    rng = np.random.default_rng(seed)
    blocks = np.kron(rng.integers(0, 200, (height // 6 + 1, width // 9 + 1)), np.ones((6, 9)))[:height, :width]
    blocks[: height // 2] += np.linspace(0, 60, width)
    blocks[:, : width // 2] += rng.normal(0, 4, (height, width // 2))
    return np.clip(np.round(blocks), 0, 255).astype(np.uint8)


def triple(height: int = 60, width: int = 83) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rgb, thermal = scene(1, height, width), scene(2, height, width)
    fused = np.where(np.arange(width) < width // 3, np.maximum(rgb, thermal), (0.6 * rgb + 0.4 * thermal).round())
    return rgb, thermal, fused.astype(np.uint8)


def value(metric: str, images, profile: str = "standard") -> float:
    return score(*images, profile, (metric,))[metric]


def test_vif_equals_torchmetrics_in_double_precision() -> None:
    images = triple()
    rgb, thermal, fused = (torch.from_numpy(image)[None, None].double() for image in images)
    expected = sum(float(visual_information_fidelity(fused, source)) for source in (rgb, thermal))
    assert value("VIF", images) == pytest.approx(expected, rel=1e-10)
    assert value("VIF", images, "literature") == pytest.approx(expected, rel=1e-10)


def test_entropy_and_mutual_information_equal_sums_over_histograms() -> None:
    def bits(counts) -> float:
        share = counts[counts > 0] / counts.sum()
        return float(-(share * np.log2(share)).sum())

    def joint(a, b) -> float:
        return bits(np.histogram2d(a.ravel(), b.ravel(), bins=256, range=[[0, 256]] * 2)[0])

    images = rgb, thermal, fused = triple()
    alone = [bits(np.bincount(image.ravel())) for image in images]
    expected = alone[0] + alone[1] + 2 * alone[2] - joint(rgb, fused) - joint(thermal, fused)
    assert value("EN", images) == pytest.approx(alone[2])
    assert value("MI", images) == pytest.approx(expected)
    assert value("MI", images, "literature") == pytest.approx(expected * math.log(2))


def test_scd_equals_numpys_correlations() -> None:
    images = triple()
    rgb, thermal, fused = (image.astype(float).ravel() for image in images)
    expected = np.corrcoef(fused - thermal, rgb)[0, 1] + np.corrcoef(fused - rgb, thermal)[0, 1]
    assert value("SCD", images) == pytest.approx(expected)


def gaussian_window() -> np.ndarray:
    offset = np.arange(-5, 6)
    line = np.exp(-(offset**2) / (2 * 1.5**2))
    return np.outer(line, line) / line.sum() ** 2


@pytest.mark.parametrize(
    ("profile", "window", "value_range", "unbiased"),
    [("standard", gaussian_window(), 255, 1.0), ("literature", np.full((7, 7), 1 / 49), 2, 49 / 48)],
)
def test_ssim_equals_its_formula_window_by_window(profile, window, value_range, unbiased) -> None:
    def mean(image) -> np.ndarray:
        views = np.lib.stride_tricks.sliding_window_view(image, window.shape)
        return np.einsum("ijkl,kl->ij", views, window)

    def ssim(a, b) -> float:
        ma, mb = mean(a), mean(b)
        va, vb, ab = (
            unbiased * (mean(x * y) - mx * my) for x, y, mx, my in ((a, a, ma, ma), (b, b, mb, mb), (a, b, ma, mb))
        )
        c1, c2 = (0.01 * value_range) ** 2, (0.03 * value_range) ** 2
        return float(np.mean((2 * ma * mb + c1) * (2 * ab + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))))

    images = triple(30, 41)
    rgb, thermal, fused = (image.astype(float) for image in images)
    # The literature's is computed in float32.
    assert value("SSIM", images, profile) == pytest.approx(ssim(rgb, fused) + ssim(thermal, fused), rel=2e-4)
    if profile == "standard":
        assert value("SSIM", images) == pytest.approx(ssim(rgb, fused) + ssim(thermal, fused), rel=1e-9)


def slow_qabf(images, *, leftward: bool, equal_is_its_strength: bool, unit: bool) -> float:
    """Pixel by pixel, in plain Python floats, adding the Sobel terms column by column from the right, each upwards."""

    def edges(image):
        padded = np.pad(image / 255 if unit else image.astype(float), 1).tolist()
        found = []
        for y in range(image.shape[0]):
            for x in range(image.shape[1]):
                gx = gy = 0.0
                for column in (1, 0, -1):
                    for row in (1, 0, -1):
                        level = padded[y + 1 + row][x + 1 + column]
                        gx += (-column if leftward else column) * (2 - abs(row)) * level
                        gy += row * (2 - abs(column)) * level
                found.append((math.sqrt(gx * gx + gy * gy), math.atan(gy / gx) if gx else math.pi / 2))
        return found

    kept = total = 0.0
    rgb, thermal, fused = map(edges, images)
    for source in (rgb, thermal):
        for (strength, direction), (fused_strength, fused_direction) in zip(source, fused, strict=True):
            if strength == fused_strength:
                ratio = strength if equal_is_its_strength else 1.0
            else:
                ratio = min(strength, fused_strength) / max(strength, fused_strength)
            likeness = 1 - abs(direction - fused_direction) / (math.pi / 2)
            quality = 0.9994 / (1 + math.exp(-15 * (ratio - 0.5))) * 0.9879 / (1 + math.exp(-22 * (likeness - 0.8)))
            kept, total = kept + quality * strength, total + strength
    return kept / total


@pytest.mark.parametrize(
    ("profile", "leftward", "equal_is_its_strength", "unit"),
    [("standard", False, False, False), ("literature", True, True, False), ("oracle", True, True, True)],
)
def test_qabf_equals_its_formula_pixel_by_pixel(profile, leftward, equal_is_its_strength, unit) -> None:
    images = triple(24, 31)
    expected = slow_qabf(images, leftward=leftward, equal_is_its_strength=equal_is_its_strength, unit=unit)
    assert value("Qabf", images, profile) == pytest.approx(expected, rel=1e-9)


def test_the_three_ways_of_qabf_are_told_apart_by_these_images() -> None:
    images = triple(24, 31)
    values = [value("Qabf", images, profile) for profile in ("standard", "literature", "oracle")]
    assert min(abs(a - b) for a in values for b in values if a is not b) > 1e-5
