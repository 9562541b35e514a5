"""The torch engine against ONNX Runtime, in every size and precision of the CPU; recordings; what it refuses."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import onnx
import pytest
import torch
from fake_cuda import FakeTorch
from mock_models import make_model
from onnx import TensorProto, helper
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sage_fusion_ros.engines.load import load_engine
from sage_fusion_ros.engines.models import find_model
from sage_fusion_ros.engines.options import EngineOptions
from sage_fusion_ros.engines.torch_engine import engine as torch_engine
from sage_fusion_ros.engines.torch_engine import program
from sage_fusion_ros.engines.torch_engine.graph import OnnxGraph
from sage_fusion_ros.engines.torch_engine.sized import SizedGraph
from sage_fusion_ros.errors import EngineError, ModelError
from sage_fusion_ros.pipeline.fuse import load_fuser
from sage_fusion_ros.pipeline.network import NetworkOptions

SIZES = ((64, 96), (96, 64), (64, 96))  # one that comes back


def load(model, **options):
    options = {"name": "torch", "device": "cpu", "threads": 1} | options
    found = model if isinstance(model, Path) else find_model(model, task=None)
    return load_engine(found, EngineOptions(**options), lambda engine: None)


def feeds_of(engine, size=(64, 96), seed=0):
    rng = np.random.default_rng(seed)
    return {port.name: rng.random((1, port.shape[1], *size), np.float32) for port in engine.inputs}


@pytest.fixture
def recorded(monkeypatch):
    """Engines record and replay, on a GPU made of the CPU."""
    monkeypatch.setattr(program, "torch", FakeTorch())
    monkeypatch.setattr(program, "records", lambda device: True)


@pytest.mark.parametrize("name", ["sage", "sage_fast", "perception"])
def test_it_gives_what_onnx_runtime_gives_at_every_size(name):
    ours, theirs = load(name), load(name, name="onnxruntime")
    assert (ours.inputs, ours.outputs) == (theirs.inputs, theirs.outputs)
    for seed, size in enumerate(SIZES):
        feeds = feeds_of(ours, size, seed)
        for found, wanted in zip(ours.run(feeds), theirs.run(feeds), strict=True):
            assert found.shape == wanted.shape
            assert found.dtype == wanted.dtype
            assert np.abs(found - wanted).max() <= 1e-5 * max(1, np.abs(wanted).max())


@pytest.mark.parametrize("name", ["sage_fast", "perception"])
def test_a_recording_gives_the_same_for_every_image(name, recorded):
    ours, theirs = load(name), load(name, name="onnxruntime")
    for seed, size in enumerate((*SIZES, SIZES[0])):
        feeds = feeds_of(ours, size, seed)
        for found, wanted in zip(ours.run(feeds), theirs.run(feeds), strict=True):
            assert np.abs(found - wanted).max() <= 1e-5 * max(1, np.abs(wanted).max())


def test_half_precision_is_near_and_gives_float32():
    ours, wanted = load("sage_fast", precision="bf16"), load("sage_fast")
    feeds = feeds_of(ours)
    (half,), (full,) = ours.run(feeds), wanted.run(feeds)
    assert half.dtype == np.float32
    assert 0 < np.abs(half - full).max() < 0.03
    assert ours.info.precision == "bf16"


def test_boxes_keep_their_digits_in_half_precision():
    """A coordinate of 600 in bf16 would be off by up to 2 pixels for its own sake."""
    ours, wanted = load("perception", precision="bf16"), load("perception")
    feeds = feeds_of(ours, (64, 704))
    half, full = ours.run(feeds, ["boxes"])[0][0], wanted.run(feeds, ["boxes"])[0][0]
    x, width = full[0], full[2]
    assert x.max() > 600
    assert (np.abs(half[0] - x) <= 0.5 + 0.05 * width).all()


def test_convolutions_alone_are_halved(project):
    graph = OnnxGraph(project / "models" / "perception" / "model.onnx", ["boxes"])
    images = [torch.rand(1, 3, 64, 64)]
    seen = {}
    sized = SizedGraph(graph, graph.outputs, images, torch.bfloat16)
    real = graph.run_node

    def watch(node, given, shown):
        seen.setdefault(node.kind, set()).update(each.dtype for each in given if each is not None)
        return real(node, given, shown)

    graph.run_node = watch
    sized(*images)
    assert seen["Conv"] == {torch.bfloat16}
    assert torch.bfloat16 in seen["Relu"]
    assert torch.float32 in seen["Sub"], "which coordinates are made by"


def test_outputs_by_name_are_computed_alone():
    engine = load("perception")
    feeds = feeds_of(engine)
    both = dict(zip([port.name for port in engine.outputs], engine.run(feeds), strict=True))
    alone = engine.run(feeds, ["boxes"])
    assert len(alone) == 1
    np.testing.assert_array_equal(alone[0], both["boxes"])
    swapped = engine.run(feeds, ["boxes", "mask_logits"])
    np.testing.assert_array_equal(swapped[1], both["mask_logits"])
    with pytest.raises(ModelError, match="gives .*boxes.*; it has no output depth"):
        engine.run(feeds, ["depth"])


class Foreign(TorchDispatchMode):
    """Notes what comes from the host into work on another device."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        tensors = [each for each in tree_leaves((args, kwargs, made)) if isinstance(each, torch.Tensor)]
        # A number of no axes goes along with the call.
        if len({each.device.type for each in tensors if each.ndim}) > 1:
            self.found.append(str(function))
        return made


@pytest.mark.parametrize("name", ["sage", "sage_fast", "perception"])
def test_nothing_comes_from_the_host_while_it_runs(project, name):
    """A GPU that records may not copy from the host. The device "meta" stands for it: shapes, and no values."""
    path = project / "models" / name / "model.onnx"
    graph = OnnxGraph(path, [port.name for port in OnnxGraph(path, ()).gives]).to("meta")
    images = [torch.zeros(1, port.shape[1], 64, 96, device="meta") for port in graph.inputs]
    sized = SizedGraph(graph, graph.outputs, images, torch.float16)
    with Foreign() as foreign:
        results = sized(*images)
    assert foreign.found == []
    assert all(each.device.type == "meta" for each in results)
    assert sized.steps < len(graph.nodes) or name != "perception", "sizes are computed once"


def test_sizes_that_become_part_of_the_image_are_there_beforehand(tmp_path):
    """The rows' numbers times the image, as an exporter writes them: from the host's sizes to the device's values."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "two"], ["rows"]),
        helper.make_node("Range", ["zero", "rows", "one"], ["numbers"]),
        helper.make_node("Cast", ["numbers"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["floats", "last"], ["column"]),
        helper.make_node("Mul", ["x", "column"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, "h", "w"]) for name in "xy"]
    numbers = {"two": 2, "zero": 0, "one": 1, "last": [-1]}
    weights = [onnx.numpy_helper.from_array(np.array(value, np.int64), name) for name, value in numbers.items()]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "g.onnx")
    image = torch.zeros(1, 1, 6, 5, device="meta")
    sized = SizedGraph(OnnxGraph(tmp_path / "g.onnx").to("meta"), ["y"], [image])
    with Foreign() as foreign:
        sized(image)
    assert foreign.found == []
    assert sized.steps == 1
    engine = load(tmp_path / "g.onnx")
    for rows in (6, 4):
        (found,) = engine.run({"x": np.ones((1, 1, rows, 5), np.float32)})
        assert found[0, 0, :, 0].tolist() == list(range(rows))


def test_results_stay_as_they_are_when_the_next_image_comes(tmp_path):
    """Of a network that passes its input on, which the pipeline writes over."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, "h", "w"]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "g.onnx")
    engine = load(tmp_path / "g.onnx")
    image = np.ones((1, 1, 4, 4), np.float32)
    (first,) = engine.run({"x": image})
    image[:] = 7
    assert first.max() == 1
    image.flags.writeable = False
    assert engine.run({"x": image})[0].min() == 7


def test_recorded_results_stay_as_they_are(recorded):
    engine = load("sage_fast")
    first = engine.run(feeds_of(engine, seed=1))[0]
    kept = first.copy()
    engine.run(feeds_of(engine, seed=2))
    np.testing.assert_array_equal(first, kept)


def test_it_tells_where_it_runs(tmp_path):
    engine = load_fuser(make_model(tmp_path / "m"), NetworkOptions(name="torch", device="auto")).engine
    assert engine.info.library == f"torch {torch.__version__}"
    assert engine.info.device == ("cuda" if torch.cuda.is_available() else "cpu")
    assert engine.info.placement == {engine.info.provider: 1}
    assert engine.info.note == ""


def test_few_programs_are_kept(tmp_path):
    engine = load(make_model(tmp_path / "m") / "model.onnx")
    for side in range(8, 30):
        engine.run(feeds_of(engine, (side, side)) | {})
    assert len(engine._programs) == torch_engine._KEPT


def test_threads_are_those_asked_for_and_put_back(monkeypatch, tmp_path):
    before = torch.get_num_threads()
    engine = load(make_model(tmp_path / "m") / "model.onnx", threads=before + 1)
    seen = []
    real = OnnxGraph.run_node
    monkeypatch.setattr(OnnxGraph, "run_node", lambda *args: seen.append(torch.get_num_threads()) or real(*args))
    engine.run({port.name: np.zeros((1, 1, 8, 8), np.float32) for port in engine.inputs})
    assert set(seen) == {before + 1}
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"device": "tensorrt"}, "engine.device is 'tensorrt', which torch has not"),
        ({"precision": "fp16"}, "'fp16', which torch has not on the device 'cpu'; it has fp32, bf16"),
    ],
)
def test_what_torch_has_not_is_refused(options, text):
    with pytest.raises(EngineError, match=text):
        load("sage_fast", **options)


def test_a_gpu_that_is_not_there_fails_unless_the_cpu_is_allowed(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineError, match=r"engine.device is 'cuda', but torch .* finds no GPU.*engine.allow_cpu"):
        load("sage_fast", device="cuda")
    info = load("sage_fast", device="cuda", allow_cpu=True).info
    assert info.device == "cpu"
    assert "finds no GPU" in info.note
    assert load("sage_fast", device="auto").info.note == ""


def test_a_gpu_that_torch_can_not_compute_on_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", mock.Mock(side_effect=RuntimeError("no kernel image")))
    with pytest.raises(EngineError, match=r"'cuda', but torch .* can't compute on the GPU \(no kernel image\)"):
        load("sage_fast", device="cuda")
    info = load("sage_fast", device="auto").info
    assert info.device == "cpu"
    assert "no kernel image" in info.note


def test_without_torch_the_way_to_it_is_told(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "torch":
            raise ImportError("No module named 'torch'")
        return real(name, *args, **kwargs)

    for module in [name for name in sys.modules if name.startswith("sage_fusion_ros.engines.torch_engine")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EngineError, match=r"engine.name is 'torch'.*pip install 'sage_fusion_ros\[torch\]'"):
        load("sage_fast")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"thermal": np.zeros((1, 1, 8, 8))}, r"takes 'thermal' float32 .*; it was given float64 1x1x8x8"),
        ({"thermal": np.zeros((1, 2, 8, 8), np.float32)}, "it was given float32 1x2x8x8"),
        ({"thermal": np.zeros((8, 8), np.float32)}, "it was given float32 8x8"),
        ({"thermal": None}, "it was given nothing"),
    ],
)
def test_arrays_that_it_does_not_take_are_refused(change, text):
    engine = load("sage_fast")
    feeds = {"rgb_luma": np.zeros((1, 1, 8, 8), np.float32)} | {k: v for k, v in change.items() if v is not None}
    with pytest.raises(ModelError, match=text):
        engine.run(feeds)


def test_files_are_refused_as_by_the_other_engines(tmp_path):
    with pytest.raises(ModelError, match="takes .*its card says"):
        load_fuser(make_model(tmp_path / "other", inputs=("a", "b")), NetworkOptions(name="torch", device="cpu"))
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no network")
    with pytest.raises(ModelError, match=r"broken\.onnx"):
        load(broken)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Hardmax", ["x"], ["y"])], "g", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "g.onnx")
    with pytest.raises(ModelError, match=r"has the operators Hardmax, which have no form in torch here"):
        load(tmp_path / "g.onnx")


def test_weights_from_elsewhere_are_not_read(tmp_path):
    network = onnx.load(make_model(tmp_path / "m") / "model.onnx")
    tensor = onnx.numpy_helper.from_array(np.zeros(1, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret.bin")
    network.graph.initializer.append(tensor)
    (tmp_path / "m" / "own.onnx").write_bytes(network.SerializeToString())
    with pytest.raises(ModelError, match="takes weights from .*secret.bin"):
        load(tmp_path / "m" / "own.onnx")
