"""The OpenVINO engine gives what ONNX Runtime gives, at every size, and refuses what that refuses."""

import gc
import sys
import threading

import numpy as np
import onnx
import pytest
from mock_models import make_model
from mock_perception import (
    write_fastestdet,
    write_rtdetr,
    write_rtdetr_deployed,
    write_segmenter,
    write_yolo_end2end,
    write_yolov8,
    write_yolox,
)
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from sage_fusion_ros.engines import openvino_engine
from sage_fusion_ros.engines.load import load_engine
from sage_fusion_ros.engines.models import find_model
from sage_fusion_ros.engines.options import EngineOptions
from sage_fusion_ros.errors import EngineError, ModelError
from sage_fusion_ros.pipeline.fuse import load_fuser
from sage_fusion_ros.pipeline.network import NetworkOptions
from sage_fusion_ros.pipeline.perceive import PerceptionChoice, load_perceiver

ONNXRUNTIME = EngineOptions(device="cpu", threads=1)
OPENVINO = EngineOptions("openvino", threads=1)
OTHERS_NETWORKS = {
    "fastestdet": write_fastestdet,
    "rtdetr": write_rtdetr,
    "rtdetr deployed": write_rtdetr_deployed,
    "segmenter": write_segmenter,
    "segmenter of any size": lambda path: write_segmenter(path, side=None),
    "yolo end to end": write_yolo_end2end,
    "yolov8": write_yolov8,
    "yolov8 of any size": lambda path: write_yolov8(path, side=None),
    "yolox": write_yolox,
}


def load(model, options=OPENVINO, warm_up=lambda engine: None):
    return load_engine(model, options, warm_up)


def noise(engine, height, width, seed=0):
    rng = np.random.default_rng(seed)
    return {port.name: rng.random((1, port.shape[1], height, width), np.float32) for port in engine.inputs}


def make_network(path, nodes, inputs, outputs, constants=()):
    """An ONNX file of float32 tensors; inputs and outputs are names with their shapes."""
    values = [[helper.make_tensor_value_info(*each) for each in side] for side in (inputs, outputs)]
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants]
    graph = helper.make_graph(nodes, "g", *values, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def two_outputs(path):
    """One output that works, and one that can be asked for only where the input has nine values."""
    nodes = [helper.make_node("Neg", ["x"], ["works"]), helper.make_node("Reshape", ["x", "shape"], ["fails"])]
    outputs = [("works", TensorProto.FLOAT, ["n"]), ("fails", TensorProto.FLOAT, [3, 3])]
    return make_network(path, nodes, [("x", TensorProto.FLOAT, ["n"])], outputs, [("shape", np.array([3, 3]))])


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("sage", [(72, 96), (61, 83), (72, 96)]),
        ("sage_fast", [(72, 96), (100, 64), (72, 96)]),
        ("perception", [(64, 96), (128, 64), (64, 96)]),
    ],
)
def test_shipped_models_give_what_onnx_runtime_gives_at_sizes_that_change(name, sizes):
    model = find_model(name, task=None)
    engine, other = load(model), load(model, ONNXRUNTIME)
    assert engine.inputs == other.inputs
    assert [(port.name, port.dtype) for port in engine.outputs] == [(port.name, port.dtype) for port in other.outputs]
    for seed, size in enumerate(sizes):
        feeds = noise(engine, *size, seed)
        before = {name: array.copy() for name, array in feeds.items()}
        for ours, theirs in zip(engine.run(feeds), other.run(feeds), strict=True):
            assert ours.dtype == theirs.dtype
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * max(1, np.abs(theirs).max()))
        for name, array in feeds.items():
            np.testing.assert_array_equal(array, before[name], "inputs are shared, and must not be written to")


def test_pairs_come_out_as_with_onnx_runtime():
    rng = np.random.default_rng(0)
    rgb, thermal = rng.integers(0, 256, (60, 90, 3), np.uint8), rng.integers(0, 256, (60, 90), np.uint8)
    fused, masks = [], []
    for name in ("onnxruntime", "openvino"):
        options = NetworkOptions(name, device="cpu", threads=1, warm_up_size=(60, 90))
        fused.append(load_fuser("sage_fast", options).fuse(rgb, thermal))
        perceiver = load_perceiver(PerceptionChoice("perception"), options)
        masks.append(perceiver.perceive(fused[0], mask=True, detections=False, score_threshold=1, iou_threshold=1)[0])
    assert np.abs(fused[0].astype(int) - fused[1]).max() <= 1
    assert (masks[0] == masks[1]).mean() > 0.999


@pytest.mark.parametrize("kind", OTHERS_NETWORKS)
def test_networks_of_others_give_what_onnx_runtime_gives(tmp_path, kind):
    path = OTHERS_NETWORKS[kind](tmp_path / "own.onnx")
    engines = [load(path), load(path, ONNXRUNTIME)]
    assert engines[0].inputs == engines[1].inputs
    feeds = {engines[0].inputs[0].name: np.random.default_rng(0).random((1, 3, 64, 64), np.float32)}
    for port in engines[0].inputs[1:]:
        feeds[port.name] = np.array([[64, 64]], port.dtype)
    for ours, theirs in zip(*(engine.run(feeds) for engine in engines), strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)


def test_outputs_that_are_one_tensor_keep_their_names(tmp_path):
    nodes = [helper.make_node("Neg", ["x"], ["b"]), helper.make_node("Identity", ["b"], ["a"])]
    inputs, outputs = [("x", TensorProto.FLOAT, ["n"])], [(name, TensorProto.FLOAT, ["n"]) for name in "axb"]
    engine = load(make_network(tmp_path / "own.onnx", nodes, inputs, outputs))
    assert [port.name for port in engine.outputs] == ["a", "x", "b"]
    x = np.arange(3, dtype=np.float32)
    results = engine.run({"x": x})
    assert [result.tolist() for result in results] == [[0, -1, -2], [0, 1, 2], [0, -1, -2]]
    results[1][:] = 9
    assert x.tolist() == [0, 1, 2]
    assert engine.run({"x": x}, ["x"])[0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("names", [["boxes"], ["mask_logits"], ["boxes", "mask_logits"]])
def test_some_outputs_come_in_the_order_asked_for(names):
    engine = load(find_model("perception", task=None))
    feeds = noise(engine, 64, 64)
    whole = dict(zip([port.name for port in engine.outputs], engine.run(feeds), strict=True))
    for name, output in zip(names, engine.run(feeds, names), strict=True):
        np.testing.assert_allclose(output, whole[name], rtol=1e-4, atol=1e-3)


def test_what_is_not_asked_for_is_not_computed(tmp_path):
    engine = load(two_outputs(tmp_path / "own.onnx"))
    assert [(port.name, port.dtype, port.shape) for port in engine.inputs] == [("x", "float32", (None,))]
    assert [output.shape for output in engine.run({"x": np.ones(9, np.float32)})] == [(9,), (3, 3)]
    (output,) = engine.run({"x": np.ones(4, np.float32)}, ["works"])
    assert output.tolist() == [-1] * 4
    with pytest.raises(RuntimeError, match=r"^While validating node .*Reshape"):
        engine.run({"x": np.ones(4, np.float32)})
    with pytest.raises(ValueError, match="gives works, fails; it has no nothing"):
        engine.run({"x": np.ones(4, np.float32)}, ["nothing"])


def test_an_output_is_the_callers_for_good():
    engine = load(find_model("sage_fast"))
    feeds = [noise(engine, 64, 64, seed) for seed in range(3)]
    first = engine.run(feeds[0])[0]
    kept = first.copy()
    for each in feeds:
        engine.run(each)
    np.testing.assert_array_equal(first, kept)
    first[:] = 7  # and what its owner does to it changes nothing
    np.testing.assert_array_equal(engine.run(feeds[0])[0], kept)
    del first
    gc.collect()
    np.testing.assert_array_equal(engine.run(feeds[0])[0], kept)


def test_inputs_may_lie_in_memory_as_they_like():
    engine = load(find_model("sage_fast"))
    feeds = noise(engine, 64, 64)
    wanted = engine.run(feeds)[0]
    strided = {name: np.repeat(array, 2, axis=3)[..., ::2] for name, array in feeds.items()}
    for array in feeds.values():
        array.flags.writeable = False
    np.testing.assert_array_equal(engine.run(feeds)[0], wanted)
    np.testing.assert_array_equal(engine.run(strided)[0], wanted)


def test_a_batch_gives_what_its_parts_give():
    engine = load(find_model("sage_fast"))
    parts = [noise(engine, 64, 64, seed) for seed in range(2)]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    alone = [engine.run(part)[0] for part in parts]
    np.testing.assert_allclose(engine.run(joined)[0], np.concatenate(alone), atol=1e-5)


def test_few_sizes_are_kept():
    engine = load(find_model("sage_fast"))
    for side in range(32, 32 + 4 * (openvino_engine.MAX_SIZES + 3), 4):
        assert engine.run(noise(engine, side, 32))[0].shape == (1, 1, side, 32)
    assert len(engine._prepared) == openvino_engine.MAX_SIZES
    assert engine.run(noise(engine, 32, 32))[0].shape == (1, 1, 32, 32), "the one seen longest ago is made anew"


def test_an_output_whose_length_depends_on_the_values(tmp_path):
    nodes = [helper.make_node("NonZero", ["x"], ["where"])]
    inputs, outputs = [("x", TensorProto.FLOAT, [4])], [("where", TensorProto.INT64, [1, "found"])]
    engine = load(make_network(tmp_path / "own.onnx", nodes, inputs, outputs))
    first = engine.run({"x": np.array([0, 1, 0, 1], np.float32)})[0]
    assert engine.run({"x": np.array([1, 1, 1, 0], np.float32)})[0].tolist() == [[0, 1, 2]]
    assert first.tolist() == [[1, 3]]


@pytest.mark.parametrize(
    "feeds",
    [
        {},
        {"x": np.zeros((1, 1, 8, 8), np.float32)},
        {"x": np.zeros((1, 1, 16, 8), np.float64)},
        {"x": np.zeros((16, 8), np.float32)},
        {"y": np.zeros((1, 1, 16, 8), np.float32)},
        {"x": np.zeros((1, 1, 16, 8), np.float32), "y": np.zeros(1, np.float32)},
    ],
    ids=["nothing", "size", "type", "axes", "name", "too many"],
)
def test_what_the_network_does_not_take_is_refused(tmp_path, feeds):
    """OpenVINO itself would take all of these: reshape, convert, or run on what it was given the time before."""
    shape = [1, 1, 16, 8]
    nodes = [helper.make_node("Neg", ["x"], ["y"])]
    path = make_network(
        tmp_path / "own.onnx", nodes, [("x", TensorProto.FLOAT, shape)], [("y", TensorProto.FLOAT, shape)]
    )
    engine = load(path)
    engine.run({"x": np.zeros(shape, np.float32)})
    with pytest.raises(ValueError, match=r"takes 'x' float32 1x1x16x8; it was given"):
        engine.run(feeds)


def test_calls_from_several_threads_do_not_mix():
    engine = load(find_model("sage_fast"))
    feeds = [noise(engine, 64, 64, seed) for seed in range(4)]
    wanted = [engine.run(each)[0] for each in feeds]
    wrong = []

    def call(index):
        for _ in range(10):
            if not np.array_equal(engine.run(feeds[index])[0], wanted[index]):
                wrong.append(index)

    threads = [threading.Thread(target=call, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_it_says_where_and_in_what_it_ran():
    info = load_fuser("sage_fast", NetworkOptions("openvino", threads=1, warm_up_size=(64, 64))).engine.info
    assert info.library.startswith("openvino 20")
    assert (info.device, info.provider, info.precision, info.note) == ("cpu", "CPU", "fp32", "")
    assert set(info.placement) == {"CPU fp32"}
    assert info.placement["CPU fp32"] >= 10


def test_bf16_where_the_processor_has_it_and_a_refusal_where_not(monkeypatch):
    options = NetworkOptions("openvino", precision="bf16", threads=1, warm_up_size=(64, 64))
    if "BF16" in openvino_engine._capabilities(openvino_engine._openvino().Core()):
        fuser = load_fuser("sage_fast", options)
        assert fuser.engine.info.precision == "bf16"
        feeds = noise(fuser.engine, 64, 64)
        error = fuser.engine.run(feeds)[0] - load(find_model("sage_fast"), ONNXRUNTIME).run(feeds)[0]
        assert 0 < np.abs(error).max() < 0.03
    monkeypatch.setattr(openvino_engine, "_capabilities", lambda core: ("FP32", "INT8"))
    with pytest.raises(EngineError, match="'bf16', which openvino has not on the device 'cpu'; it has fp32, int8"):
        load_fuser("sage_fast", options)


class Noise(CalibrationDataReader):
    def __init__(self):
        rng = np.random.default_rng(0)
        self._feeds = iter([{"x": rng.random((1, 8, 32, 32), np.float32)} for _ in range(4)])

    def get_next(self):
        return next(self._feeds, None)


def test_an_int8_file_runs_in_int8(tmp_path):
    rng = np.random.default_rng(1)
    weights = [(f"w{i}", rng.normal(0, 0.1, (8, 8, 3, 3)).astype(np.float32)) for i in range(3)]
    nodes = [
        helper.make_node("Conv", [before, f"w{i}"], [after], pads=[1] * 4)
        for i, (before, after) in enumerate([("x", "a"), ("b", "c"), ("d", "y")])
    ]
    nodes[1:1] = [helper.make_node("Relu", ["a"], ["b"])]
    nodes[3:3] = [helper.make_node("Relu", ["c"], ["d"])]
    shape = ["n", 8, "h", "w"]
    whole = make_network(
        tmp_path / "whole.onnx", nodes, [("x", TensorProto.FLOAT, shape)], [("y", TensorProto.FLOAT, shape)], weights
    )
    path = tmp_path / "model.int8.onnx"
    quantize_static(
        whole,
        path,
        Noise(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    feeds = {"x": rng.random((1, 8, 40, 24), np.float32)}
    outputs = {}
    for name in ("onnxruntime", "openvino"):
        options = EngineOptions(name, device="cpu", precision="int8", threads=1)
        engine = load(path, options, lambda engine: engine.run(feeds))
        assert engine.info.precision == "int8"
        outputs[name] = engine.run(feeds)[0]
    exact = load(whole).run(feeds)[0]
    step = np.ptp(exact) / 255
    assert 0 < np.abs(outputs["openvino"] - exact).max() < 8 * step
    assert np.abs(outputs["openvino"] - outputs["onnxruntime"]).max() < 3 * step


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_gpu_is_refused_unless_the_cpu_is_allowed(device):
    with pytest.raises(EngineError, match=rf"engine.device is '{device}'.*set engine.name to onnxruntime.*allow_cpu"):
        load_fuser("sage_fast", NetworkOptions("openvino", device=device))
    options = NetworkOptions("openvino", device=device, allow_cpu=True, threads=1, warm_up_size=(64, 64))
    info = load_fuser("sage_fast", options).engine.info
    assert info.device == "cpu"
    assert device in info.note
    assert load(find_model("sage_fast")).info.note == "", "auto asks for nothing, so nothing is amiss"


def test_without_openvino_the_command_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(EngineError, match=r"can't be imported.*pip install 'sage_fusion_ros\[openvino\]'"):
        load(find_model("sage_fast"))


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "own.onnx"
    path.write_bytes(find_model("sage_fast").path.read_bytes()[:-40])
    with pytest.raises(ModelError, match=r"own\.onnx can't be loaded as a network: "):
        load(path)
    path.write_bytes(b"<?xml version='1.0'?><net name='n' version='11'></net>")
    with pytest.raises(ModelError, match=r"own\.onnx can't be loaded as a network: "):
        load(path)


def test_an_operator_that_nobody_knows_is_named(tmp_path):
    nodes = [helper.make_node("Cook", ["x"], ["y"], domain="kitchen")]
    path = make_network(
        tmp_path / "own.onnx", nodes, [("x", TensorProto.FLOAT, ["n"])], [("y", TensorProto.FLOAT, ["n"])]
    )
    with pytest.raises(ModelError, match=r"own\.onnx can't be loaded as a network: .*kitchen\.Cook") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_weights_from_outside_the_folder_are_refused_before_they_are_read(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    path = two_outputs(folder / "own.onnx")
    model = onnx.load(path)
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "../secret")
    model.graph.initializer[0].ClearField("raw_data")
    path.write_bytes(model.SerializeToString())
    (tmp_path / "secret").write_bytes(np.array([3, 3]).tobytes())
    with pytest.raises(ModelError, match="takes weights from '../secret', which is not in its folder"):
        load(path)


def test_weights_among_the_inputs_are_none(tmp_path):
    """As files of ONNX's third version list them."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("w", "x", "y")]
    weights = numpy_helper.from_array(np.array([1, 2], np.float32), "w")
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", values[:2], values[2:], [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 8)], ir_version=3), tmp_path / "a.onnx")
    engine = load(tmp_path / "a.onnx")
    assert [port.name for port in engine.inputs] == ["x"]
    assert engine.run({"x": np.ones(2, np.float32)})[0].tolist() == [2, 3]


def test_weights_in_a_file_beside_the_network_are_found(tmp_path):
    path = tmp_path / "own.onnx"
    nodes = [helper.make_node("Add", ["x", "more"], ["y"])]
    more = np.arange(512, dtype=np.float32)
    make_network(path, nodes, [("x", TensorProto.FLOAT, [512])], [("y", TensorProto.FLOAT, [512])], [("more", more)])
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="own.data", size_threshold=0)
    assert (tmp_path / "own.data").is_file()
    np.testing.assert_array_equal(load(path).run({"x": np.ones(512, np.float32)})[0], more + 1)


def test_a_network_that_is_not_what_its_card_says_is_refused(tmp_path):
    folder = make_model(tmp_path / "other", inputs=("visible", "infrared"))
    with pytest.raises(ModelError, match="takes .*its card says"):
        load_fuser(folder, NetworkOptions("openvino"))


def test_a_network_that_fails_in_the_warm_up_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"own\.onnx, which takes 'x' float32 \?, failed in the warm-up: While"):
        load(two_outputs(tmp_path / "own.onnx"), warm_up=lambda engine: engine.run({"x": np.ones(4, np.float32)}))
