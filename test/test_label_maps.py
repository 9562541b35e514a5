"""Label maps of other networks: where they are found, and how far they are believed."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.pipeline.classes import CITYSCAPES_CLASSES, UNLABELLED
from sage_fusion_ros.training.label_files import find_label_map, read_label_map
from sage_fusion_ros.training.pairs import StoredPair
from sage_fusion_ros.training.perception.boxes import Boxes
from sage_fusion_ros.training.perception.label_maps import (
    NO_TRAFFIC,
    is_by_day,
    keep_in_boxes,
    read_mask,
    recognise_leaves,
    recognise_sky,
)

ROAD, BUILDING, VEGETATION, SKY, PERSON, CAR, BICYCLE = (
    CITYSCAPES_CLASSES.index(name) for name in ("road", "building", "vegetation", "sky", "person", "car", "bicycle")
)
SHAPE = (60, 80)
EVERYWHERE = Boxes.of([((0, 0, 80, 60), "person", 1.0)])


def pair(name: str = "set/001", level: int = 120) -> StoredPair:
    rgb = np.full((*SHAPE, 3), level, np.uint8)
    return StoredPair(name, rgb, rgb[..., 0], np.full(SHAPE, 90, np.uint8))


def write_map(path: Path, ids: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), ids)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    cityscapes, rgbt = np.full(SHAPE, UNLABELLED, np.uint8), np.full(SHAPE, UNLABELLED, np.uint8)
    cityscapes[40:], rgbt[30:50] = ROAD, 2
    write_map(tmp_path / "seg_cityscapes19" / "001.png", cityscapes)
    write_map(tmp_path / "seg_msrs9" / "001.png", rgbt)
    return tmp_path


def test_by_day_the_second_map_fills_what_the_first_left_open(root: Path) -> None:
    mask = read_mask(root, pair(), EVERYWHERE, by_day=True)
    assert set(mask[40:].ravel()) == {ROAD}
    assert set(mask[30:40].ravel()) == {PERSON}
    assert set(mask[:30].ravel()) == {UNLABELLED}


def test_by_night_the_map_from_rgb_is_not_believed(root: Path) -> None:
    mask = read_mask(root, pair(), EVERYWHERE, by_day=False)
    assert set(mask[30:50].ravel()) == {PERSON}
    assert set(mask[50:].ravel()) == {UNLABELLED}  # inside the box: not even free of traffic


def test_maps_lie_beside_images_of_clips_and_under_labels_of_videos(root: Path, tmp_path: Path) -> None:
    ids = np.full(SHAPE, ROAD, np.uint8)
    write_map(tmp_path / "clip" / "seg_cityscapes19" / "0007.png", ids)
    write_map(tmp_path / "labels" / "film" / "seg_cityscapes19" / "00030.png", ids[::2, ::2])
    for name in ("set/clip/0007", "set/film/000030"):
        assert set(read_mask(root, pair(name), EVERYWHERE, by_day=True).ravel()) == {ROAD}
    assert set(read_mask(root, pair("set/unheard"), EVERYWHERE, by_day=True).ravel()) == {UNLABELLED}


def test_a_map_that_is_no_picture_is_named(root: Path) -> None:
    (root / "seg_cityscapes19" / "001.png").write_bytes(b"no picture")
    with pytest.raises(SourceError, match="001.png"):
        read_mask(root, pair(), EVERYWHERE, by_day=True)


def test_a_bright_road_under_a_dark_sky_is_night() -> None:
    luma = np.full(SHAPE, 220, np.uint8)
    assert is_by_day(luma, 150)
    luma[:20] = 60
    assert luma.mean() > 150
    assert not is_by_day(luma, 150)


def test_people_and_vehicles_need_a_box_of_theirs() -> None:
    mask = np.full(SHAPE, ROAD, np.uint8)
    mask[10:20, 10:20] = mask[10:20, 60:70] = PERSON
    mask[40:50, 10:20] = CAR
    mask[40:50, 60:70] = BICYCLE
    boxes = Boxes.of(
        [((9, 9, 21, 21), "person", 0.9), ((9, 39, 21, 51), "person", 0.9), ((60, 40, 70, 50), "car", 0.9)]
    )
    kept = keep_in_boxes(mask, boxes)
    assert set(kept[10:20, 10:20].ravel()) == {PERSON}
    assert set(kept[10:20, 60:70].ravel()) == {NO_TRAFFIC}  # no box at all
    assert set(kept[40:50, 10:20].ravel()) == {UNLABELLED}  # somebody else's box
    assert set(kept[40:50, 60:70].ravel()) == {UNLABELLED}
    assert (kept[mask == ROAD] == ROAD).all()
    assert (mask == CAR).any()  # the map itself is left as it was
    doubtful = Boxes.of([((0, 0, 80, 60), "person", 0.1)])
    assert (keep_in_boxes(mask, doubtful)[10:20, 10:20] == UNLABELLED).all()


def test_what_is_unknown_outside_of_all_boxes_is_at_least_no_traffic() -> None:
    mask = np.full(SHAPE, UNLABELLED, np.uint8)
    mask[:10] = SKY
    doubtful = Boxes.of([((20, 30, 40, 50), "person", 0.06)])
    kept = keep_in_boxes(mask, doubtful)
    assert set(kept[:10].ravel()) == {SKY}
    assert set(kept[32:48, 22:38].ravel()) == {UNLABELLED}  # somebody may be there
    assert set(kept[12:, 50:].ravel()) == {NO_TRAFFIC}


def test_a_building_that_is_cold_and_bright_at_the_top_is_sky() -> None:
    mask = np.full(SHAPE, BUILDING, np.uint8)
    mask[50:] = ROAD
    rgb = np.full((*SHAPE, 3), 160, np.uint8)
    thermal = np.full(SHAPE, 150, np.uint8)
    assert (recognise_sky(mask, rgb, thermal) == mask).all()  # nothing is colder than the rest
    thermal[:12] = 10
    found = recognise_sky(mask, rgb, thermal)
    assert set(found[:9].ravel()) == {SKY}
    assert set(found[20:50].ravel()) == {BUILDING}
    assert set(found[50:].ravel()) == {ROAD}
    rgb[:12] = 60  # cold and dark: the sky of a night, or a roof
    assert SKY not in recognise_sky(mask, rgb, thermal)
    rgb[:12], thermal[:12], thermal[25:31, 45:60] = 160, 150, 10  # cold and bright, but not at the top
    assert SKY not in recognise_sky(mask, rgb, thermal)


def test_doubtful_buildings_are_leaves_walls_or_unknown_by_their_colour() -> None:
    mask = np.full(SHAPE, BUILDING, np.uint8)
    mask[50:] = ROAD
    rgb = np.full((*SHAPE, 3), 160, np.uint8)
    rgb[:50, :25], rgb[:50, 55:] = (120, 150, 110), (190, 160, 150)
    found = recognise_leaves(mask, rgb)
    assert set(found[10:40, :15].ravel()) == {VEGETATION}
    assert set(found[10:40, 65:].ravel()) == {BUILDING}
    assert set(found[10:40, 35:45].ravel()) == {UNLABELLED}
    assert set(found[50:].ravel()) == {ROAD}
    assert set(recognise_leaves(np.full(SHAPE, BUILDING, np.uint8), rgb).ravel()) == {UNLABELLED}  # no road


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("001", "maps/001.png"),
        ("train/001", "train/maps/001.png"),
        ("train/001", "maps/train/001.png"),
        ("film/000030", "labels/film/maps/00030.png"),
    ],
)
def test_a_map_is_found_beside_its_images(tmp_path: Path, name: str, file: str) -> None:
    assert find_label_map(tmp_path, name, "maps") is None
    write_map(tmp_path / file, np.zeros(SHAPE, np.uint8))
    assert find_label_map(tmp_path, name, "maps") == tmp_path / file


def test_a_map_that_ends_early_or_is_coloured_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "001.png"
    write_map(path, np.random.default_rng(0).integers(0, 19, SHAPE, dtype=np.uint8))
    assert read_label_map(path, (30, 40)).shape == (30, 40)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(SourceError, match="001.png.*ends early.*repair it"):
        read_label_map(path, SHAPE)
    write_map(path, np.zeros((*SHAPE, 3), np.uint8))
    with pytest.raises(SourceError, match="001.png.*one 8-bit channel.*repair it"):
        read_label_map(path, SHAPE)
    path.unlink()
    with pytest.raises(SourceError, match="001.png.*No such file"):
        read_label_map(path, SHAPE)
