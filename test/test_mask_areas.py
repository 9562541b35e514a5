"""Intersection over union by hand, the bad conditions, and the list of pairs whose masks are judged."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from sage_fusion_ros.errors import ParameterError, SourceError
from sage_fusion_ros.evaluation.comparison.labels import read_labels, read_pair_list
from sage_fusion_ros.evaluation.conditions import AS_IS, CONDITIONS, DARKENED, RGB_DEAD, SMOKED, THERMAL_DEAD, spoil
from sage_fusion_ros.evaluation.mask_areas import class_areas, class_ious, mean_ious
from sage_fusion_ros.sources.split import read_split

LABELS = np.array([[0, 0, 1, 1], [0, 0, 2, 255]], np.uint8)
MASK = np.array([[0, 0, 0, 1], [0, 3, 255, 2]], np.uint8)


def test_areas_and_unions_by_hand() -> None:
    """Class 0: 3 found right, 4 found, 4 drawn; 1: 1 of 1 of 2; 2: none of 1, for what is found is not judged there."""
    areas = class_areas(MASK, LABELS, 4)
    assert areas.tolist() == [[3, 1, 0, 0], [4, 1, 0, 1], [4, 2, 1, 0]]
    ious = class_ious(areas[None], np.ones((1, 1)))[0]
    assert ious[:3].tolist() == pytest.approx([3 / 5, 1 / 2, 0])
    assert np.isnan(ious[3])  # found, but the labels have none of it
    assert mean_ious(ious[None], [0, 1, 3])[0] == pytest.approx((3 / 5 + 1 / 2) / 2)
    assert np.isnan(mean_ious(ious[None], [3])[0])


def test_images_count_by_their_pixels_and_their_weight() -> None:
    """Right in 4 of 4 pixels in one image, in none of 1 in the other."""
    first = class_areas(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8), 2)
    second = class_areas(np.ones((1, 1), np.uint8), np.zeros((1, 1), np.uint8), 2)
    areas = np.stack([first, second])
    ious = class_ious(areas, np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]]))
    assert ious[:, 0].tolist() == pytest.approx([4 / 5, 1, 0])


def test_masks_and_labels_must_be_of_one_size() -> None:
    with pytest.raises(ValueError, match="one size"):
        class_areas(MASK[:1], LABELS, 4)


def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    rgb = cv2.resize(rng.integers(0, 256, (12, 16, 3)).astype(np.uint8), (160, 120), interpolation=cv2.INTER_CUBIC)
    return rgb, np.tile(np.arange(160, dtype=np.uint8), (120, 1))


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_is_the_same_each_time_and_leaves_the_other_camera_alone(condition: str) -> None:
    rgb, thermal = pair()
    before = rgb.copy(), thermal.copy()
    one, again = (spoil(condition, "set/a", rgb, thermal) for _ in range(2))
    assert (one[0] == again[0]).all()
    assert (one[1] == again[1]).all()
    assert (rgb == before[0]).all()
    assert (thermal == before[1]).all()
    assert (one[0].shape, one[1].shape) == (rgb.shape, thermal.shape)
    assert one[0].dtype == one[1].dtype == np.uint8
    assert (one[0] == rgb).all() == (condition in (AS_IS, THERMAL_DEAD))
    assert (one[1] == thermal).all() == (condition != THERMAL_DEAD)
    other = spoil(condition, "set/b", rgb, thermal)
    assert ((one[0] == other[0]).all() and (one[1] == other[1]).all()) == (condition == AS_IS)


def test_conditions_are_what_they_say() -> None:
    rgb, thermal = pair()
    dark, smoke, dead = (spoil(name, "set/a", rgb, thermal)[0].astype(float) for name in (DARKENED, SMOKED, RGB_DEAD))
    assert dark.mean() < 50 < rgb.mean()
    assert dark.max() < 100
    # A bright and a black wall: noisy, and still apart.
    bright, black = (
        spoil(DARKENED, "flat", np.full((64, 64, 3), level, np.uint8), thermal)[0].astype(float) for level in (220, 0)
    )
    assert 3 < bright.std() < 6
    assert bright.mean() > 50
    assert black.mean() < 10
    assert smoke.std() < rgb.std() / 3
    assert smoke.mean() > rgb.mean()
    # Thin and thick places: contrast differs over the image.
    blocks = smoke.mean(axis=2).reshape(6, 20, 8, 20).std(axis=(1, 3))
    assert blocks.max() > 2 * blocks.min()
    assert dead.mean() < 3
    assert dead.std() > 0
    assert spoil(THERMAL_DEAD, "set/a", rgb, thermal)[1].max() < 12


def test_the_list_of_pairs(tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text("# words\n\nset/a  # seen\n set/clip/b\n")
    assert read_pair_list(path) == {"set/a", "set/clip/b"}
    for text, message in (("a\n", "line 'a'; expected set/pair"), ("# none\n", "names no pair")):
        path.write_text(text)
        with pytest.raises(ParameterError, match=message):
            read_pair_list(path)


def test_labels_are_ids_of_the_images_size(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    assert cv2.imwrite(str(path), LABELS)
    assert (read_labels(path, 2, 4) == LABELS).all()
    with pytest.raises(SourceError, match="expected an 8-bit grey PNG of 4x2"):
        read_labels(path, 4, 2)
    with pytest.raises(SourceError, match="can't be read"):
        read_labels(tmp_path / "b.png", 2, 4)


def test_the_day_pairs_are_kept_out_of_training(project: Path, shared_data: Path) -> None:
    """Every pair of the project's own list is there, has labels, and belongs to what the recipe keeps."""
    from sage_fusion_ros.evaluation.comparison.sets import SelectionRules, select_pairs

    listed = read_pair_list(project / "config" / "eval" / "day_pairs.txt")
    assert read_pair_list(project / "config" / "eval" / "day_pairs_trusted.txt") < listed
    split = read_split(project / "config" / "train" / "sage_fast.yaml")
    roots = [shared_data / name for name in sorted({name.partition("/")[0] for name in listed})]
    chosen = select_pairs(roots, SelectionRules(split=split, labelled=listed))
    assert {item.key for entry in chosen.sets for item in entry.items if item.labels} == listed
    assert all(item.validation for entry in chosen.sets for item in entry.items if item.labels)
