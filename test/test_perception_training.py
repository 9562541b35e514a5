"""Training the perception network: labels, pseudo-boxes, crops, and whole tiny runs."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mock_detector import write_detector
from training_data import write_pairs, write_settings

from sage_fusion_ros.cli.main import main
from sage_fusion_ros.engines.card import read_card
from sage_fusion_ros.errors import ParameterError, SourceError
from sage_fusion_ros.pipeline.classes import DRIVING_CLASSES
from sage_fusion_ros.pipeline.network import NetworkOptions
from sage_fusion_ros.pipeline.perceive import PerceptionChoice, load_perceiver
from sage_fusion_ros.sources.base import SceneTruth
from sage_fusion_ros.training.config import AugmentSettings, read_settings
from sage_fusion_ros.training.pairs import StoredPair
from sage_fusion_ros.training.perception.assemble import build_sampler
from sage_fusion_ros.training.perception.boxes import Boxes, drawn_boxes, join_boxes
from sage_fusion_ros.training.perception.crops import CropSampler
from sage_fusion_ros.training.perception.label_maps import NO_TRAFFIC
from sage_fusion_ros.training.perception.labels import Labels, truth_labels
from sage_fusion_ros.training.perception.pool import FusedPool, FusedSample, LabelledPair
from sage_fusion_ros.training.perception.pseudo_boxes import merge, views
from sage_fusion_ros.training.perception.settings import PerceptionSettings
from sage_fusion_ros.training.prefetch import Prefetched

ROAD, PERSON, CAR = 0, 11, 13
SMALL = {
    "pool": 4,
    "refresh": 0.5,
    "fusion": ["sage_fast"],
    "fusion_shares": [1.0],
    "input_side": 96,
    "smallest": 0.8,
    "largest": 1.2,
    "rgb_dead": 0.2,
    "thermal_alone": 0.2,
}


class OneSample:
    """A pool of a single fused image."""

    def __init__(self, sample: FusedSample) -> None:
        self._sample = sample

    def at(self, step: int) -> list[FusedSample]:
        return [self._sample]


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    return write_detector(tmp_path / "detector.onnx")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six pairs with label maps of both kinds and drawn boxes in two of them."""
    root = write_pairs(tmp_path / "pairs")
    for folder, value in (("seg_cityscapes19", ROAD), ("seg_msrs9", 2)):
        (root / folder).mkdir()
        for index in range(6):
            mask = np.full((64, 80), 255, np.uint8)
            mask[40:] = value
            cv2.imwrite(str(root / folder / f"{index:03d}.png"), mask)
    boxes = {
        "categories": [{"id": 1, "name": "People"}],
        "images": [{"id": index, "file_name": f"{index:03d}.png"} for index in (1, 2)],
        "annotations": [{"image_id": index, "category_id": 1, "bbox": [10, 20, 30, 12]} for index in (1, 2)],
    }
    (root / "boxes_coco.json").write_text(json.dumps(boxes), encoding="utf-8")
    return root


def train(data: Path, detector: Path, tmp_path: Path, out: str, *more: str, **changes: object) -> int:
    config = write_settings(tmp_path / f"{out}.yaml", "perception", perception=SMALL, **changes)
    inputs = ["--data", str(data), "--detector", str(detector)]
    return main(["train", "perception", "--config", str(config), *inputs, "--out", str(tmp_path / out), *more])


def test_a_tiny_run_is_trained_resumed_and_becomes_a_model(data: Path, detector: Path, tmp_path: Path) -> None:
    assert train(data, detector, tmp_path, "whole", steps=4) == 0
    assert train(data, detector, tmp_path, "parts", "--steps", "4", steps=4, checkpoint_every=1) == 0
    whole, parts = (torch.load(tmp_path / run / "checkpoint.pt", weights_only=True) for run in ("whole", "parts"))
    assert all(torch.equal(whole["ema"][name], parts["ema"][name]) for name in whole["ema"])
    assert whole["notes"]["detector_sha256"]
    folder = tmp_path / "models" / "seer"
    assert main(["export", str(tmp_path / "whole" / "checkpoint.pt"), "--output", str(folder)]) == 0
    card = read_card(folder)
    assert (card.task, card.input_side, card.detection_classes) == ("perception", 96, DRIVING_CLASSES)
    options = NetworkOptions(device="cpu", warm_up_size=(64, 80))
    perceiver = load_perceiver(PerceptionChoice(perception_model=str(folder)), options)
    assert perceiver is not None
    image = np.zeros((64, 80, 3), np.uint8)
    mask, found = perceiver.perceive(image, mask=True, detections=True, score_threshold=0.3, iou_threshold=0.65)
    perceiver.close()
    assert mask is not None
    assert mask.shape == (64, 80)
    assert found is not None
    fixed = ["--output", str(tmp_path / "fixed"), "--size"]
    assert main(["export", str(tmp_path / "whole" / "checkpoint.pt"), *fixed, "64x96"]) == 0
    assert main(["export", str(tmp_path / "whole" / "checkpoint.pt"), *fixed, "60x96"]) == 2


def test_an_interrupted_run_goes_on_with_the_same_pool_and_the_same_bits(
    data: Path, detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sage_fusion_ros.training.loop import Trainer

    assert train(data, detector, tmp_path, "whole", steps=4) == 0
    run = Trainer.run
    monkeypatch.setattr(Trainer, "run", lambda trainer: run(trainer, until=2))
    assert train(data, detector, tmp_path, "parts", steps=4) == 130
    monkeypatch.undo()
    assert train(data, detector, tmp_path, "parts", "--resume", steps=4) == 0
    whole, parts = (torch.load(tmp_path / run / "checkpoint.pt", weights_only=True) for run in ("whole", "parts"))
    assert all(torch.equal(whole["model"][name], parts["model"][name]) for name in whole["model"])


def test_a_detector_s_features_can_be_hints(data: Path, detector: Path, tmp_path: Path) -> None:
    given = {"terms": {"relations": 5.0}, "crop": 64, "steps": 2}
    chosen = {**SMALL, "hint_tensors": ["s16_raw"]}
    config = write_settings(tmp_path / "s.yaml", "perception", **{**given, "perception": chosen})
    inputs = ["--data", str(data), "--detector", str(detector), "--out", str(tmp_path / "run")]
    assert main(["train", "perception", "--config", str(config), *inputs]) == 0
    header = (tmp_path / "run" / "log.csv").read_text().splitlines()[0]
    assert "relations" in header.split(",")


def test_pseudo_boxes_are_kept_and_those_of_other_detectors_refused(
    data: Path, detector: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, detector, tmp_path, "run", steps=1) == 0
    cache = tmp_path / "run" / "pseudo_boxes.json"
    kept = json.loads(cache.read_text())
    assert len(kept["boxes"]) == 6
    assert all(0.05 <= score <= 1 for rows in kept["boxes"].values() for _, _, score in rows)
    assert any(rows for rows in kept["boxes"].values())  # the mock sees people where an image is bright
    cache.write_text(json.dumps({**kept, "key": "others"}))
    (tmp_path / "run" / "checkpoint.pt").unlink()
    assert train(data, detector, tmp_path, "run", steps=1) == 2
    assert "of other detectors" in capsys.readouterr().err
    cache.write_text("{")
    assert train(data, detector, tmp_path, "run", steps=1) == 2
    assert "remove the file" in capsys.readouterr().err


def test_what_is_missing_is_named(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_settings(tmp_path / "s.yaml", "perception", perception=SMALL)
    out = ["--out", str(tmp_path / "run")]
    assert main(["train", "perception", "--config", str(config), "--data", str(data), *out]) == 2
    assert "--detector" in capsys.readouterr().err
    config = write_settings(tmp_path / "f.yaml", "sage_fast")
    given = ["--data", str(data), "--detector", "d.onnx"]
    assert main(["train", "sage_fast", "--config", str(config), *given, *out]) == 2
    assert "leave --detector out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"fusion": ("a",), "fusion_shares": (0.5, 0.5)}, "fusion_shares"),
        ({"rgb_alone": 0.6, "rgb_dead": 0.6}, "at most 1 in all"),
        ({"pool": 0}, "pool"),
        ({"input_side": 100}, "input_side"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, object], named: str) -> None:
    with pytest.raises(ParameterError, match=named):
        PerceptionSettings(**changes)


def test_drawn_boxes_go_before_pseudo_boxes_of_the_same_classes(data: Path) -> None:
    drawn = drawn_boxes(data)
    assert sorted(drawn) == ["001", "002"]
    pseudo = Boxes.of([((0, 0, 9, 9), "person", 0.9), ((1, 1, 5, 5), "bus", 0.5), ((1, 1, 5, 5), "kite", 0.5)])
    joined = join_boxes(drawn["001"], pseudo)
    assert joined.xyxy.tolist() == [[10, 20, 40, 32], [1, 1, 5, 5]]
    assert [DRIVING_CLASSES[index] for index in joined.classes] == ["person", "bus"]
    assert joined.confidence.tolist() == [1.0, 0.5]
    assert len(join_boxes(None, pseudo).classes) == 2
    assert len(pseudo.above(0.6).classes) == 1


def test_a_scene_s_truth_becomes_labels_without_what_nobody_could_see() -> None:
    boxes = np.array([[0, 0, 20, 40], [0, 0, 3, 9], [5, 5, 30, 30], [5, 5, 30, 30]], np.float32)
    truth = SceneTruth(np.zeros((64, 80), np.uint8), boxes, ["rider", "person", "car", "traffic light"])
    labels = truth_labels(truth)
    assert [DRIVING_CLASSES[index] for index in labels.boxes.classes] == ["person", "car"]
    empty = SceneTruth(np.zeros((64, 80), np.uint8), np.zeros((0, 4), np.float32), [])
    assert len(truth_labels(empty).boxes.classes) == 0


def test_boxes_of_one_thing_become_one() -> None:
    xyxy = np.array([[0, 0, 10, 20], [1, 0, 11, 20], [50, 50, 60, 70]], np.float32)
    rows = merge(xyxy, np.array([0.9, 0.3, 0.4], np.float32), np.array([0, 0, 0]))
    assert [row[2] for row in rows] == [pytest.approx(0.9), pytest.approx(0.4)]
    assert rows[0][0] == pytest.approx([0.25, 0, 10.25, 20])
    assert len(merge(xyxy[:2], np.array([0.9, 0.3], np.float32), np.array([0, 2]))) == 2
    assert merge(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)) == []


@given(st.integers(2, 900), st.integers(2, 900))
def test_tiles_lie_in_the_image_and_cover_it(height: int, width: int) -> None:
    seen = np.zeros((height, width), bool)
    for top, left, rows, columns in views(height, width)[1:]:
        assert top >= 0 <= left
        assert top + rows <= height
        assert left + columns <= width
        seen[top : top + rows, left : left + columns] = True
    assert seen.all() or min(height, width) < 10


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000))
def test_image_mask_and_boxes_of_a_crop_stay_together(seed: int) -> None:
    image = np.zeros((120, 160, 3), np.uint8)
    mask = np.zeros((120, 160), np.uint8)
    image[40:80, 60:100] = 255
    mask[40:80, 60:100] = PERSON
    boxes = Boxes.of([((60, 40, 100, 80), "person", 1.0)])
    chosen = PerceptionSettings(input_side=160, smallest=0.7, largest=2.0)
    sampler = CropSampler(OneSample(FusedSample(image, Labels(mask, boxes), image)), 1, 128, chosen, seed)
    batch = sampler(0)
    assert batch.image.shape == (1, 3, 128, 128)
    assert batch.mask.shape == (1, 32, 32)
    person = batch.mask[0] == PERSON
    if batch.confidence.max() == 0:  # cut away, or too little of it left
        assert person.float().mean() < 0.35
        return
    left, top, right, bottom = batch.boxes[0, 0].tolist()
    rows, columns = torch.nonzero(person, as_tuple=True)
    assert 4 * int(columns.min()) == pytest.approx(left, abs=4.5)
    assert 4 * int(rows.min()) == pytest.approx(top, abs=4.5)
    assert 4 * (int(columns.max()) + 1) == pytest.approx(right, abs=4.5)
    assert 4 * (int(rows.max()) + 1) == pytest.approx(bottom, abs=4.5)
    middle = batch.image[0, :, int((top + bottom) / 2), int((left + right) / 2)]
    assert middle.min() > 0.5


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_the_boxes_of_a_mosaic_lie_on_what_they_are_of(seed: int) -> None:
    image = np.zeros((120, 160, 3), np.uint8)
    mask = np.zeros((120, 160), np.uint8)
    image[40:80, 60:100] = 255
    mask[40:80, 60:100] = PERSON
    boxes = Boxes.of([((60, 40, 100, 80), "person", 1.0)])
    chosen = PerceptionSettings(input_side=160, smallest=0.9, largest=1.1, mosaic=1.0)
    batch = CropSampler(OneSample(FusedSample(image, Labels(mask, boxes), image)), 1, 256, chosen, seed)(0)
    assert batch.image.shape == (1, 3, 256, 256)
    found = batch.confidence[0] > 0
    assert found.sum() == 4  # the window is as large as the image: each quarter has it whole
    quarters = set()
    for left, top, right, bottom in batch.boxes[0][found].tolist():
        assert left // 128 == (right - 1e-3) // 128
        assert top // 128 == (bottom - 1e-3) // 128
        quarters.add((left // 128, top // 128))
        x, y = int((left + right) / 2), int((top + bottom) / 2)
        assert batch.image[0, :, y, x].min() > 0.5
        assert batch.mask[0, y // 4, x // 4] == PERSON
    assert len(quarters) == 4


def test_rgb_images_alone_teach_what_is_nobody(data: Path, detector: Path, tmp_path: Path) -> None:
    rgb_only = tmp_path / "anything"
    (rgb_only / "inside").mkdir(parents=True)
    cv2.imwrite(str(rgb_only / "inside" / "dark.png"), np.full((90, 70, 3), 20, np.uint8))
    cv2.imwrite(str(rgb_only / "large.jpg"), np.full((100, 2000, 3), 20, np.uint8))
    chosen = {**SMALL, "rgb_only": ["anything"]}
    config = write_settings(tmp_path / "s.yaml", "perception", perception=chosen)
    settings_read = read_settings(config, "perception")
    sampler, pairs = build_sampler(settings_read, [data, rgb_only], [detector], tmp_path / "run")
    lone = [pair for pair in pairs if pair.name.startswith("anything/")]
    assert [pair.name for pair in lone] == ["anything/inside/dark.png", "anything/large.jpg"]
    assert lone[1].rgb.shape == (50, 1000, 3)
    assert (sampler(0).mask == NO_TRAFFIC).any()
    with pytest.raises(SourceError, match="rgb_only names anything, which --data does not give"):
        build_sampler(settings_read, [data], [detector], tmp_path / "run")
    empty = tmp_path / "none" / "anything"
    empty.mkdir(parents=True)
    with pytest.raises(SourceError, match="holds no images"):
        build_sampler(settings_read, [data, empty], [detector], tmp_path / "run")


def test_a_lone_rgb_image_is_shown_as_it_is_or_with_a_dead_thermal_camera() -> None:
    class Shows:
        def fuse(self, rgb: np.ndarray, thermal: np.ndarray) -> np.ndarray:
            assert thermal.std() < 6  # nothing but a shutter's noise
            return np.full_like(rgb, 7)

    rgb = np.full((64, 80, 3), 120, np.uint8)
    pair = StoredPair("anything/x", rgb, rgb[..., 0], np.zeros((64, 80), np.uint8))
    labels = Labels(np.full((64, 80), NO_TRAFFIC, np.uint8), Boxes.of([]))
    chosen = PerceptionSettings(pool=24, fusion=("m",), fusion_shares=(1.0,), thermal_alone=0.8)
    pool = FusedPool([LabelledPair(pair, labels, rgb_only=True)], [], [Shows()], chosen, AugmentSettings(), 1)
    levels = {int(sample.image.mean()) for sample in pool.at(0)}
    assert levels == {120, 7}


def test_a_sampler_one_step_ahead_gives_the_same_batches_and_its_errors() -> None:
    def sampler(step: int) -> int:
        if step == 3:
            raise SourceError("the disk is gone")
        return step * step

    ahead = Prefetched(sampler)
    assert [ahead(step) for step in (0, 1, 2)] == [0, 1, 4]
    with pytest.raises(SourceError, match="disk"):
        ahead(3)
    assert ahead(1) == 1
