"""What holds for every image, constant ones included."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_fusion_ros.evaluation.metrics.profiles import PROFILES, score

SHAPE = (44, 47)
OF_FUSED = ("EN", "SD", "SF", "AG")
OF_THREE = ("MI", "SCD", "VIF", "Qabf", "SSIM")


def make(seed: int, low: int, spread: int, block: int) -> np.ndarray:
    """Blocks of random levels; a spread of 0 is a constant image, a block of 1 is noise."""
    levels = np.random.default_rng(seed).integers(low, min(low + spread, 255) + 1, SHAPE, np.uint8)
    return np.kron(levels, np.ones((block, block), np.uint8))[: SHAPE[0], : SHAPE[1]]


images = st.builds(
    make, st.integers(0, 999), st.integers(0, 255), st.sampled_from([0, 1, 20, 255]), st.sampled_from([1, 4, 15])
)
# Up to 155, so that 100 can be added.
dim_images = st.builds(make, st.integers(0, 999), st.integers(0, 55), st.integers(0, 100), st.sampled_from([1, 4, 15]))
quick = settings(max_examples=25, deadline=None)


@pytest.mark.parametrize("profile", PROFILES)
@given(rgb=images, thermal=images, fused=images)
@quick
def test_every_value_is_finite_and_in_its_range(profile, rgb, thermal, fused) -> None:
    values = score(rgb, thermal, fused, profile)
    assert all(math.isfinite(value) for value in values.values())
    assert 0 <= values["EN"] <= 8
    assert 0 <= values["SD"] <= 127.5
    assert -2 <= values["SCD"] <= 2 + 1e-12
    assert 0 <= values["Qabf"] <= 1
    assert -2 <= values["SSIM"] <= 2 + 1e-6
    assert min(values["SF"], values["AG"], values["VIF"]) >= 0
    # Oracle's joint entropy is too small, never too large.
    assert values["MI"] >= -1e-9


@given(rgb=images, thermal=images, fused=images)
@quick
def test_fused_can_tell_no_more_about_a_source_than_either_holds(rgb, thermal, fused) -> None:
    entropies = [score(image, image, image, metrics=("EN",))["EN"] for image in (rgb, thermal, fused)]
    most = min(entropies[0], entropies[2]) + min(entropies[1], entropies[2])
    assert score(rgb, thermal, fused, metrics=("MI",))["MI"] <= most + 1e-9


@pytest.mark.parametrize("profile", PROFILES)
@given(rgb=images, thermal=images, fused=images)
@quick
def test_the_sources_may_change_places(profile, rgb, thermal, fused) -> None:
    one, other = score(rgb, thermal, fused, profile), score(thermal, rgb, fused, profile)
    assert one == pytest.approx(other, rel=1e-9, abs=1e-12)


@given(fused=dim_images, added=st.integers(0, 100))
@quick
def test_brightness_changes_neither_spread_nor_sharpness(fused, added) -> None:
    brighter = fused + np.uint8(added)
    one, other = (score(image, image, image, metrics=OF_FUSED) for image in (fused, brighter))
    assert one == pytest.approx(other, rel=1e-9, abs=1e-9)


@given(rgb=images, thermal=images, fused=images)
@quick
def test_turning_all_three_images_over_changes_nothing_but_qabf(rgb, thermal, fused) -> None:
    # Qabf is not symmetric: at horizontal edges the direction jumps from one end of its range to the other.
    metrics = (*OF_FUSED, "MI", "SCD", "VIF", "SSIM")
    one, other = score(rgb, thermal, fused, metrics=metrics), score(rgb.T, thermal.T, fused.T, metrics=metrics)
    assert one == pytest.approx(other, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("profile", ["standard", "literature"])
@given(image=images)
@quick
def test_an_image_fused_with_itself_reaches_the_top(profile, image) -> None:
    values = score(image, image, image, profile, OF_THREE)
    assert values["SSIM"] == pytest.approx(2, abs=1e-4)
    assert values["VIF"] == pytest.approx(2, abs=1e-6)
    assert values["SCD"] == 0


@given(image=images)
@quick
def test_an_image_tells_all_its_bits_about_itself(image) -> None:
    values = score(image, image, image, metrics=("EN", "MI"))
    assert values["MI"] == pytest.approx(2 * values["EN"], abs=1e-9)


@given(rgb=images, thermal=images, fused=images)
@quick
def test_no_fused_image_keeps_more_of_its_sources_edges_than_a_copy_of_both(rgb, thermal, fused) -> None:
    copy = score(rgb, rgb, rgb, metrics=("Qabf",))["Qabf"]
    assert score(rgb, thermal, fused, metrics=("Qabf",))["Qabf"] <= copy + 1e-12 or not rgb.any()
