"""The warm tint: colour for what is warmer than its surroundings, the brightness as it was."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_fusion_ros.errors import ImageFormatError, ParameterError
from sage_fusion_ros.pipeline.fusion_pipeline import FusionPipeline
from sage_fusion_ros.pipeline.thermal import ThermalNormaliser
from sage_fusion_ros.pipeline.tint import tint_warm
from sage_fusion_ros.pipeline.types import Frame, FramePair

SIZE = (96, 128)
BODY = np.s_[30:70, 50:66]


def luma(image):
    return image @ np.array([0.299, 0.587, 0.114])


def night(body=220, around=30):
    """A warm body before a cool wall, in thermal and as a fused image in grey."""
    thermal = np.full(SIZE, around, np.uint8)
    thermal[BODY] = body
    return np.dstack([thermal] * 3), thermal


def random_pair(seed, size=SIZE):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (*size, 3), np.uint8), rng.integers(0, 256, size, np.uint8)


def test_a_warm_body_turns_orange_and_nothing_else_changes():
    fused, thermal = night(body=120)
    tinted = tint_warm(fused, thermal, 1.0)
    red, green, blue = tinted[50, 58].astype(int)
    assert red > green + 50 > blue + 100
    outside = np.ones(SIZE, bool)
    outside[BODY] = False
    assert np.array_equal(tinted[outside], fused[outside])


@pytest.mark.parametrize("body", [110, 150, 200, 240])
def test_every_brightness_has_its_colour(body):
    fused, thermal = night(body)
    pixel = tint_warm(fused, thermal, 1.0)[50, 58].astype(int)
    assert pixel[0] >= pixel[1] > pixel[2] + 10
    assert luma(pixel) == pytest.approx(body, abs=1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_luma_stays(seed, strength):
    fused, thermal = random_pair(seed)
    assert np.abs(luma(tint_warm(fused, thermal, strength)) - luma(fused)).max() <= 1.5


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_more_strength_is_more_tint_of_the_same_pixels(seed, strengths):
    fused, thermal = random_pair(seed)
    weak, strong = (tint_warm(fused, thermal, s).astype(int) - fused for s in sorted(strengths))
    assert (np.abs(strong) >= np.abs(weak) - 1).all(), "but for rounding"
    assert (strong * weak >= 0).all(), "in the same direction"


def test_off_is_the_image_itself():
    fused, thermal = random_pair(0)
    assert tint_warm(fused, thermal, 0.0) is fused


def test_inputs_are_left_as_they_were():
    fused, thermal = night()
    before = fused.copy(), thermal.copy()
    assert not np.array_equal(tint_warm(fused, thermal, 0.8), fused)
    assert np.array_equal(fused, before[0])
    assert np.array_equal(thermal, before[1])


def test_it_is_contrast_that_counts_and_not_level():
    """A road in the sun fills the lower half of the picture at a level above that of the body at night."""
    thermal = np.full(SIZE, 215, np.uint8)
    fused = np.dstack([thermal] * 3)
    assert np.array_equal(tint_warm(fused, thermal, 1.0), fused)
    cold_spot = thermal.copy()
    cold_spot[BODY] = 20
    assert np.array_equal(tint_warm(fused, cold_spot, 1.0)[BODY], fused[BODY])


def test_one_hot_pixel_elsewhere_changes_no_colour():
    """Nothing is stretched by the image's own extremes, so nothing flickers with them."""
    fused, thermal = night(body=110)
    hotter = thermal.copy()
    hotter[2, 2] = 255
    change = np.abs(tint_warm(fused, hotter, 1.0)[BODY].astype(int) - tint_warm(fused, thermal, 1.0)[BODY])
    assert change.max() <= 4


@pytest.mark.parametrize("size", [(8, 8), (9, 200), (61, 83), (7, 3)])
def test_any_size(size):
    fused, thermal = random_pair(1, size)
    tinted = tint_warm(fused, thermal, 0.5)
    assert tinted.shape == (*size, 3)
    assert tinted.dtype == np.uint8


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_a_strength_out_of_range_is_refused(strength):
    with pytest.raises(ParameterError, match="expected 0 to 1"):
        tint_warm(*night(), strength)


def test_sizes_that_differ_are_refused():
    fused, thermal = night()
    with pytest.raises(ImageFormatError, match="expected one size"):
        tint_warm(fused, thermal[:-1], 0.5)


class GreyMaximum:
    """Stands for a model: the greater of both cameras, in grey."""

    def fuse(self, rgb, thermal):
        return np.dstack([np.maximum(rgb.max(axis=2), thermal)] * 3)


def test_the_pipeline_tints_only_when_asked_and_at_once():
    thermal = night(body=130)[1]
    pair = FramePair(Frame(1, "rgb", np.full((*SIZE, 3), 10, np.uint8)), Frame(1, "thermal", thermal))
    pipeline = FusionPipeline(GreyMaximum(), ThermalNormaliser())
    plain = pipeline.process(pair)
    assert "tint" not in plain.timings_ms
    assert np.array_equal(plain.fused, np.dstack([np.maximum(thermal, 10)] * 3))
    pipeline.thermal_tint = 0.7
    tinted = pipeline.process(pair)
    assert "tint" in tinted.timings_ms
    assert np.array_equal(tinted.fused, tint_warm(plain.fused, thermal, 0.7))
