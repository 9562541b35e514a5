"""Thermal normalisation: 16 bits to 8 without flicker, noise or surprises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_fusion_ros.pipeline.thermal import ThermalNormaliser, ThermalSettings

SECOND = 1_000_000_000


def scene(low=29000, high=30500, shape=(120, 160), dtype=np.uint16):
    return np.linspace(low, high, shape[0] * shape[1]).reshape(shape).astype(dtype)


def test_8_bit_passes_unchanged_by_default():
    image = scene(0, 255, dtype=np.uint8)
    assert ThermalNormaliser()(image) is image


def test_percentiles_fill_the_range():
    grey = ThermalNormaliser()(scene())
    assert grey.dtype == np.uint8
    assert grey.min() == 0
    assert grey.max() == 255
    assert (np.diff(grey.reshape(-1).astype(int)) >= 0).all(), "hotter is never darker"


def test_a_scene_of_one_temperature_does_not_show_its_noise():
    noise = np.random.default_rng(0).normal(29000, 5, (120, 160)).astype(np.uint16)
    grey = ThermalNormaliser()(noise)
    assert grey.std() < 30
    assert ThermalNormaliser(ThermalSettings(min_span=1000))(noise).std() < 3


def test_a_hot_thing_does_not_make_the_picture_flicker():
    """Somebody opens an oven: with smoothing the wall's grey moves by a few levels a frame, without it jumps."""
    cold = scene(29000, 29500)
    hot = cold.copy()
    hot[:40] = 35000
    smooth, instant = ThermalNormaliser(), ThermalNormaliser(ThermalSettings(smoothing_s=0))
    steps = {}
    for name, normaliser in (("smooth", smooth), ("instant", instant)):
        before = normaliser(cold, 0)[-1].astype(int)
        after = normaliser(hot, SECOND // 30)[-1].astype(int)
        steps[name] = np.abs(after - before).max()
    assert steps["instant"] > 100
    assert steps["smooth"] < steps["instant"]
    for i in range(2, 300):
        smooth(hot, i * SECOND // 30)
    assert abs(smooth.shown_range[1] - instant.shown_range[1]) < 5, "it gets there in the end"


def test_time_jumping_back_starts_anew():
    normaliser = ThermalNormaliser()
    normaliser(scene(20000, 21000), 100 * SECOND)
    normaliser(scene(29000, 30500), 1 * SECOND)
    assert normaliser.shown_range[0] > 28900


def test_fixed_range_in_kelvin():
    centikelvin = ThermalSettings(normalisation="fixed", low=280, high=320, scale=0.01)
    image = np.full((10, 10), 30000, np.uint16)  # 300 K, the middle
    assert ThermalNormaliser(centikelvin)(image)[0, 0] in (127, 128)
    kelvin = ThermalSettings(normalisation="fixed", low=280, high=320)
    assert ThermalNormaliser(kelvin)(image.astype(np.float32) / 100)[0, 0] in (127, 128)
    celsius = ThermalSettings(normalisation="fixed", low=280, high=320, offset=273.15)
    assert ThermalNormaliser(celsius)(np.full((10, 10), 26.85, np.float32))[0, 0] in (127, 128)
    for counts, grey in ((0, 0), (65535, 255)):
        assert (ThermalNormaliser(centikelvin)(np.full((9, 9), counts, np.uint16)) == grey).all()


def test_values_that_are_not_finite_show_black():
    image = scene(290, 310, dtype=np.float32)
    image[0, :3] = np.nan, np.inf, -np.inf
    grey = ThermalNormaliser()(image)
    assert (grey[0, :3] == 0).all()
    assert grey.max() == 255
    assert (ThermalNormaliser()(np.full((20, 20), np.nan, np.float32)) == 0).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([np.uint8, np.uint16, np.float32]), st.integers(0, 9999))
def test_any_image_gives_8_bits_of_its_size(height, width, dtype, seed):
    image = (np.random.default_rng(seed).random((height, width)) * 255).astype(dtype)
    grey = ThermalNormaliser(ThermalSettings(normalisation="percentile"))(image)
    assert grey.shape == image.shape
    assert grey.dtype == np.uint8


@pytest.mark.parametrize(
    "wrong",
    [{"normalisation": "agc"}, {"low": 5, "high": 5}, {"low_percentile": 60, "high_percentile": 40}, {"scale": 0}],
)
def test_settings_refuse_nonsense(wrong):
    with pytest.raises(ValueError, match=r"expected|must be"):
        ThermalSettings(**wrong)


@pytest.mark.parametrize("value", [3.4e38, -3.4e38, 1e20, 1e-40])
def test_absurd_values_that_are_all_equal_are_no_fault(value):
    for image in (np.full((4, 4), value, np.float32), np.array([[value, 300.0]], np.float32)):
        assert ThermalNormaliser(ThermalSettings())(image).dtype == np.uint8
