"""A pair's whole way in torch against numpy's and OpenCV's: images, boxes, masks; step by step, and recorded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from unittest import mock

import cv2
import numpy as np
import onnx
import pytest
import torch
from fake_cuda import FakeTorch
from mock_models import make_model
from mock_perception import make_perception, write_yolov8
from onnx import helper

from sage_fusion_ros.engines.card import sha256_of
from sage_fusion_ros.engines.torch_engine import boxes as torch_boxes
from sage_fusion_ros.engines.torch_engine import pair, program
from sage_fusion_ros.errors import ImageFormatError, ModelError
from sage_fusion_ros.pipeline import fusion_pipeline
from sage_fusion_ros.pipeline.fuse import load_fuser
from sage_fusion_ros.pipeline.fusion_pipeline import FusionPipeline, Wants
from sage_fusion_ros.pipeline.network import NetworkOptions
from sage_fusion_ros.pipeline.perceive import PerceptionChoice, load_perceiver
from sage_fusion_ros.pipeline.registration import Coverage, Registered
from sage_fusion_ros.pipeline.thermal import ThermalNormaliser
from sage_fusion_ros.pipeline.types import Frame, FramePair
from sage_fusion_ros.sources.open import open_source

ALL = Wants(mask=True, detections=True)


def pipeline(name, fusion="sage_fast", perception="perception", size=(96, 128), colour="standard", **choice):
    options = NetworkOptions(name=name, device="cpu", threads=1, warm_up_size=size)
    perceiver = load_perceiver(PerceptionChoice(str(perception), **choice), options)
    return FusionPipeline(load_fuser(fusion, options, colour), ThermalNormaliser(), perceiver=perceiver)


def street(width, height, index=40):
    """A pair of the synthetic street, with people and cars in it."""
    source = open_source("synthetic", size=(width, height))
    found = source.read(index)
    source.close()
    thermal = np.clip((found.thermal.astype(np.float32) - 26315) / 6000 * 255, 0, 255).astype(np.uint8)
    return FramePair(Frame(0, "", found.rgb), Frame(0, "", thermal))


def noise_pair(height, width, seed=0):
    rng = np.random.default_rng(seed)
    side = max(height, width) / 12
    rgb, thermal = (
        cv2.normalize(cv2.GaussianBlur(rng.random(shape, np.float32), (0, 0), side), None, 0, white, cv2.NORM_MINMAX)
        for shape, white in (((height, width, 3), 255), ((height, width), 120))
    )
    return FramePair(Frame(0, "", rgb.astype(np.uint8)), Frame(0, "", thermal.astype(np.uint8)))


def alike(found, wanted):
    """For each box the most like it of the other ones: of boxes that are equally sure either may come first."""
    rest = list(range(len(found.scores)))
    order = []
    for corners, kind in zip(wanted.xyxy, wanted.class_ids, strict=True):
        far = [np.abs(found.xyxy[i] - corners).max() + 1e6 * (found.class_ids[i] != kind) for i in rest]
        order.append(rest.pop(int(np.argmin(far))))
    return order


def assert_same(found, wanted):
    """Fused within a level, masks equal on 999 of 1000 pixels, boxes within half a pixel."""
    assert found.fused.dtype == wanted.fused.dtype
    assert np.abs(found.fused.astype(int) - wanted.fused).max() <= 1
    assert (found.mask is None) == (wanted.mask is None)
    if wanted.mask is not None:
        assert found.mask.shape == wanted.mask.shape
        assert (found.mask != wanted.mask).mean() <= 1e-3
    assert (found.detections is None) == (wanted.detections is None)
    if wanted.detections is not None:
        assert len(found.detections.scores) == len(wanted.detections.scores)
        assert found.detections.xyxy.dtype == np.float32
        order = alike(found.detections, wanted.detections)
        np.testing.assert_allclose(found.detections.xyxy[order], wanted.detections.xyxy, atol=0.5)
        np.testing.assert_allclose(found.detections.scores[order], wanted.detections.scores, atol=0.01)
        np.testing.assert_array_equal(found.detections.class_ids[order], wanted.detections.class_ids)
        assert (np.diff(found.detections.scores) <= 0).all()
    assert (found.mask_classes, found.detection_classes) == (wanted.mask_classes, wanted.detection_classes)


@pytest.fixture(scope="module")
def ours():
    return pipeline("torch")


@pytest.fixture(scope="module")
def theirs():
    return pipeline("onnxruntime")


@pytest.fixture
def recorded(monkeypatch):
    """A GPU made of the CPU; see fake_cuda.py."""
    monkeypatch.setattr(program, "torch", FakeTorch())
    for module in (program, pair):
        monkeypatch.setattr(module, "records", lambda device: True)
    monkeypatch.setattr(pair, "RECORDED", 300)  # what suffices here; a CPU takes long for all against all


@pytest.mark.parametrize(("width", "height"), [(320, 240), (162, 98), (1024, 768)])
def test_a_street_is_seen_alike(ours, theirs, width, height):
    frames = street(width, height)
    found, wanted = ours.process(frames, ALL), theirs.process(frames, ALL)
    assert_same(found, wanted)
    assert len(np.unique(wanted.mask)) > 3, "there is something to see"
    assert "device" in found.timings_ms
    assert "device" not in wanted.timings_ms


def test_real_pairs_are_seen_alike(ours, theirs, shared_data):
    count = 0
    for folder in ("roadscene", "msrs"):
        source = open_source(str(shared_data / folder))
        for index in (0, 3):
            read = source.read(index)
            frames = FramePair(Frame(0, "", read.rgb), Frame(0, "", read.thermal))
            wanted = theirs.process(frames, ALL)
            assert_same(ours.process(frames, ALL), wanted)
            count += len(wanted.detections.scores)
    assert count > 3


def test_a_recording_sees_the_same_pair_after_pair(recorded, theirs):
    graphs = pipeline("torch", size=(240, 320))
    kept = []
    for index in (40, 140):
        frames = street(320, 240, index)
        found, wanted = graphs.process(frames, ALL), theirs.process(frames, ALL)
        assert_same(found, wanted)
        kept.append((found, found.fused.copy(), found.mask.copy()))
    for found, fused, mask in kept:
        np.testing.assert_array_equal(found.fused, fused)
        np.testing.assert_array_equal(found.mask, mask)


@pytest.mark.parametrize(
    "wants",
    [Wants(), Wants(mask=True), Wants(detections=True), Wants(fused=False, detections=True)],
    ids=["fused", "mask", "boxes", "boxes alone"],
)
def test_what_is_wanted_is_given_and_no_more(ours, theirs, wants):
    frames = street(320, 240)
    assert_same(ours.process(frames, wants), theirs.process(frames, wants))


@pytest.mark.long
def test_thresholds_may_change_between_pairs(recorded):
    graphs, theirs = pipeline("torch", size=(240, 320)), pipeline("onnxruntime")
    frames = street(320, 240)
    counts = []
    for score, overlap in ((0.3, 0.5), (0.05, 0.9), (0.6, 0.3)):
        for each in (graphs, theirs):
            each.score_threshold, each.iou_threshold = score, overlap
        found = graphs.process(frames, ALL)
        assert_same(found, theirs.process(frames, ALL))
        counts.append(len(found.detections.scores))
    assert counts[1] > counts[0] > counts[2] or len(set(counts)) == 3


# Of a mock whose input has a longer side of 64: enlarged, as it is, halved, made smaller by other factors.
@pytest.mark.parametrize("size", [(24, 40), (48, 64), (96, 128), (144, 192), (75, 130), (200, 90)])
@pytest.mark.parametrize("how", ["steps", "recorded"])
def test_sizes_and_scales(tmp_path, request, size, how):
    if how == "recorded":
        request.getfixturevalue("recorded")
    parts = {
        "fusion": make_model(tmp_path / "m", size_multiple=4),
        "perception": make_perception(tmp_path / "p", input_side=64),
        "size": size,
    }
    ours, theirs = pipeline("torch", **parts), pipeline("onnxruntime", **parts)
    for seed in range(2):
        frames = noise_pair(*size, seed)
        wanted = theirs.process(frames, ALL)
        assert_same(ours.process(frames, ALL), wanted)
        assert len(np.unique(wanted.mask)) == 2
        assert len(wanted.detections.scores) > 0


@pytest.mark.parametrize("classes", [{"mask_classes": ()}, {"detection_classes": ()}])
def test_a_network_with_one_of_the_two(tmp_path, classes):
    parts = {"perception": make_perception(tmp_path / "p", input_side=64, **classes)}
    frames = noise_pair(96, 128)
    assert_same(pipeline("torch", **parts).process(frames, ALL), pipeline("onnxruntime", **parts).process(frames, ALL))


class Half:
    """A registrar whose thermal image reaches the left half."""

    problem = ""

    def __init__(self, height, width, share):
        valid = np.zeros((height, width), np.uint8)
        valid[:, : int(width * share)] = 255
        self.coverage = Coverage.of(valid)

    def __call__(self, thermal, height, width):
        return Registered(thermal, self.coverage)


@pytest.mark.parametrize("how", ["steps", pytest.param("recorded", marks=pytest.mark.long)])
def test_where_thermal_does_not_reach_rgb_is_shown(request, how):
    if how == "recorded":
        request.getfixturevalue("recorded")
    ours, theirs = pipeline("torch", size=(240, 320)), pipeline("onnxruntime")
    frames = street(320, 240)
    for share in (0.5, 0.3, 1.0):  # another calibration, then one that reaches everywhere
        ours.registrar = theirs.registrar = Half(240, 320, share)
        found, wanted = ours.process(frames, ALL), theirs.process(frames, ALL)
        assert_same(found, wanted)
        if share < 1:
            np.testing.assert_array_equal(found.fused[:, 200:], frames.rgb.image[:, 200:])


@pytest.mark.long
def test_more_candidates_and_longer_chains_than_a_recording_holds(recorded, monkeypatch, theirs):
    graphs = pipeline("torch", size=(240, 320))
    frames = street(320, 240)
    theirs.score_threshold = graphs.score_threshold = 0.05
    wanted = theirs.process(frames, ALL)
    again = mock.Mock(side_effect=program.step_by_step)
    monkeypatch.setattr(pair, "step_by_step", again)
    for name in ("RECORDED", "ROUNDS"):
        graphs.fuser.engine._joined = graphs._joined = None
        with monkeypatch.context() as patch:
            patch.setattr(pair if name == "RECORDED" else torch_boxes, name, 1)
            assert_same(graphs.process(frames, ALL), wanted)
        assert again.call_count == 1
        again.reset_mock()
    theirs.score_threshold = 0.3


def test_the_first_pair_waits_for_nothing(monkeypatch, theirs):
    made = mock.Mock(side_effect=program.make_program)
    monkeypatch.setattr(pair, "make_program", made)
    ready = pipeline("torch", size=(240, 320))
    assert made.call_count == 3
    for wants in (Wants(), Wants(mask=True), Wants(detections=True), ALL):
        ready.process(street(320, 240), wants)
    again = FusionPipeline(ready.fuser, ThermalNormaliser(), perceiver=ready.perceiver)  # a parameter has changed
    again.process(street(320, 240), ALL)
    assert made.call_count == 3


def test_another_perceiver_is_joined_anew(tmp_path):
    ours, theirs = pipeline("torch"), pipeline("onnxruntime")
    frames = noise_pair(96, 128)
    ours.process(frames, ALL)
    other = {"perception": make_perception(tmp_path / "p", input_side=64)}
    ours.perceiver, theirs.perceiver = (pipeline(name, **other).perceiver for name in ("torch", "onnxruntime"))
    assert_same(ours.process(frames, ALL), theirs.process(frames, ALL))
    ours.perceiver = theirs.perceiver = None
    assert_same(ours.process(frames, ALL), theirs.process(frames, ALL))


def test_a_users_own_detector_looks_by_itself(tmp_path):
    own = {"detection_model": str(write_yolov8(tmp_path / "d.onnx")), "detection_classes": "coco"}
    ours, theirs = pipeline("torch", **own), pipeline("onnxruntime", **own)
    assert ours._joined[2] is not None
    assert not ours._joined[2].perceives
    frames = noise_pair(96, 128)
    assert_same(ours.process(frames, ALL), theirs.process(frames, ALL))


def test_networks_of_two_libraries_are_not_joined(tmp_path):
    mixed = pipeline("torch")
    mixed.perceiver = load_perceiver(PerceptionChoice(), NetworkOptions(device="cpu", threads=1))
    frames = noise_pair(96, 128)
    assert_same(mixed.process(frames, ALL), pipeline("onnxruntime").process(frames, ALL))
    assert not mixed._joined[2].perceives


@pytest.mark.parametrize(("pairs", "workers"), [(3, 1), (1, 2)], ids=["in turn", "side by side"])
def test_several_pairs_of_cameras_share_networks(theirs, pairs, workers):
    """Each with a thread and a calibration of its own, through the same two networks or two copies of them."""
    options = NetworkOptions(
        name="torch", device="cpu", threads=1, warm_up_size=(120, 160), pairs=pairs, workers=workers
    )
    fuser, perceiver = load_fuser("sage_fast", options), load_perceiver(PerceptionChoice(), options)
    frames = [street(160, 120, index) for index in (40, 90, 140)]
    registrars = [Half(120, 160, share) for share in (0.3, 0.5, 0.8)]
    lines = [
        FusionPipeline(each.sharing(), ThermalNormaliser(), registrar=registrar, perceiver=other.sharing())
        for each, other, registrar in zip([fuser] * 3, [perceiver] * 3, registrars, strict=True)
    ]
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(lambda i: lines[i % 3].process(frames[i % 3], ALL), range(9)))
    for i, each in enumerate(found):
        theirs.registrar = registrars[i % 3]
        wanted = theirs.process(frames[i % 3], ALL)
        theirs.registrar = None
        assert "device" in each.timings_ms
        assert_same(each, wanted)


def test_one_camera_alone(ours, theirs):
    frames = street(320, 240)
    for frame in (frames.rgb, frames.thermal):
        assert_same(ours.process_alone(frame, wants=ALL), theirs.process_alone(frame, wants=ALL))


def test_the_tint_comes_after(ours, theirs):
    frames = street(320, 240)
    for each in (ours, theirs):
        each.thermal_tint = 0.7
    found, wanted = ours.process(frames, ALL), theirs.process(frames, ALL)
    for each in (ours, theirs):
        each.thermal_tint = 0.0
    assert np.abs(found.fused.astype(int) - wanted.fused).max() <= 2
    np.testing.assert_array_equal(found.mask, wanted.mask)
    assert np.abs(found.fused.astype(int) - ours.process(frames, ALL).fused).max() > 10


def test_the_published_colours_go_the_other_way():
    ours = pipeline("torch", perception="", colour="published")
    assert ours._joined[2] is None
    assert "fuse" in ours.process(noise_pair(32, 32)).timings_ms


def test_what_is_no_number_is_refused(tmp_path):
    folder = make_model(tmp_path / "m")
    network = onnx.load(folder / "model.onnx")
    network.graph.node[0].output[0] = "x"
    network.graph.node.append(helper.make_node("Sub", ["x", "one"], ["y"]))
    network.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.5), "one"))
    network.graph.node.append(helper.make_node("Sqrt", ["y"], ["fused_luma"]))
    onnx.save(network, folder / "model.onnx")
    card = (folder / "card.yaml").read_text()
    old = card.split("sha256: ")[1].split()[0]
    (folder / "card.yaml").write_text(card.replace(old, sha256_of(folder / "model.onnx")))
    with mock.patch("sage_fusion_ros.pipeline.fuse._warm_up"), mock.patch.object(fusion_pipeline.Fuser, "fuse"):
        ours = pipeline("torch", folder, "")
    dark = np.zeros((16, 16), np.uint8)
    with pytest.raises(ModelError, match="gave no numbers .* for a 16x16 pair"):
        ours.process(FramePair(Frame(0, "", np.dstack([dark] * 3)), Frame(0, "", dark)))


def test_small_pairs_are_refused_and_large_ones_without_memory(ours, monkeypatch):
    with pytest.raises(ImageFormatError, match="too small to fuse"):
        ours.process(noise_pair(6, 64))
    monkeypatch.setattr(pair.TorchPair, "start", mock.Mock(side_effect=torch.OutOfMemoryError("no memory")))
    with pytest.raises(ModelError, match="sage_fast failed on a 64x64 pair: no memory"):
        ours.process(noise_pair(64, 64))


def test_what_can_not_be_joined_runs_one_after_the_other(monkeypatch, caplog, theirs):
    monkeypatch.setattr(pair.TorchPair, "prepare", mock.Mock(side_effect=torch.OutOfMemoryError("no memory")))
    ours = pipeline("torch")
    assert "a pair can't stay on the device: no memory" in caplog.text
    frames = noise_pair(96, 128)
    found = ours.process(frames, ALL)
    assert "perceive" in found.timings_ms
    assert_same(found, theirs.process(frames, ALL))


def test_images_may_be_read_only_and_run_backwards(ours, theirs, recwarn):
    frames = noise_pair(96, 128)
    rgb = frames.rgb.image[:, :, ::-1]
    thermal = frames.thermal.image[::-1]
    for image in (rgb, thermal):
        image.flags.writeable = False
    backwards = FramePair(replace(frames.rgb, image=rgb), replace(frames.thermal, image=thermal))
    assert_same(ours.process(backwards, ALL), theirs.process(backwards, ALL))
    assert not recwarn.list
