"""Training through a frozen detector: the network of the file, gradients, agreement, and which pairs it sees."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from mock_detector import write_detector
from onnx import TensorProto, helper
from training_data import write_pairs, write_settings

from sage_fusion_ros.cli.main import main
from sage_fusion_ros.engines.torch_engine.graph import OnnxGraph
from sage_fusion_ros.errors import ModelError, ParameterError, SourceError
from sage_fusion_ros.training.checkpoint import load_checkpoint
from sage_fusion_ros.training.config import AugmentSettings, ReaderSettings, read_settings
from sage_fusion_ros.training.pairs import StoredPair, load_pairs
from sage_fusion_ros.training.reader import (
    Reader,
    ReaderTerm,
    Reading,
    agreement,
    better_of,
    box_iou,
    decode_boxes,
    disturb,
    limit_gradient,
    luma_of,
    recolour,
)
from sage_fusion_ros.training.recipes.build import build_recipe
from sage_fusion_ros.training.whole import WholePair, WholePairSampler, relight


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    return write_detector(tmp_path / "detector.onnx")


def square(height: int = 64, width: int = 64) -> torch.Tensor:
    """A white square on black, (1, 1, height, width)."""
    image = torch.zeros(1, 1, height, width)
    image[..., 16:32, 32:48] = 1.0
    return image


def test_the_graph_computes_what_onnx_runtime_computes(detector: Path) -> None:
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 255
    wanted = onnxruntime.InferenceSession(str(detector)).run(None, {"images": image.numpy()})[0]
    with torch.no_grad():
        assert torch.allclose(OnnxGraph(detector)(image), torch.from_numpy(wanted), atol=1e-4)
        assert OnnxGraph(detector)(torch.zeros(1, 3, 96, 32)).shape == (1, 48 + 12 + 3, 85)


@pytest.mark.parametrize(("mode", "scales"), [("nearest", [1, 1, 2, 2]), ("linear", [1, 1, 2, 2])])
def test_pooling_and_resizing(tmp_path: Path, mode: str, scales: list[float]) -> None:
    nodes = [
        helper.make_node("MaxPool", ["x"], ["pooled"], kernel_shape=[5, 5], pads=[2, 2, 2, 2], strides=[1, 1]),
        helper.make_node(
            "Resize",
            ["pooled", "", "scales"],
            ["bigger"],
            mode=mode,
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
        helper.make_node("Relu", ["bigger"], ["kept"]),
        helper.make_node("Add", ["kept", "kept"], ["twice"]),
        helper.make_node("Mul", ["twice", "kept"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 2, s, s]) for n, s in (("x", 8), ("y", 16))]
    weights = [onnx.numpy_helper.from_array(np.array(scales, np.float32), "scales")]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], weights)
    path = tmp_path / "g.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    image = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(2))
    if mode == "linear":
        with pytest.raises(ModelError, match="a resize of mode b'linear'"):
            OnnxGraph(path)(image)
        return
    wanted = onnxruntime.InferenceSession(str(path)).run(None, {"x": image.numpy()})[0]
    assert torch.allclose(OnnxGraph(path)(image), torch.from_numpy(wanted), atol=1e-6)


def test_an_operator_that_is_not_known_is_named(tmp_path: Path) -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Hardmax", ["x"], ["y"])], "g", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "e.onnx")
    with pytest.raises(ModelError, match=r"e\.onnx has the operators Hardmax, which have no form in torch here"):
        OnnxGraph(tmp_path / "e.onnx")


def test_a_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    with pytest.raises(ModelError, match=r"broken\.onnx can't be read"):
        Reader(tmp_path / "broken.onnx")


def test_the_reader_sees_a_bright_cell_and_where_it_is(detector: Path) -> None:
    with torch.no_grad():
        reading = Reader(detector).read(square().expand(1, 3, 64, 64), 64)
    sure = reading.scores[:, 0] > 0.9
    assert sure.sum() == 4 + 1  # four cells of stride 8, one of stride 16
    assert reading.boxes[sure][-1].tolist() == pytest.approx([32, 16, 48, 32])
    assert (reading.scores[:, 1:] < 0.01).all()


def test_the_longer_side_is_scaled_and_the_rest_padded(detector: Path) -> None:
    with torch.no_grad():
        reading = Reader(detector).read(square(48, 128).expand(1, 3, 48, 128), 64)  # 24x64, padded to 32x64
    assert len(reading.scores) == 32 + 8 + 2


def test_boxes_of_cells_in_yolox_order() -> None:
    raw = torch.zeros(32 + 8 + 2, 4)
    raw[9] = torch.tensor([0.5, 0.25, np.log(2.0), np.log(3.0)])  # stride 8, second row, second column of 8
    boxes = decode_boxes(raw, 32, 64)
    assert boxes[9].tolist() == pytest.approx([12 - 8, 10 - 12, 12 + 8, 10 + 12])
    assert boxes[-1].tolist() == pytest.approx([32 - 16, -16, 32 + 16, 16])


def test_gradients_reach_the_picture_and_leave_the_reader_alone(detector: Path) -> None:
    reader = Reader(detector)
    picture = (0.45 * square() + 0.06).requires_grad_()
    wanted = reader.read(square().expand(1, 3, 64, 64), 64)
    loss = agreement(reader.read(picture.expand(1, 3, 64, 64), 64), wanted)
    loss.backward()
    inside = picture.grad[..., 16:32, 32:48]
    assert (inside < 0).all(), "a brighter square would be seen better"
    assert not any(tensor.requires_grad for tensor in reader._graph.buffers())


def test_a_loud_gradient_is_turned_down_and_a_faint_one_is_not() -> None:
    for loudness, heard in ((30.0, 1.0), (0.25, 0.5)):
        picture = torch.ones(1, 1, 2, 2, requires_grad=True)
        (limit_gradient(picture * 1.0, 1.0) * loudness).sum().backward()
        assert picture.grad.norm().item() == pytest.approx(heard)


def reading(*scores: float) -> Reading:
    count = len(scores)
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0]]).repeat(count, 1)
    return Reading(torch.tensor(scores)[:, None] * torch.tensor([[1.0, 0, 0, 0, 0, 0]]), boxes)


def test_agreement_is_nothing_for_what_is_wanted_and_grows_with_what_is_missed_or_made_up() -> None:
    wanted = reading(0.9, 0.0, 0.0)
    exact = agreement(wanted, wanted).item()
    assert exact == pytest.approx(0.0, abs=1e-4)
    missed, worse = agreement(reading(0.5, 0.0, 0.0), wanted).item(), agreement(reading(0.1, 0.0, 0.0), wanted).item()
    made_up = agreement(reading(0.9, 0.7, 0.0), wanted).item()
    assert exact < missed < worse
    assert made_up > exact


def test_agreement_holds_boxes_in_place() -> None:
    wanted = reading(0.9)
    moved = Reading(wanted.scores, wanted.boxes + torch.tensor([5.0, 0, 5.0, 0]))
    # Half of each box is common: 50 of 150; weighted by .9, over the greater of 4 and the sum of the scores.
    assert agreement(moved, wanted).item() == pytest.approx(0.9 * (1 - 1 / 3) / 4, abs=1e-4)


def test_iou_of_pairs_of_boxes() -> None:
    a = torch.tensor([[0.0, 0, 2, 2], [0, 0, 1, 1], [0, 0, 0, 0]])
    b = torch.tensor([[1.0, 0, 3, 2], [2, 2, 3, 3], [0, 0, 0, 0]])
    assert box_iou(a, b).tolist() == pytest.approx([1 / 3, 0.0, 0.0])


def test_the_better_of_two_readings_cell_by_cell() -> None:
    a, b = reading(0.9, 0.1), reading(0.3, 0.4)
    b = Reading(b.scores, b.boxes + 7)
    best = better_of(a, b)
    assert best.scores[:, 0].tolist() == pytest.approx([0.9, 0.4])
    assert best.boxes[:, 0].tolist() == [0.0, 7.0]


def test_recolouring_is_the_nodes() -> None:
    rgb = torch.tensor([0.2, 0.4, 0.9]).view(1, 3, 1, 1)
    luma = luma_of(rgb)
    assert luma.item() == pytest.approx(0.299 * 0.2 + 0.587 * 0.4 + 0.114 * 0.9)
    assert recolour(rgb, luma, luma + 0.2).flatten().tolist() == pytest.approx([0.4, 0.6, 1.0])


def test_disturbances_stay_in_range_and_follow_the_seed() -> None:
    image = torch.rand(1, 3, 16, 16)
    torch.manual_seed(4)
    first, other = disturb(image), disturb(image)
    torch.manual_seed(4)
    assert torch.equal(disturb(image), first)
    assert not torch.equal(first, other)
    assert first.min() >= 0
    assert first.max() <= 1


class Average(torch.nn.Module):
    """Half of each source, and a share that can learn."""

    def __init__(self) -> None:
        super().__init__()
        self.share = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, rgb_luma: torch.Tensor, thermal: torch.Tensor) -> torch.Tensor:
        return self.share * rgb_luma + (1 - self.share) * thermal


def test_the_term_pulls_towards_the_camera_in_which_something_is_seen(detector: Path) -> None:
    torch.manual_seed(0)
    network = Average()
    term = ReaderTerm(Reader(detector), (64,))
    dark = WholePair(torch.zeros(1, 3, 64, 64), square())
    sum(term(network, [dark]) for _ in range(8)).backward()
    assert network.share.grad > 0, "less of the black RGB image, more of thermal"


def test_relight_dims_colours_and_adds_white() -> None:
    rgb = np.array([[[0.2, 0.4, 0.6]]], np.float32)
    luma = np.array([[0.4]], np.float32)
    assert relight(rgb, luma, luma / 2)[0, 0].tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert relight(rgb, luma, luma + 0.3)[0, 0].tolist() == pytest.approx([0.5, 0.7, 0.9])


def boxed_pairs(root: Path, *stems: str) -> Path:
    write_pairs(root)
    data = {
        "images": [{"id": i, "file_name": f"{stem}.png"} for i, stem in enumerate(stems)],
        "annotations": [{"image_id": i, "category_id": 1, "bbox": [1, 1, 5, 5]} for i in range(len(stems))],
        "categories": [{"id": 1, "name": "person"}],
    }
    (root / "boxes_coco.json").write_text(json.dumps(data))
    return root


def is_window_of(window: WholePair, pair: StoredPair) -> bool:
    """Whether the colours of a window, mirrored or not, stand somewhere in the pair."""
    shape = tuple(window.rgb.shape[1:])
    assert window.thermal.shape[2:] == window.rgb.shape[2:]
    assert all(32 <= side <= 80 and side % 4 == 0 for side in shape[1:])
    places = np.lib.stride_tricks.sliding_window_view(pair.rgb.transpose(2, 0, 1), shape)[0]
    seen = np.rint(window.rgb[0].numpy() * 255)
    return any((places == image).all(axis=(-3, -2, -1)).any() for image in (seen, seen[..., ::-1]))


def test_pairs_with_drawn_boxes_are_kept_for_judging(tmp_path: Path) -> None:
    root = boxed_pairs(tmp_path / "pairs", "000", "001", "002", "003", "004")
    pairs = load_pairs([root], read_settings(write_settings(tmp_path / "s.yaml", "sage_fast"), "sage_fast").split, 1)
    assert [pair.boxed for pair in pairs] == [True] * 5 + [False]
    sampler = WholePairSampler(pairs, ReaderSettings(pairs=2), AugmentSettings(), seed=1)
    for step in range(4):
        for window in sampler(step):
            assert is_window_of(window, pairs[5])
            assert not is_window_of(window, pairs[4])
    every = WholePairSampler(pairs, ReaderSettings(keep_boxed_for_judging=False), AugmentSettings(), seed=1)
    assert any(is_window_of(every(step)[0], pair) for step in range(12) for pair in pairs[:5])
    with pytest.raises(SourceError, match="every pair has drawn boxes"):
        WholePairSampler(pairs[:5], ReaderSettings(), AugmentSettings(), seed=1)


def test_a_run_with_a_reader_resumes_to_the_bit(detector: Path, tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "pairs")
    config = write_settings(
        tmp_path / "s.yaml", "sage_fast", steps=4, terms={"reading": 1.0}, reader={"pairs": 1, "sides": [64]}
    )
    command = ["train", "sage_fast", "--config", str(config), "--data", str(data), "--reader", str(detector)]
    assert main([*command, "--out", str(tmp_path / "whole")]) == 0
    settings = read_settings(config, "sage_fast")
    from sage_fusion_ros.training.data import BatchSampler
    from sage_fusion_ros.training.learner import SingleLearner
    from sage_fusion_ros.training.loop import Trainer

    pairs = load_pairs([data], settings.split, 1)
    whole = WholePairSampler(pairs, settings.reader, settings.augment, settings.seed)
    sampler = BatchSampler(pairs, settings.batch, settings.crop, settings.augment, settings.seed, whole)
    learner = SingleLearner(settings, build_recipe(settings, reader=detector))
    Trainer(settings, learner, sampler, tmp_path / "parts").run(until=2)
    assert main([*command, "--out", str(tmp_path / "parts"), "--resume"]) == 0
    states = [load_checkpoint(tmp_path / name / "checkpoint.pt") for name in ("whole", "parts")]
    assert all(torch.equal(value, states[1]["model"][name]) for name, value in states[0]["model"].items())
    assert "reader_sha256" in states[0]["notes"]
    assert "reading" in (tmp_path / "whole" / "log.csv").read_text().splitlines()[0]


def test_a_reader_and_its_weight_belong_together(detector: Path, tmp_path: Path) -> None:
    without = read_settings(write_settings(tmp_path / "a.yaml", "sage_fast"), "sage_fast")
    with pytest.raises(ParameterError, match="give the term 'reading' no weight"):
        build_recipe(without, reader=detector)
    wanting = read_settings(write_settings(tmp_path / "b.yaml", "sage_fast", terms={"reading": 1.0}), "sage_fast")
    with pytest.raises(ParameterError, match="give --reader the ONNX file"):
        build_recipe(wanting)


@pytest.mark.parametrize("reader", [{"pairs": 0}, {"sides": []}, {"sides": [100]}, {"sides": [32]}])
def test_reader_settings_are_checked(tmp_path: Path, reader: dict) -> None:
    with pytest.raises(ParameterError, match="multiples of 32 from 64 on"):
        read_settings(write_settings(tmp_path / "s.yaml", "sage_fast", reader=reader), "sage_fast")
    with pytest.raises(ParameterError, match="sides is"):
        read_settings(write_settings(tmp_path / "s.yaml", "sage_fast", reader={"sides": ["a"]}), "sage_fast")
