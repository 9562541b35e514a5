"""Energy at a network's own periods in flat regions."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_fusion_ros.errors import ImageFormatError
from sage_fusion_ros.evaluation.pattern import PERIODS, FlatEnergy

SIZE = (128, 160)
Y, X = np.mgrid[: SIZE[0], : SIZE[1]]


def quantised(image):
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def scene(seed=0, sigma=1.5, levels=(120, 60)):
    """Sources that are flat but for noise, and a fused image that follows RGB, before its rounding."""
    rng = np.random.default_rng(seed)
    rgb, thermal = (rng.normal(level, sigma, SIZE) for level in levels)
    return quantised(rgb), quantised(thermal), rgb


def measured(rgb, thermal, fused):
    energy = FlatEnergy()
    energy.add(rgb, thermal, fused)
    return energy


def test_an_image_equal_to_a_source_has_its_energy():
    rgb, thermal, _ = scene()
    energy = measured(rgb, thermal, rgb)
    assert energy.windows == 7 * 9
    for period, ratio in energy.ratios().items():
        own = energy.energy["rgb"][PERIODS.index(period)]
        assert ratio == pytest.approx(own / max(own, energy.energy["thermal"][PERIODS.index(period)]))


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("direction", ["x", "y", "diagonal", "other diagonal"])
def test_a_wave_of_a_fraction_of_a_grey_level_is_found_at_its_period_alone(period, direction):
    rgb, thermal, base = scene()
    phase = {"x": X, "y": Y, "diagonal": X + Y, "other diagonal": X - Y}[direction]
    wave = np.cos(2 * np.pi * phase / period)
    clean, ratios = (measured(rgb, thermal, quantised(base + a * wave)).ratios() for a in (0.0, 0.4))
    assert all(value < 1.1 for value in clean.values())
    for other, ratio in ratios.items():
        if other == period:
            assert ratio > 1.5
        else:
            assert ratio == pytest.approx(clean[other], rel=0.1)


def test_the_energy_of_a_wave_is_as_calculated():
    rgb, thermal = np.full(SIZE, 100, np.uint8), np.full(SIZE, 50, np.uint8)
    energy = measured(rgb, thermal, quantised(100 + 6 * np.cos(np.pi * X / 2)))
    expected = (6 / 2 * 16**2) ** 2  # amplitude / 2 times the sum of the Hann window
    assert energy.energy["fused"][1] / energy.windows == pytest.approx(expected)
    assert energy.energy["rgb"].max() == pytest.approx(0, abs=1e-12)


def test_the_lattice_of_a_depth_to_space_is_found():
    rgb, thermal, base = scene(sigma=1.0)
    cell = np.random.default_rng(5).normal(0, 0.5, (4, 4))  # one bias a place of the 4x4 cell
    lattice = np.tile(cell - cell.mean(), (SIZE[0] // 4, SIZE[1] // 4))
    assert max(measured(rgb, thermal, quantised(base)).ratios().values()) < 1.1
    assert measured(rgb, thermal, quantised(base + lattice)).ratios()[4] > 2


def test_a_pattern_that_a_source_has_is_not_the_networks():
    rgb, thermal, _ = scene()
    striped = quantised(thermal + 2.0 * np.cos(np.pi * X / 2))
    assert measured(rgb, striped, striped).ratios()[4] == pytest.approx(1)


def test_only_flat_and_lit_windows_count():
    rgb, thermal, base = scene()
    loud = np.random.default_rng(1).integers(0, 255, SIZE, np.uint8)
    loud[:, :80] = rgb[:, :80]
    half = measured(loud, thermal, quantised(base))
    assert half.windows == 7 * 4
    assert measured(thermal, loud, quantised(base)).windows < 7 * 9
    burnt, black = np.full(SIZE, 252, np.uint8), np.zeros(SIZE, np.uint8)
    assert measured(burnt, thermal, burnt).windows == 0
    assert measured(black, black, black).windows == 0
    assert measured(black, thermal, thermal).windows == 7 * 9, "a black RGB sky above a thermal one is where it shows"
    assert all(math.isnan(r) for r in measured(burnt, thermal, burnt).ratios().values())


def test_a_soft_gradient_is_no_pattern():
    rgb = quantised(100 + X / 12 + np.random.default_rng(0).normal(0, 0.5, SIZE))
    thermal = quantised(50 + np.random.default_rng(1).normal(0, 0.5, SIZE))
    ratios = measured(rgb, thermal, quantised(80 + X / 8 + np.random.default_rng(2).normal(0, 0.5, SIZE))).ratios()
    assert all(r < 1.3 for r in ratios.values())


def test_without_any_noise_in_the_sources_rounding_is_what_counts():
    flat = np.full(SIZE, 100, np.uint8)
    assert measured(flat, flat, flat).ratios() == pytest.approx(dict.fromkeys(PERIODS, 0.0), abs=1e-12)
    dithered = quantised(
        100 + np.random.default_rng(0).uniform(-0.5, 0.5, SIZE) + np.random.default_rng(1).random(SIZE)
    )
    assert all(0.5 < r < 10 for r in measured(flat, flat, dithered).ratios().values())


def test_sums_equal_one_pass_and_survive_a_process():
    scenes = [scene(seed) for seed in range(3)]
    whole = FlatEnergy()
    total = FlatEnergy()
    for rgb, thermal, base in scenes:
        whole.add(rgb, thermal, quantised(base))
        total = total + pickle.loads(pickle.dumps(measured(rgb, thermal, quantised(base))))
    assert total.windows == whole.windows
    assert total.ratios() == pytest.approx(whole.ratios())


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(-20, 20))
def test_brightness_and_turning_do_not_matter(seed, offset):
    rgb, thermal, base = scene(seed)
    fused = quantised(base + 0.5 * np.cos(np.pi * X / 2))
    ratios = measured(rgb, thermal, fused).ratios()
    assert measured(rgb, thermal, quantised(fused.astype(int) + offset)).ratios() == pytest.approx(ratios)
    assert measured(thermal, rgb, fused).ratios() == pytest.approx(ratios), "the sources have no order"
    turned = measured(*(np.ascontiguousarray(image.T) for image in (rgb, thermal, fused))).ratios()
    assert turned == pytest.approx(ratios)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"fused": np.zeros((64, 64), np.uint8)}, r"fused is uint8 of shape \(64, 64\)"),
        ({"thermal": np.zeros(SIZE, np.uint16)}, "thermal is uint16"),
        ({"rgb_luma": np.zeros((*SIZE, 3), np.uint8)}, "rgb is uint8 of shape"),
        ({name: np.zeros((16, 64), np.uint8) for name in ("rgb_luma", "thermal", "fused")}, "32 pixels or more"),
    ],
)
def test_images_that_do_not_fit_are_named(changes, text):
    images = {name: np.zeros(SIZE, np.uint8) for name in ("rgb_luma", "thermal", "fused")}
    with pytest.raises(ImageFormatError, match=text):
        FlatEnergy().add(**{**images, **changes})
