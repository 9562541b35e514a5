"""Model folders, cards and the engine: what is damaged, missing or somewhere else is refused by name."""

import types

import cv2
import numpy as np
import onnx
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from mock_models import make_model
from onnx import TensorProto, helper

from sage_fusion_ros.engines import onnx_engine
from sage_fusion_ros.engines.card import ModelCard, read_card, sha256_of, write_card
from sage_fusion_ros.engines.load import load_engine
from sage_fusion_ros.engines.models import find_model, list_models, variant
from sage_fusion_ros.engines.options import EngineOptions
from sage_fusion_ros.errors import EngineError, ImageFormatError, ModelError
from sage_fusion_ros.pipeline.fuse import Fuser, load_fuser
from sage_fusion_ros.pipeline.network import NetworkOptions


@pytest.fixture
def model(tmp_path):
    return make_model(tmp_path / "brighter")


def edit_card(folder, **changes):
    path = folder / "card.yaml"
    card = yaml.safe_load(path.read_text())
    card.update(changes)
    path.write_text(yaml.safe_dump({k: v for k, v in card.items() if v is not None}))


plain = st.text("abcdefghijklmnop åß漢-_", min_size=1, max_size=20)


@settings(max_examples=50, deadline=None)
@given(
    plain,
    st.integers(1, 64),
    st.dictionaries(plain, st.one_of(plain, st.integers(), st.floats(allow_nan=False), st.lists(plain))),
)
def test_a_card_reads_back_as_written(tmp_path_factory, text, multiple, free):
    folder = tmp_path_factory.mktemp("card")
    card = ModelCard(
        name=text, task="fusion", sha256="0" * 64, licence=text, size_multiple=multiple, training=free, measured=free
    )
    write_card(folder, card)
    assert read_card(folder) == card


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"task": "cooking"}, "task is 'cooking'; expected one of fusion"),
        ({"file": "../../etc/passwd"}, "plain file name"),
        ({"sha256": "abc"}, "64 hexadecimal digits"),
        ({"licence": None}, r"missing fields \['licence'\]"),
        ({"colour": "red"}, r"unknown fields \['colour'\]"),
        ({"size_multiple": 0}, "size_multiple is 0"),
        ({"size_multiple": "many"}, "invalid literal"),
        ({"inputs": [{"name": "x", "range": [1, 0]}]}, "the first must be the lower"),
        ({"inputs": "x"}, "card.yaml"),
    ],
)
def test_a_wrong_card_is_refused(model, changes, text):
    edit_card(model, **changes)
    with pytest.raises(ModelError, match=text):
        find_model(model)


@pytest.mark.parametrize("text", ["", "[1, 2]", "a: [", "!!python/object/apply:os.system ['true']", "\x00"])
def test_a_card_that_is_no_mapping_is_refused(model, text):
    (model / "card.yaml").write_text(text)
    with pytest.raises(ModelError, match="card.yaml"):
        find_model(model)


def test_found_by_name_in_user_folders_first(tmp_path, model):
    assert find_model("brighter", [tmp_path]).path == model / "model.onnx"
    assert "brighter" in list_models([tmp_path])
    assert find_model(str(model)).card.name == "brighter"


def test_the_package_brings_its_models():
    for name in ("sage", "sage_fast"):
        assert find_model(name).card.task == "fusion"


@pytest.mark.parametrize(
    ("name", "text"), [("nope", "models at hand are .*sage_fast"), ("", "empty"), ("./nope", "does not exist")]
)
def test_an_unknown_model_is_refused_with_those_at_hand(name, text):
    with pytest.raises(ModelError, match=text):
        find_model(name)


def test_a_file_that_differs_from_its_card_is_refused(model):
    with (model / "model.onnx").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(ModelError, match="has the sha256 .* its card says"):
        find_model(model)
    (model / "model.onnx").unlink()
    with pytest.raises(ModelError, match="has no file model.onnx"):
        find_model(model)


def test_a_model_of_another_task_is_refused(tmp_path):
    with pytest.raises(ModelError, match="is for the task 'detection'"):
        find_model(make_model(tmp_path / "boxes", card_task="detection"))


def truncate(model):
    path = model / "model.onnx"
    path.write_bytes(path.read_bytes()[:-40])
    edit_card(model, sha256=sha256_of(path))


def test_a_truncated_network_is_refused(model):
    truncate(model)
    with pytest.raises(ModelError, match="can't be loaded as a network"):
        load_fuser(model, NetworkOptions(device="cpu"))


def test_a_network_that_is_not_what_its_card_says_is_refused(tmp_path):
    with pytest.raises(ModelError, match="takes .*its card says"):
        load_fuser(make_model(tmp_path / "other", inputs=("visible", "infrared")), NetworkOptions(device="cpu"))


def test_a_network_of_the_wrong_size_or_without_numbers_is_refused(tmp_path):
    """One that halves its input, and one that gives NaN: found in the warm-up, not on the road."""
    for name, node in {
        "half": helper.make_node("AveragePool", ["x"], ["fused_luma"], kernel_shape=[2, 2], strides=[2, 2]),
        "nan": helper.make_node("Sqrt", ["y"], ["fused_luma"]),
    }.items():
        folder = make_model(tmp_path / name)
        graph = onnx.load(folder / "model.onnx")
        del graph.graph.node[:]
        graph.graph.node.append(helper.make_node("Add", ["rgb_luma", "thermal"], ["x"]))
        graph.graph.node.append(helper.make_node("Neg", ["x"], ["y"]))
        graph.graph.node.append(node)
        graph.graph.output[0].CopyFrom(
            helper.make_tensor_value_info("fused_luma", TensorProto.FLOAT, ["n", 1, "a", "b"])
        )
        onnx.save(graph, folder / "model.onnx")
        edit_card(folder, sha256=sha256_of(folder / "model.onnx"))
        with pytest.raises(ModelError, match="expected finite values in the pair's size"):
            load_fuser(folder, NetworkOptions(device="cpu"))


def test_the_engine_reports_where_the_graph_ran(model):
    info = load_fuser(model, NetworkOptions(device="cpu")).engine.info
    assert info.provider == "CPUExecutionProvider"
    assert info.device == "cpu"
    assert sum(info.placement.values()) >= 1
    assert info.library.startswith("onnxruntime ")
    assert info.note == ""


@pytest.fixture
def without_gpu(monkeypatch):
    real = onnx_engine._onnxruntime()
    fake = types.ModuleType("onnxruntime")
    fake.__dict__.update(real.__dict__)
    fake.get_available_providers = lambda: ["CPUExecutionProvider"]
    monkeypatch.setattr(onnx_engine, "_onnxruntime", lambda: fake)
    return fake


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_gpu_that_is_not_there_fails_unless_the_cpu_is_allowed(model, without_gpu, device):
    with pytest.raises(EngineError, match=rf"engine.device is '{device}'.*\[gpu\].*engine.allow_cpu"):
        load_fuser(model, NetworkOptions(device=device))
    info = load_fuser(model, NetworkOptions(device=device, allow_cpu=True)).engine.info
    assert info.device == "cpu"
    assert device in info.note
    assert load_fuser(model, NetworkOptions(device="auto")).engine.info.note == "", (
        "auto asks for nothing, so nothing is amiss"
    )


def test_a_gpu_provider_that_runs_nothing_is_found_out(model, without_gpu):
    """The CUDA provider is registered, yet every node runs on the CPU: exactly what other nodes fall for."""
    without_gpu.get_available_providers = lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    real = without_gpu.InferenceSession
    without_gpu.InferenceSession = lambda path, options, providers: real(
        path, options, providers=["CPUExecutionProvider"]
    )
    with pytest.raises(EngineError, match="the graph ran as .*CPUExecutionProvider.*Max on the CPU"):
        load_fuser(model, NetworkOptions(device="cuda"))
    assert load_fuser(model, NetworkOptions(device="auto")).engine.info.device == "cpu"


def test_two_onnxruntimes_in_one_environment_are_refused(model, monkeypatch):
    monkeypatch.setattr(onnx_engine, "_version", lambda name: "1.0")
    with pytest.raises(EngineError, match="onnxruntime and onnxruntime-gpu are both installed"):
        load_fuser(model)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"device": "npu"}, "engine.device is 'npu'; expected one of auto, cuda, tensorrt, cpu"),
        ({"name": "caffe"}, "engine.name is 'caffe'; expected one of onnxruntime"),
        ({"precision": "fp8"}, "engine.precision is 'fp8'; expected one of fp32, fp16, bf16, int8"),
    ],
)
def test_an_unknown_word_is_refused(changes, text):
    with pytest.raises(EngineError, match=text):
        EngineOptions(**changes)


def test_a_precision_that_the_library_has_not_is_refused(model):
    with pytest.raises(EngineError, match="'bf16', which onnxruntime has not on the device 'cpu'; it has fp32, int8"):
        load_fuser(model, NetworkOptions(device="cpu", precision="bf16"))


def with_int8(folder, **changes):
    """Gives a model an int8 file, which is the other one's copy under a changed producer."""
    network = onnx.load(folder / "model.onnx")
    network.producer_name = "int8"
    onnx.save(network, folder / "model.int8.onnx")
    entry = {"file": "model.int8.onnx", "sha256": sha256_of(folder / "model.int8.onnx"), "made": {"by": "hand"}}
    edit_card(folder, variants={"int8": entry | changes})


def test_int8_takes_the_models_file_of_that_kind(model):
    with pytest.raises(ModelError, match="has no file for the precision int8 .*models quantise"):
        load_fuser(model, NetworkOptions(device="cpu", precision="int8"))
    with_int8(model)
    assert variant(find_model(model), "int8").path == model / "model.int8.onnx"
    write_card(model, read_card(model))  # a card keeps its variants
    fuser = load_fuser(model, NetworkOptions(device="cpu", precision="int8"))
    (model / "model.int8.onnx").write_bytes(b"damaged")
    assert fuser.fuse(np.zeros((16, 16, 3), np.uint8), np.full((16, 16), 9, np.uint8)).max() == 9
    with pytest.raises(ModelError, match=r"model\.int8\.onnx has the sha256"):
        load_fuser(model, NetworkOptions(device="cpu", precision="int8"))
    assert load_fuser(model, NetworkOptions(device="cpu")), "the other file is whole"


@pytest.mark.parametrize(
    "changes", [{"file": "../model.onnx"}, {"file": 3}, {"sha256": "0"}, {"made": "well"}, {"colour": "blue"}]
)
def test_a_variant_that_is_none_is_refused(model, changes):
    with_int8(model, **changes)
    with pytest.raises(ModelError, match="model card .*card.yaml"):
        find_model(model)


def test_variants_that_are_no_mapping_are_refused(model):
    edit_card(model, variants=["int8"])
    with pytest.raises(ModelError, match="variants is .*expected a mapping by precision"):
        find_model(model)


@settings(max_examples=30, deadline=None)
@given(st.integers(8, 70), st.integers(8, 70), st.sampled_from([1, 4, 16]))
def test_fuse_keeps_every_size_and_the_colours(tmp_path_factory, height, width, multiple):
    """With the maximum as network, luma is the maximum wherever no channel clips, and grey stays grey."""
    fuser = load_fuser(
        make_model(tmp_path_factory.mktemp("m") / "m", size_multiple=multiple), NetworkOptions(device="cpu")
    )
    rng = np.random.default_rng(height * 100 + width)
    luma, thermal = rng.integers(0, 256, (2, height, width), np.uint8)
    fused = fuser.fuse(np.dstack([luma] * 3), thermal)
    np.testing.assert_array_equal(fused, np.dstack([np.maximum(luma, thermal)] * 3))
    np.testing.assert_array_equal(fuser.fuse_luma(luma, thermal), np.maximum(luma, thermal))


def test_the_networks_own_luma_is_not_clipped_by_colours(model):
    """A saturated blue can't take the whole change of luma; the network's own luma knows nothing of it."""
    fuser, rgb = load_fuser(model, NetworkOptions(device="cpu")), np.full((16, 16, 3), (0, 0, 255), np.uint8)
    thermal = np.full((16, 16), 200, np.uint8)
    assert (fuser.fuse_luma(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), thermal) == 200).all()
    assert (cv2.cvtColor(fuser.fuse(rgb, thermal), cv2.COLOR_RGB2GRAY) < 190).all()


def test_colour_differences_stay_where_nothing_clips(model):
    rgb = np.full((16, 16, 3), (90, 60, 40), np.uint8)
    fused = load_fuser(model, NetworkOptions(device="cpu")).fuse(rgb, np.full((16, 16), 120, np.uint8)).astype(int)
    assert (fused[..., 0] - fused[..., 1] == 30).all()
    assert (fused[..., 1] - fused[..., 2] == 20).all()
    assert abs((fused @ [0.299, 0.587, 0.114]).mean() - 120) < 1


def test_fuse_refuses_pairs_it_can_not_fuse(model):
    fuser = load_fuser(model, NetworkOptions(device="cpu"))
    with pytest.raises(ImageFormatError, match="register the pair first"):
        fuser.fuse(np.zeros((16, 16, 3), np.uint8), np.zeros((8, 16), np.uint8))
    with pytest.raises(ImageFormatError, match="too small"):
        fuser.fuse(np.zeros((4, 16, 3), np.uint8), np.zeros((4, 16), np.uint8))
    with pytest.raises(ImageFormatError, match="register the pair first"):
        fuser.fuse_luma(np.zeros((16, 16), np.uint8), np.zeros((8, 16), np.uint8))


def test_a_card_that_is_no_fusion_interface_is_refused(model):
    card = read_card(model)
    with pytest.raises(ModelError, match="a fusion model takes"):
        Fuser(None, ModelCard(**{**card.__dict__, "inputs": card.inputs[:1]}))


def two_outputs(path):
    """One output that works, and one that can be asked for only where the input has nine values."""
    value = helper.make_tensor_value_info
    nodes = [helper.make_node("Neg", ["x"], ["works"]), helper.make_node("Reshape", ["x", "shape"], ["fails"])]
    shape = onnx.numpy_helper.from_array(np.array([3, 3], np.int64), "shape")
    outputs = [value("works", TensorProto.FLOAT, ["n"]), value("fails", TensorProto.FLOAT, [3, 3])]
    graph = helper.make_graph(nodes, "g", [value("x", TensorProto.FLOAT, ["n"])], outputs, [shape])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_a_file_without_a_card_runs_and_says_what_it_takes_and_gives(tmp_path):
    engine = load_engine(two_outputs(tmp_path / "own.onnx"), EngineOptions(device="cpu"), lambda engine: None)
    assert [(port.name, port.dtype, port.shape) for port in engine.inputs] == [("x", "float32", (None,))]
    assert [(port.name, port.shape) for port in engine.outputs] == [("works", (None,)), ("fails", (3, 3))]
    assert [output.shape for output in engine.run({"x": np.ones(9, np.float32)})] == [(9,), (3, 3)]


def test_what_is_not_asked_for_is_not_computed(tmp_path):
    engine = load_engine(two_outputs(tmp_path / "own.onnx"), EngineOptions(device="cpu"), lambda engine: None)
    (output,) = engine.run({"x": np.ones(4, np.float32)}, ["works"])
    assert output.tolist() == [-1] * 4
    with pytest.raises(Exception, match="fails|Reshape"):
        engine.run({"x": np.ones(4, np.float32)})


def test_a_network_that_fails_in_the_warm_up_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"own\.onnx, which takes 'x' float32 \?, failed in the warm-up"):
        load_engine(
            two_outputs(tmp_path / "own.onnx"),
            EngineOptions(device="cpu"),
            lambda engine: engine.run({"x": np.ones(4, np.float32)}),
        )
