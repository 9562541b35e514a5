"""Burnt-out pixels and likeness to the RGB camera."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_fusion_ros.errors import ImageFormatError
from sage_fusion_ros.evaluation.exposure import burnt_share, rgb_likeness


def picture(seed=0, size=(48, 64)):
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


def test_pixels_of_250_and_more_are_burnt_out():
    image = np.array([[0, 100, 249, 250], [251, 255, 200, 1]], np.uint8)
    assert burnt_share(image) == 3 / 8


def test_likeness_is_ssim():
    """Wang et al. 2004 by hand: over constant images only the means' term is left."""
    dark, bright = np.full((32, 32), 100, np.uint8), np.full((32, 32), 150, np.uint8)
    c1 = (0.01 * 255) ** 2
    expected = (2 * 100 * 150 + c1) / (100**2 + 150**2 + c1)
    assert rgb_likeness(dark, bright) == pytest.approx(expected)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_likeness_is_one_for_equal_images_symmetric_and_falls_with_noise(seed, sigma):
    image = picture(seed)
    assert rgb_likeness(image, image) == pytest.approx(1)
    noise = np.random.default_rng(seed + 1).normal(0, 1, image.shape)
    near, far = (np.clip(np.rint(image + s * noise), 0, 255).astype(np.uint8) for s in (sigma, 2 * sigma + 4))
    assert rgb_likeness(image, near) == pytest.approx(rgb_likeness(near, image))
    assert rgb_likeness(image, far) < rgb_likeness(image, near) <= 1


@pytest.mark.parametrize(
    ("rgb_luma", "fused", "text"),
    [
        (picture(), picture(size=(48, 60)), "expected one size"),
        (picture(size=(8, 8)), picture(size=(8, 8)), "11 pixels"),
        (picture() / 255, picture(), "rgb_luma is float64"),
        (picture(), picture(size=(48, 64, 3)), r"fused is uint8 of shape \(48, 64, 3\)"),
    ],
)
def test_images_that_do_not_fit_are_named(rgb_luma, fused, text):
    with pytest.raises(ImageFormatError, match=text):
        rgb_likeness(rgb_luma, fused)


def test_a_burnt_share_of_no_luma_is_refused():
    with pytest.raises(ImageFormatError, match="fused is float64"):
        burnt_share(np.zeros((4, 4)))
