"""What an image says of its camera: real scenes are well, dead ones are not, and values come out as they are."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sage_fusion_ros.pipeline.camera_health import HealthSettings, ImageJudge

DTYPES = [np.uint8, np.uint16, np.float32]


def scene(dtype=np.uint16, height=120, width=160, low=3000.0, high=5000.0):
    """A slope with noise, in the unit of the type; 8 bits from 20 to 200."""
    if dtype == np.uint8:
        low, high = 20.0, 200.0
    if dtype == np.float32:
        low, high = 280.0, 310.0
    slope = np.linspace(low, high, width)[None] + np.linspace(0, (high - low) / 10, height)[:, None]
    noise = np.random.default_rng(0).normal(0, (high - low) / 200, (height, width))
    return (slope + noise).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_scene_is_well_and_its_range_is_told(dtype):
    image = scene(dtype)
    health = ImageJudge().thermal(image)
    assert health.problem == ""
    assert health.low == pytest.approx(image.min(), abs=np.ptp(image) / 40)
    assert health.high == pytest.approx(image.max(), abs=np.ptp(image) / 40)
    assert health.saturated_share < 0.01
    assert health.stuck_columns == 0


@pytest.mark.parametrize(
    ("dtype", "value", "noise"), [(np.uint8, 0, 0), (np.uint16, 29000, 4), (np.float32, 290, 0.04)]
)
def test_a_closed_shutter_is_flat_even_with_noise_and_dead_pixels(dtype, value, noise):
    image = (value + np.random.default_rng(0).normal(0, noise, (480, 640))).astype(dtype)
    image[::97, ::101] = 255
    assert ImageJudge().thermal(image).problem.startswith("flat")


def test_the_flat_span_is_a_setting():
    image = scene(low=3000, high=3100)
    assert ImageJudge().thermal(image).problem == ""
    assert ImageJudge(HealthSettings(flat_span=200.0)).thermal(image).problem.startswith("flat")


@pytest.mark.parametrize(
    ("dtype", "top"), [(np.uint8, 255), (np.uint16, 16383), (np.uint16, 65535), (np.float32, 423.0)]
)
def test_a_thermal_image_at_its_highest_value_is_saturated(dtype, top):
    image = scene(dtype)
    image[:, 40:] = top
    health = ImageJudge().thermal(image)
    assert health.problem.startswith("saturated")
    assert health.saturated_share == pytest.approx(0.75, abs=0.03)


def test_values_that_are_not_finite_count_for_nothing():
    image = scene(np.float32)
    expected = ImageJudge().thermal(image)
    image[::3, ::3] = np.nan
    image[1::3, 1::3] = np.inf
    health = ImageJudge().thermal(image)
    assert health.problem == ""
    assert health.low == pytest.approx(expected.low, abs=1)
    empty = ImageJudge().thermal(np.full((40, 40), np.nan, np.float32))
    assert empty.problem == "it holds no finite value"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [[5], [0], [159], [30, 31, 32], [20, 60, 61, 100]])
def test_stuck_columns_are_counted(dtype, columns):
    image = scene(dtype)
    image[:] = np.random.default_rng(0).permuted(image, axis=1)
    image[:, columns] = image.flat[0]
    health = ImageJudge().thermal(image)
    assert health.stuck_columns == len(columns)
    assert health.problem == "", "a few are told, and not yet a lost camera"


def test_every_third_column_stuck_is_a_lost_camera():
    image = np.random.default_rng(0).permuted(scene(), axis=1)
    image[:, ::3] = 0
    health = ImageJudge().thermal(image)
    assert health.stuck_columns == 54
    assert health.problem.startswith("stuck: 34%")


def test_bars_at_the_sides_are_no_stuck_columns():
    image = np.random.default_rng(0).permuted(scene(np.uint8), axis=1)
    image[:, :20] = image[:, -20:] = 0
    assert ImageJudge().thermal(image).stuck_columns == 0


def test_exposure_is_told():
    image = np.full((100, 100, 3), 100, np.uint8)
    image[:20] = 0
    image[80:] = 255
    exposure = ImageJudge().rgb(image)
    assert exposure.problem == ""
    assert exposure.mean == pytest.approx(111, abs=3)
    assert exposure.dark_share == pytest.approx(0.2, abs=0.02)
    assert exposure.bright_share == pytest.approx(0.2, abs=0.02)


def test_night_is_no_problem_and_a_covered_lens_is():
    night = np.clip(np.random.default_rng(0).normal(2, 4, (120, 160, 3)), 0, 255).astype(np.uint8)
    assert ImageJudge().rgb(night).problem == ""
    assert ImageJudge().rgb(np.full((120, 160, 3), 3, np.uint8)).problem.startswith("flat")


def test_a_scene_at_the_limit_does_not_flicker():
    judge = ImageJudge(HealthSettings(saturated_share=0.5))

    def problem(bright):
        image = np.random.default_rng(0).integers(10, 200, (100, 100, 3), np.uint8)
        image[:bright] = 255
        return judge.rgb(image).problem

    assert not problem(48)
    assert problem(54)
    assert problem(46), "a little better is not yet good"
    assert not problem(36)
    assert not problem(48)


def test_the_limit_of_one_camera_is_not_that_of_the_other():
    judge = ImageJudge()
    assert judge.thermal(np.zeros((40, 40), np.uint8)).problem
    assert not judge.rgb(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)).problem


def test_without_the_check_images_are_measured_and_nothing_is_lost():
    judge = ImageJudge(HealthSettings(check=False))
    assert judge.thermal(np.zeros((40, 40), np.uint8)).problem == ""
    exposure = judge.rgb(np.full((40, 40, 3), 255, np.uint8))
    assert (exposure.problem, exposure.bright_share) == ("", 1.0)


sizes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=100)


@settings(max_examples=50, deadline=None)
@given(st.data(), st.sampled_from(DTYPES), sizes)
def test_any_image_has_shares_between_0_and_1_and_a_range_in_order(data, dtype, shape):
    fill = st.floats(width=32) if dtype == np.float32 else st.integers(0, np.iinfo(dtype).max)
    image = data.draw(hnp.arrays(dtype, shape, elements=fill, fill=fill))
    judge = ImageJudge()
    with np.errstate(over="ignore"):
        health = judge.thermal(image)
    assert health.low <= health.high
    assert 0 <= health.saturated_share <= 1
    assert 0 <= health.stuck_columns <= shape[1]
    grey = np.ascontiguousarray(image).view(np.uint8)[:, : shape[1]]
    exposure = judge.rgb(np.repeat(grey[..., None], 3, axis=2))
    assert 0 <= exposure.mean <= 255.01
    assert 0 <= exposure.dark_share + exposure.bright_share <= 1


@pytest.mark.parametrize("name", ["m3fd", "msrs", "roadscene", "m3svd_frames"])
def test_no_public_picture_of_a_working_camera_is_lost(shared_data, name):
    judge = ImageJudge()
    files = sorted((shared_data / name).glob("**/ir/*"))
    assert files
    for file in files:
        thermal = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        rgb = cv2.imread(str(next((file.parents[1] / "vi").glob(f"{file.stem}.*"))), cv2.IMREAD_COLOR)
        assert judge.thermal(thermal).problem == "", file
        assert judge.rgb(rgb).problem == "", file


def test_a_picture_exposed_for_the_dark_is_found(shared_data):
    white = cv2.imread(str(shared_data / "mef_pairs" / "over" / "10.jpg"))
    assert ImageJudge().rgb(white).problem.startswith("over-exposed: 82%")
