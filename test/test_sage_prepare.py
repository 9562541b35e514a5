"""Pairs with masks and labels, damaged files, and the share that is held back."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training_data import write_pairs

from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.sources.split import SplitSettings
from sage_fusion_ros.training.damage import DamageLog
from sage_fusion_ros.training.pairs import SYNTHETIC, StoredPair, load_pairs
from sage_fusion_ros.training.priors.masks import PairMasks
from sage_fusion_ros.training.sage.prepare import hold_out, prepare_pairs, read_labels

SHAPE = (64, 80)
few_examples = settings(max_examples=40, deadline=None)


def stored(name: str, shape: tuple[int, int] = SHAPE) -> StoredPair:
    grey = np.zeros(shape, np.uint8)
    return StoredPair(name, np.zeros((*shape, 3), np.uint8), grey, grey)


def write_labels(root: Path, name: str, ids: np.ndarray) -> Path:
    path = root / "seg_x" / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), ids)
    return path


def truncate(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-30])
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = write_pairs(tmp_path / "set", count=4, size=SHAPE)
    for index in range(3):
        write_labels(root, f"{index:03d}", np.full(SHAPE, index, np.uint8))
    return root


def test_label_maps_are_found_by_name_and_missing_ones_are_no_error(root: Path) -> None:
    pairs = [*load_pairs([root], SplitSettings(), 1), stored(f"{SYNTHETIC}/night-1")]
    found = read_labels(pairs, [root, Path(SYNTHETIC)], "seg_x", 19, DamageLog())
    assert sorted(found) == ["set/000", "set/001", "set/002"]
    assert (found["set/002"] == 2).all()
    assert read_labels(pairs, [root], "seg_unheard", 19, DamageLog()) == {}


def test_label_maps_get_the_images_size(root: Path) -> None:
    write_labels(root, "000", np.repeat([[3, 255]], 32, axis=0).repeat(20, axis=1).astype(np.uint8))
    labels = read_labels(load_pairs([root], SplitSettings(), 1), [root], "seg_x", 19, DamageLog())["set/000"]
    assert labels.shape == SHAPE
    assert (labels[:, :40] == 3).all()
    assert (labels[:, 40:] == 255).all()


def test_ids_the_task_network_does_not_know_are_refused_by_file(root: Path) -> None:
    ids = np.full(SHAPE, 2, np.uint8)
    ids[3, 4], ids[5, 6], ids[7, 8] = 3, 200, 255
    path = write_labels(root, "001", ids)
    pairs = load_pairs([root], SplitSettings(), 1)
    with pytest.raises(SourceError, match=f"{path}.*ids 3, 200, .*0 to 2"):
        read_labels(pairs, [root], "seg_x", 3, DamageLog())
    damage = DamageLog(skip=True)
    assert sorted(read_labels(pairs, [root], "seg_x", 3, damage)) == ["set/000", "set/002"]
    assert len(damage.entries) == 1


def test_a_damaged_image_is_an_error_that_names_it_or_is_listed(root: Path) -> None:
    path = truncate(root / "ir" / "002.png")
    with pytest.raises(SourceError, match=f"{path}.*ends early.*repair.*remove the pair") as caught:
        load_pairs([root], SplitSettings(), 1)
    assert "skip" not in str(caught.value)  # not every recipe has the setting
    with pytest.raises(SourceError, match=f"{path}.*sage.skip_damaged: true leaves out"):
        load_pairs([root], SplitSettings(), 1, DamageLog(setting="sage.skip_damaged"))
    damage = DamageLog(skip=True)
    assert [pair.name for pair in load_pairs([root], SplitSettings(), 1, damage)] == ["set/000", "set/001", "set/003"]
    assert damage.lines()[0] == "1 damaged, left out:"
    assert "set/002" in damage.lines()[1]
    assert str(path) in damage.lines()[1]


def test_damage_does_not_shift_what_is_kept_for_judging(root: Path) -> None:
    split = SplitSettings(every_fifth=("set",))
    assert [pair.name for pair in load_pairs([root], split, 1)] == ["set/001", "set/002", "set/003"]
    truncate(root / "vi" / "001.png")
    assert [p.name for p in load_pairs([root], split, 1, DamageLog(skip=True))] == ["set/002", "set/003"]


def test_nothing_left_is_an_error_even_when_damage_is_skipped(root: Path) -> None:
    for path in sorted((root / "vi").iterdir()):
        truncate(path)
    with pytest.raises(SourceError, match="nothing to train on.*000.png.*ends early"):
        load_pairs([root], SplitSettings(), 1, DamageLog(skip=True))


def test_a_video_that_cannot_be_read_is_named_or_listed(tmp_path: Path) -> None:
    root = tmp_path / "films"
    for folder, colour in (("visible", 3), ("infrared", 3)):
        (root / folder).mkdir(parents=True)
        writer = cv2.VideoWriter(str(root / folder / "good.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (80, 64))
        for level in range(3):
            writer.write(np.full((64, 80, colour), 40 * level, np.uint8))
        writer.release()
        (root / folder / "bad.avi").write_bytes(b"no video")
    with pytest.raises(SourceError, match="bad.avi.*no frame.*repair or remove"):
        load_pairs([root], SplitSettings(), 1)
    damage = DamageLog(skip=True)
    names = [pair.name for pair in load_pairs([root], SplitSettings(), 1, damage)]
    assert names == [f"films/good/{index:06d}" for index in range(3)]
    assert len(damage.entries) == 1


def test_a_damaged_label_map_is_an_error_that_names_it_or_is_listed(root: Path) -> None:
    path = truncate(root / "seg_x" / "001.png")
    pairs = load_pairs([root], SplitSettings(), 1)
    with pytest.raises(SourceError, match=f"{path}.*ends early.*repair"):
        read_labels(pairs, [root], "seg_x", 19, DamageLog())
    damage = DamageLog(skip=True)
    assert sorted(read_labels(pairs, [root], "seg_x", 19, damage)) == ["set/000", "set/002"]
    assert str(path) in damage.entries[0]


def test_pairs_masks_and_labels_come_together_by_name() -> None:
    pairs = [stored("set/a"), stored("set/b")]
    two, one = np.zeros((2, *SHAPE), bool), np.zeros((1, *SHAPE), bool)
    two[0, :20], two[1, 30:33], one[0, :, 7] = True, True, True
    masks, labels = {"set/b": PairMasks(two, one)}, {"set/a": np.full(SHAPE, 5, np.uint8)}
    first, second = prepare_pairs(pairs, masks, labels, DamageLog())
    assert (first.pair, second.pair) == tuple(pairs)
    assert len(first.rgb_masks) == len(first.thermal_masks) == 0
    assert first.rgb_masks.shape[1:] == SHAPE
    assert first.labels is labels["set/a"]
    assert (second.rgb_masks.unpack() == two).all()
    assert (second.thermal_masks.unpack() == one).all()
    assert second.labels is None


def test_masks_and_labels_of_another_size_are_named_or_left_out() -> None:
    wrong = np.ones((1, 32, 40), bool)
    masks, labels = {"set/a": PairMasks(wrong, wrong)}, {"set/a": np.zeros((32, 40), np.uint8)}
    with pytest.raises(SourceError, match="masks of the pair set/a are 40x32 pixels, its images 80x64"):
        prepare_pairs([stored("set/a")], masks, {}, DamageLog())
    with pytest.raises(SourceError, match="labels of the pair set/a are 40x32 pixels, its images 80x64"):
        prepare_pairs([stored("set/a")], {}, labels, DamageLog())
    damage = DamageLog(skip=True)
    (prepared,) = prepare_pairs([stored("set/a")], masks, labels, damage)
    assert len(prepared.rgb_masks) == len(prepared.thermal_masks) == 0
    assert prepared.labels is None
    assert len(damage.entries) == 2


names = st.lists(
    st.one_of(
        st.builds("set/{:04d}".format, st.integers(0, 999)),
        st.builds("set/train/{:04d}".format, st.integers(0, 999)),
        st.builds(
            "{}/clip{}/{:06d}".format, st.sampled_from(["films", "frames"]), st.integers(0, 4), st.integers(0, 9)
        ),
    ),
    min_size=1,
    max_size=60,
    unique=True,
)


def clip_of(name: str) -> str | None:
    return next((part for part in name.split("/")[1:-1] if part.startswith("clip")), None)


@few_examples
@given(names, st.floats(0, 1), st.integers(0, 9))
def test_hold_out_keeps_clips_together_and_something_to_train_on(found: list[str], share: float, seed: int) -> None:
    pairs = [stored(name, (1, 1)) for name in found]
    training, validation = hold_out(pairs, share, seed)
    assert training
    assert sorted(pair.name for pair in (*training, *validation)) == sorted(found)
    kept = {pair.name for pair in training}
    assert [pair.name for pair in training] == [name for name in found if name in kept]  # the order stays
    clips = [{clip_of(pair.name) for pair in side} - {None} for side in (training, validation)]
    assert not clips[0] & clips[1]
    if share == 0:
        assert not validation
    elif len({clip_of(name) or name for name in found}) > 1:
        assert validation


def test_hold_out_depends_on_names_and_seed_alone() -> None:
    pairs = [stored(f"set{index % 2}/{index:03d}", (1, 1)) for index in range(400)]
    held = {pair.name for pair in hold_out(pairs, 0.1, 1)[1]}
    assert [sum(name.startswith(group) for name in held) for group in ("set0", "set1")] == [20, 20]
    assert len({int(name[-3:]) // 40 for name in held}) > 4  # no run of neighbours
    assert {pair.name for pair in hold_out(pairs[::-1], 0.1, 1)[1]} == held
    assert {pair.name for pair in hold_out(pairs, 0.1, 2)[1]} != held
    more = [*pairs, *(stored(f"new/{index:03d}", (1, 1)) for index in range(10))]
    old = {pair.name for pair in hold_out(more, 0.1, 1)[1] if not pair.name.startswith("new")}
    assert old == held  # another set moves nothing from one side to the other
    assert held < {pair.name for pair in hold_out(pairs, 0.2, 1)[1]}


def test_one_clip_alone_is_all_for_training() -> None:
    pairs = [stored(f"films/clip/{index:06d}", (1, 1)) for index in range(9)]
    assert hold_out(pairs, 0.5, 1) == (pairs, [])
