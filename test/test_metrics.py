"""Each metric on images small enough to be worked out by hand, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sage_fusion_ros.errors import MetricError, ParameterError
from sage_fusion_ros.evaluation.metrics.profiles import METRICS, PROFILES, score

# Both factors of Qabf for an edge that is kept whole: ratio 1 and likeness 1.
WHOLE_STRENGTH = 0.9994 / (1 + math.exp(-7.5))
WHOLE_DIRECTION = 0.9879 / (1 + math.exp(-4.4))


def grey(rows) -> np.ndarray:
    return np.array(rows, np.uint8)


def flat(value: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width), value, np.uint8)


def noise(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)


def of_fused(metric: str, fused, profile: str = "standard") -> float:
    return score(fused, fused, fused, profile, (metric,))[metric]


def of_three(metric: str, rgb, thermal, fused, profile: str = "standard") -> float:
    return score(rgb, thermal, fused, profile, (metric,))[metric]


@pytest.mark.parametrize(("levels", "bits"), [(1, 0), (2, 1), (4, 2), (256, 8)])
def test_entropy_of_equally_frequent_levels_is_the_logarithm_of_their_number(levels, bits) -> None:
    assert of_fused("EN", (np.arange(256) % levels).astype(np.uint8).reshape(16, 16)) == pytest.approx(bits)


def test_standard_deviation_is_the_populations() -> None:
    assert of_fused("SD", grey([[0, 0], [10, 10]])) == 5


def test_spatial_frequency_joins_both_directions() -> None:
    assert of_fused("SF", grey([[0, 3], [4, 7]])) == 5
    # Row differences 6 and 0, column differences 6, 0 and 0: each mean is over its own number of differences.
    assert of_fused("SF", grey([[6, 0, 0], [0, 0, 0]])) == pytest.approx(math.sqrt(36 / 4 + 36 / 3))


def test_average_gradient_is_central_and_one_sided_at_the_border() -> None:
    # 0 1 4 9: one-sided 1, central 2 and 4, one-sided 5.
    assert of_fused("AG", grey([[0, 1, 4, 9]] * 2)) == pytest.approx(3 / math.sqrt(2))


def test_mutual_information_counts_what_fused_tells_about_each_source() -> None:
    columns, rows = grey([[0, 9], [0, 9]]), grey([[0, 0], [9, 9]])
    assert of_three("MI", columns, rows, columns) == pytest.approx(1)
    assert of_three("MI", columns, columns, columns) == pytest.approx(2)
    assert of_three("MI", columns, rows, grey([[0, 1], [2, 3]])) == pytest.approx(2)
    assert of_three("MI", columns, rows, flat(7, 2, 2)) == 0
    assert of_three("MI", columns, rows, columns, "literature") == pytest.approx(math.log(2))


def test_scd_is_two_where_fused_is_the_sum_of_its_sources() -> None:
    rgb, thermal = grey([[0, 2], [0, 2]]), grey([[0, 0], [2, 2]])
    assert of_three("SCD", rgb, thermal, rgb + thermal) == pytest.approx(2)
    assert of_three("SCD", rgb, thermal, 100 - rgb - thermal) < 0


def test_scd_counts_a_correlation_with_a_constant_as_zero() -> None:
    rgb, thermal = grey([[0, 2], [0, 2]]), grey([[0, 0], [2, 2]])
    # fused - rgb is 0 throughout, and corr(rgb - thermal, rgb) is 4 / sqrt(4 * 8).
    assert of_three("SCD", rgb, thermal, rgb) == pytest.approx(math.sqrt(0.5))
    assert of_three("SCD", rgb, thermal, rgb + 50) == pytest.approx(math.sqrt(0.5))
    assert of_three("SCD", flat(30), flat(40), flat(35)) == 0


def test_qabf_of_edges_kept_whole_halved_turned_and_lost() -> None:
    dot = flat(0, 9, 9)
    dot[4, 4] = 200
    whole = WHOLE_STRENGTH * WHOLE_DIRECTION
    assert of_three("Qabf", dot, dot, dot) == pytest.approx(whole)
    assert of_three("Qabf", dot, dot, dot // 2) == pytest.approx(0.9994 / 2 * WHOLE_DIRECTION)
    assert of_three("Qabf", dot, flat(0, 9, 9), dot) == pytest.approx(whole)
    assert of_three("Qabf", dot, dot, flat(0, 9, 9)) < 0.001
    # A vertical step in the source, a horizontal one in the fused image, away from the border.
    step = np.repeat(grey([[0] * 30 + [200] * 30]), 60, axis=0)
    assert of_three("Qabf", step, step, step.T) < of_three("Qabf", step, step, step) / 2


def test_qabf_of_sources_without_edges_is_zero() -> None:
    assert of_three("Qabf", flat(0), flat(0), noise(1)) == 0
    # Any other flat image has its border for an edge, since Sobel sees black beyond it.
    assert of_three("Qabf", flat(90), flat(90), flat(90)) == pytest.approx(WHOLE_STRENGTH * WHOLE_DIRECTION)


@pytest.mark.parametrize(("profile", "value_range"), [("standard", 255), ("literature", 2)])
def test_ssim_of_flat_images_is_the_luminance_term_with_the_profiles_range(profile, value_range) -> None:
    c1 = (0.01 * value_range) ** 2
    expected = sum((2 * a * 120 + c1) / (a**2 + 120**2 + c1) for a in (4, 100))
    assert of_three("SSIM", flat(4), flat(100), flat(120), profile) == pytest.approx(expected, rel=1e-6)


def test_vif_counts_one_for_each_source_that_is_kept() -> None:
    source = noise(2)
    assert of_three("VIF", source, source, source) == pytest.approx(2)
    assert of_three("VIF", source, source, flat(80)) == pytest.approx(0, abs=1e-9)
    assert of_three("VIF", source, source, 255 - source) == pytest.approx(0, abs=1e-9)
    assert of_three("VIF", source // 2, source // 2, source) > 2


@pytest.mark.parametrize("profile", PROFILES)
def test_vif_of_a_constant_source_is_one_as_nothing_can_be_lost(profile) -> None:
    assert of_three("VIF", flat(200), flat(0), noise(3), profile) == 2


def test_oracle_sd_is_cut_below_the_mean_and_at_sixteen_above() -> None:
    assert of_fused("SD", grey([[0, 0], [20, 4]]), "oracle") == 7  # mean 6: 0, 0, 14 and 0
    assert of_fused("SD", grey([[0, 100]]), "oracle") == pytest.approx(math.sqrt(255 / 2))


def test_oracle_sf_and_ag_are_the_standard_ones_on_other_scales() -> None:
    image = noise(4, 20, 30)
    assert of_fused("SF", image, "oracle") == pytest.approx(of_fused("SF", image) / 255)
    assert of_fused("AG", image, "oracle") == pytest.approx(of_fused("AG", image) * (20 * 30) / (19 * 29))


def test_oracle_mi_has_one_joint_bin_for_the_two_brightest_levels() -> None:
    bright, dark = grey([[254, 255]]), grey([[253, 254]])
    assert of_three("MI", bright, bright, bright, "oracle") == pytest.approx(4)
    assert of_three("MI", dark, dark, dark, "oracle") == pytest.approx(2)


def test_oracle_vif_differs_where_products_pass_255() -> None:
    dark, bright = noise(5) // 17, noise(6)
    assert of_three("VIF", dark, dark, dark // 2, "oracle") == of_three("VIF", dark, dark, dark // 2)
    assert of_three("VIF", bright, bright, bright // 2, "oracle") != of_three("VIF", bright, bright, bright // 2)


def test_oracle_qabf_gives_flat_regions_strength_for_a_ratio() -> None:
    # An edge of 1/255 that is kept whole has the ratio 4/255 instead of 1: as good as lost.
    faint = flat(0, 9, 60)
    faint[:, 30:] = 1
    assert of_three("Qabf", faint, faint, faint, "oracle") < 0.01
    assert of_three("Qabf", faint, faint, faint, "literature") > 0.9


def test_only_what_is_asked_for_is_computed_and_in_that_order() -> None:
    small = noise(7, 8, 8)  # too small for VIF and SSIM
    assert list(score(small, small, small, metrics=("SF", "EN"))) == ["SF", "EN"]
    image = noise(8)
    assert tuple(score(image, image, image)) == METRICS


def test_every_profile_has_every_metric_and_notes_for_the_foot_of_a_table() -> None:
    for name, profile in PROFILES.items():
        assert profile.name == name
        assert set(profile.metrics) == set(METRICS)
        assert all(note.endswith(".") for note in profile.notes)
        assert any("AG" in note for note in profile.notes)


@pytest.mark.parametrize(
    ("metric", "profile", "least"),
    [
        ("VIF", "standard", 41),
        ("SSIM", "standard", 11),
        ("SSIM", "literature", 7),
        ("AG", "oracle", 2),
        ("SF", "oracle", 2),
    ],
)
def test_an_image_smaller_than_the_windows_is_refused_with_both_sizes(metric, profile, least) -> None:
    fits, narrow = noise(9, least, least), noise(9, 50, least - 1)
    assert math.isfinite(of_fused(metric, fits, profile))
    with pytest.raises(MetricError, match=f"{metric} .*at least {least}x{least}.*are {least - 1}x50"):
        of_fused(metric, narrow, profile)


def test_images_of_different_sizes_are_refused_by_name() -> None:
    with pytest.raises(MetricError, match="thermal 60x48"):
        score(noise(1), noise(1, width=60), noise(1))


@pytest.mark.parametrize("wrong", [noise(1).astype(np.float32), np.zeros((48, 64, 3), np.uint8)])
def test_images_that_are_no_grey_bytes_are_refused(wrong) -> None:
    with pytest.raises(MetricError, match=rf"fused image is {wrong.dtype} 48x64"):
        score(noise(1), noise(1), wrong)


def test_unknown_profiles_and_metrics_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ParameterError, match="'strict'; there are standard, literature, oracle"):
        score(noise(1), noise(1), noise(1), "strict")
    with pytest.raises(ParameterError, match="'PSNR'; there are EN, SD"):
        score(noise(1), noise(1), noise(1), metrics=("EN", "PSNR"))
