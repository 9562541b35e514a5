import itertools

import cv2
import numpy as np
import pytest

from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.sources.base import SourcePair
from sage_fusion_ros.sources.open import open_source
from sage_fusion_ros.sources.synthetic import SyntheticSource

ROAD, SKY, PERSON, RIDER, CAR, BICYCLE = 0, 10, 11, 12, 13, 18
SMALL = (320, 240)


@pytest.fixture(scope="module")
def show() -> SyntheticSource:
    return SyntheticSource(size=SMALL)


def celsius(pair: SourcePair) -> np.ndarray:
    return pair.thermal / 100 - 273.15


def equal(first: SourcePair, second: SourcePair) -> bool:
    same = np.array_equal(first.rgb, second.rgb) and np.array_equal(first.thermal, second.thermal)
    truth = np.array_equal(first.truth.mask, second.truth.mask) and np.array_equal(
        first.truth.boxes, second.truth.boxes
    )
    return same and truth and first.truth.labels == second.truth.labels


def test_types_and_sizes(show: SyntheticSource) -> None:
    assert (len(show), show.frame_rate, show.is_sequence, show.kind) == (450, 30.0, True, "synthetic")
    pair = show.read(7)
    assert (pair.rgb.shape, pair.rgb.dtype) == ((240, 320, 3), np.uint8)
    assert (pair.thermal.shape, pair.thermal.dtype) == ((240, 320), np.uint16)
    assert (pair.truth.mask.shape, pair.truth.mask.dtype) == ((240, 320), np.uint8)
    assert pair.truth.boxes.shape == (len(pair.truth.labels), 4)
    default = SyntheticSource("fog", duration=0.1).read(0)
    assert default.rgb.shape == (480, 640, 3)


def test_a_pair_does_not_depend_on_what_was_read_before(show: SyntheticSource) -> None:
    other = SyntheticSource(size=SMALL, duration=11.0)
    for index in (301, 40, 200):
        assert equal(show.read(index), other.read(index))
    assert equal(show.read(40), other.read(40))
    assert not equal(show.read(40), show.read(41))


def test_seeds_differ() -> None:
    first, second = (SyntheticSource("day", seed=seed, size=SMALL, duration=0.2).read(0) for seed in (1, 2))
    assert np.mean(np.abs(first.rgb.astype(int) - second.rgb)) > 5
    assert not np.array_equal(first.truth.mask, second.truth.mask)


def test_reading_changes_nothing_given_out_before(show: SyntheticSource) -> None:
    pair = show.read(60)
    kept = pair.rgb.copy(), pair.thermal.copy(), pair.truth.mask.copy()
    show.read(61)
    assert all(np.array_equal(a, b) for a, b in zip(kept, (pair.rgb, pair.thermal, pair.truth.mask), strict=True))


@pytest.mark.parametrize("index", [5, 90, 130, 200, 260, 330, 420])
def test_boxes_hold_pixels_of_their_class_up_to_every_edge(show: SyntheticSource, index: int) -> None:
    truth = show.read(index).truth
    ids = {"person": PERSON, "rider": RIDER, "car": CAR, "bicycle": BICYCLE}
    covered = np.zeros(truth.mask.shape, bool)
    assert len(truth.labels) > 5
    for (left, top, right, bottom), label in zip(truth.boxes.astype(int), truth.labels, strict=True):
        assert 0 <= left < right <= 320
        assert 0 <= top < bottom <= 240
        inside = truth.mask[top:bottom, left:right] == ids[label]
        assert inside[0].any()
        assert inside[-1].any()
        assert inside[:, 0].any()
        assert inside[:, -1].any()
        covered[top:bottom, left:right] = True
    movable = np.isin(truth.mask, list(ids.values()))
    assert (movable & ~covered).sum() < 0.01 * movable.sum() + 30  # only what is too small for a box


def test_every_class_of_a_street_occurs(show: SyntheticSource) -> None:
    seen: set[int] = set()
    for index in range(0, 450, 30):
        seen |= set(np.unique(show.read(index).truth.mask).tolist())
    assert {0, 1, 2, 5, 8, SKY, PERSON, RIDER, CAR, BICYCLE} <= seen


@pytest.mark.parametrize("index", [100, 140, 190, 250, 320, 400])
def test_temperatures_are_plausible(show: SyntheticSource, index: int) -> None:
    pair = show.read(index)
    degrees, mask = celsius(pair), pair.truth.mask
    people = degrees[mask == PERSON]
    assert np.percentile(people, 95) > 27
    assert people.max() < 36
    assert np.median(people) > np.median(degrees[mask == ROAD]) + 4
    assert np.median(degrees[mask == SKY]) < np.median(degrees[mask == ROAD]) - 10
    assert degrees[mask == CAR].max() > np.median(degrees[mask == CAR]) + 5  # engines, tyres
    assert degrees.max() < 80


def test_thermal_noise_is_that_of_a_microbolometer() -> None:
    source = SyntheticSource("night", size=SMALL, duration=0.4)
    road = np.s_[200:236, 100:220]
    first, second = (source.read(index).thermal[road].astype(float) for index in (0, 1))
    assert 0.03 < np.std(first - second) / 100 / np.sqrt(2) < 0.09


def local_contrast(pair: SourcePair, image: np.ndarray, behind: np.ndarray) -> float:
    """How far the mean of the people behind the smoke differs from their surroundings, in the image's units."""
    people = ((pair.truth.mask == PERSON) & behind).astype(np.uint8)
    around = (
        (cv2.dilate(people, np.ones((9, 9), np.uint8)) > 0) & (people == 0) & ~np.isin(pair.truth.mask, (CAR, RIDER))
    )
    assert people.sum() > 150
    return abs(float(image[people > 0].mean()) - float(image[around].mean()))


@pytest.mark.parametrize("index", [310, 350, 390])
def test_smoke_hides_people_from_rgb_and_not_from_thermal(show: SyntheticSource, index: int) -> None:
    pair = show.read(index)
    behind = show.smoke_amount(index) > 0.94
    assert local_contrast(pair, pair.rgb.mean(axis=2), behind) < 4.0
    assert local_contrast(pair, celsius(pair), behind) > 6.0


def test_headlights_glare_at_night(show: SyntheticSource) -> None:
    night = show.read(200)
    assert show.condition(200) == "night"
    assert night.rgb.mean() < 60
    assert (night.rgb.min(axis=2) > 235).sum() > 30
    assert show.read(100).rgb.mean() > 90


def test_actors_move_without_jumps(show: SyntheticSource) -> None:
    masks = [np.isin(show.read(index).truth.mask, (PERSON, CAR, RIDER)) for index in range(100, 110)]
    changes = [np.mean(a != b) for a, b in itertools.pairwise(masks)]
    assert all(0 < change < 0.02 for change in changes)


def test_the_camera_matrix_fits_the_size() -> None:
    k = SyntheticSource("day", size=SMALL, duration=0.1).intrinsics("thermal")
    assert k[0] == k[4] == 256.0
    assert k[2] == 159.5
    assert 80 < k[5] < 120
    assert k[8] == 1.0


def test_words_and_numbers_that_can_not_be() -> None:
    with pytest.raises(SourceError, match="'synthetic:rain' is unknown; there are day, night, smoke, fog"):
        open_source("synthetic:rain")
    for options in ({"size": (31, 31)}, {"size": (5000, 480)}, {"duration": 0.0}, {"frame_rate": -1.0}):
        with pytest.raises(SourceError, match="size|duration"):
            SyntheticSource("day", **options)
