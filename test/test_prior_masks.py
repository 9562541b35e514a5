"""Masks of a pair: kept as bits, and cut out of label maps, drawings and the perception model's mask."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from mock_perception import make_perception
from prior_data import stored_pair

from sage_fusion_ros.errors import ModelError, ParameterError, SourceError
from sage_fusion_ros.training.pairs import StoredPair
from sage_fusion_ros.training.priors.choose import load_prior
from sage_fusion_ros.training.priors.masks import PackedMasks, PairMasks, connected_regions, largest

SIZE = (24, 30)


def write_image(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)
    return path


def masks_of(spec: str, root: Path, pair: StoredPair) -> PairMasks:
    return load_prior(spec, [root]).masks(pair.name, pair.rgb, pair.thermal)


@given(arrays.arrays(bool, st.tuples(st.integers(0, 4), st.integers(1, 9), st.integers(1, 35))), st.data())
def test_packed_masks_come_back_whole_and_in_part(masks: np.ndarray, data: st.DataObject) -> None:
    packed = PackedMasks.pack(masks)
    assert packed.shape == masks.shape
    assert np.array_equal(packed.unpack(), masks)
    slices = []
    for length in masks.shape[1:]:
        start = data.draw(st.integers(0, length))
        slices.append(slice(start, data.draw(st.integers(start, length))))
    assert np.array_equal(packed.unpack(*slices), masks[:, slices[0], slices[1]])


def test_packed_masks_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match="for a width of 17"):
        PackedMasks(np.zeros((1, 4, 2), np.uint8), 17)


@given(arrays.arrays(bool, (30, 4, 5)))
def test_the_largest_masks_are_kept_and_no_empty_one(masks: np.ndarray) -> None:
    kept = largest(masks)
    areas = kept.sum(axis=(1, 2))
    assert len(kept) == min(20, int(masks.any(axis=(1, 2)).sum()))
    assert (np.diff(areas) <= 0).all()
    assert sorted(areas) == sorted(np.sort(masks.sum(axis=(1, 2)))[::-1][: len(kept)])


def test_a_pair_of_masks_has_one_size() -> None:
    masks = np.ones((1, *SIZE), bool)
    assert PairMasks(masks, masks[:0]).thermal.shape == (0, *SIZE)
    with pytest.raises(ValueError, match="of one size"):
        PairMasks(masks, masks[:, 1:])
    with pytest.raises(ValueError, match="expected bool"):
        PairMasks(masks, masks.astype(np.uint8))


def test_regions_are_connected_and_large_enough() -> None:
    ids = np.full(SIZE, 255, np.uint8)
    ids[:10, :10] = 3
    ids[10:15, 10:15] = 3  # touches the other at a corner
    ids[20:24, 20:25] = 3
    ids[:6, 20:30] = 4
    ids[:2, 12:14] = 5
    found = connected_regions(ids, ignore=(255,), least_area=10)
    assert found.sum(axis=(1, 2)).tolist() == [125, 60, 20]
    assert np.array_equal(found[1], ids == 4)
    assert connected_regions(ids, ignore=(255, 3, 4), least_area=10).shape == (0, *SIZE)


def test_label_maps_give_both_cameras_their_regions(tmp_path: Path) -> None:
    ids = np.zeros(SIZE, np.uint8)
    ids[:, 15:] = 2
    ids[:, 29] = 255
    root = tmp_path / "set"
    for kind in ("seg_cityscapes19", "seg_msrs9"):
        write_image(root / kind / "001.png", ids)
    pair = stored_pair()
    found = masks_of("labels:seg_cityscapes19", root, pair)
    assert [np.array_equal(found.rgb[i], ids == label) for i, label in enumerate((0, 2))] == [True, True]
    assert np.array_equal(found.thermal, found.rgb)
    # MSRS's 0 is what none of its classes is; ids may be named, and a map of another size is resized.
    assert np.array_equal(masks_of("labels:seg_msrs9", root, pair).rgb, [ids == 2])
    assert np.array_equal(masks_of("labels:seg_msrs9:2,255", root, pair).rgb, [ids == 0])
    assert masks_of("labels:seg_msrs9", root, stored_pair(size=(48, 60))).rgb.shape == (1, 48, 60)


def test_pairs_without_a_map_have_no_masks_and_damaged_maps_are_named(tmp_path: Path) -> None:
    root = tmp_path / "set"
    path = write_image(root / "maps" / "001.png", np.zeros(SIZE, np.uint8))
    assert masks_of("labels:maps", root, stored_pair("set/002")).rgb.shape == (0, *SIZE)
    assert masks_of("labels:maps", root, stored_pair("other/001")).rgb.shape == (0, *SIZE)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SourceError, match="001.png.*ends early"):
        masks_of("labels:maps", root, stored_pair())


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_what_is_drawn_is_a_mask_for_each_region(tmp_path: Path, channels: int) -> None:
    drawing = np.zeros((*SIZE, channels), np.uint8)
    drawing[2:4, 2:5, 0] = 1  # small and faint, but somebody drew it
    drawing[10:20, 10:20] = 255
    drawing[..., 3:] = 255  # opaque everywhere
    root = tmp_path / "set"
    write_image(root / "ir_mask" / "001.png", drawing.squeeze())
    found = masks_of("hand:ir_mask", root, stored_pair())
    assert found.thermal.sum(axis=(1, 2)).tolist() == [100, 6]
    assert np.array_equal(found.rgb, found.thermal)


def test_each_camera_may_have_drawings_of_its_own(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for folder, rows in (("vi_mask", 5), ("ir_mask", 9)):
        drawing = np.zeros(SIZE, np.uint8)
        drawing[:rows] = 255
        path = write_image(root / folder / "001.png", drawing)
    found = masks_of("hand:vi_mask,ir_mask", root, stored_pair())
    assert (found.rgb.sum(), found.thermal.sum()) == (5 * 30, 9 * 30)
    path.write_bytes(b"no image")
    with pytest.raises(SourceError, match="ir_mask.*001.png can't be read.*repair it"):
        masks_of("hand:vi_mask,ir_mask", root, stored_pair())


def test_the_perception_model_sees_each_camera_by_itself(tmp_path: Path) -> None:
    model = make_perception(tmp_path / "models" / "mine")
    rgb, thermal = np.zeros((64, 96, 3), np.uint8), np.zeros((64, 96), np.uint8)
    rgb[:, :32] = 255
    thermal[:32] = 255
    prior = load_prior(f"perception:{model}", device="cpu")
    found = prior.masks("set/001", rgb, thermal)
    assert [mask.sum() for mask in found.rgb] == [64 * 64, 64 * 32]
    assert found.rgb[1, :, :32].all()
    assert found.thermal[:, :32].sum(axis=(1, 2)).tolist() in ([32 * 96, 0], [0, 32 * 96])
    assert prior.key
    assert load_prior("perception", models_path=[tmp_path / "none"], device="cpu").key != prior.key


def test_a_perception_model_without_a_mask_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="gives no mask"):
        load_prior(f"perception:{make_perception(tmp_path / 'boxes', mask_classes=())}", device="cpu")


def test_none_gives_no_masks() -> None:
    found = load_prior("none").masks("set/001", np.zeros((*SIZE, 3), np.uint8), np.zeros(SIZE, np.uint8))
    assert found.rgb.shape == found.thermal.shape == (0, *SIZE)


@pytest.mark.parametrize("spec", ["", "no", "sam", "sam:", "labels:", "hand:", "hand:a,", "hand:a,b,c", "perception:"])
def test_an_unknown_prior_names_those_there_are(spec: str) -> None:
    with pytest.raises(ParameterError, match=f"the prior is '{spec}'; there are none, sam:FOLDER"):
        load_prior(spec)


@pytest.mark.parametrize("ids", ["road", "1,", "256", "-1"])
def test_ids_to_ignore_are_numbers(ids: str) -> None:
    with pytest.raises(ParameterError, match="ids of 0 to 255"):
        load_prior(f"labels:maps:{ids}")
