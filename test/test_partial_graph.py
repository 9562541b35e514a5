"""An ONNX file cut down to some outputs: the same answers, and nothing that only the others need."""

import contextlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mock_perception import make_perception, write_rtdetr
from onnx import TensorProto, helper

from sage_fusion_ros.engines.partial_graph import only_outputs
from sage_fusion_ros.errors import ModelError


def answers(model: bytes, feeds: dict, names: list[str] | None = None) -> list[np.ndarray]:
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(names, feeds)


@pytest.mark.parametrize("name", ["mask_logits", "boxes"])
def test_one_of_two_heads(tmp_path: Path, name: str) -> None:
    whole = (make_perception(tmp_path / "m") / "model.onnx").read_bytes()
    part = only_outputs(whole, [name])
    graph = onnx.load_from_string(part).graph
    onnx.checker.check_model(onnx.load_from_string(part), full_check=True)
    assert [value.name for value in graph.output] == [name]
    other = "boxes" if name == "mask_logits" else "mask_logits"
    assert other not in {output for node in graph.node for output in node.output}
    together = {n: len(onnx.load_from_string(only_outputs(whole, [n])).graph.node) for n in ("mask_logits", "boxes")}
    assert sum(together.values()) == len(onnx.load_from_string(whole).graph.node) + 1, "they share what makes it unit"
    feeds = {"image": np.random.default_rng(0).uniform(0, 1, (1, 3, 64, 96)).astype(np.float32)}
    np.testing.assert_array_equal(answers(part, feeds)[0], answers(whole, feeds, [name])[0])


def test_all_outputs_are_the_whole_file(tmp_path: Path) -> None:
    whole = write_rtdetr(tmp_path / "r.onnx").read_bytes()
    assert only_outputs(whole, ["pred_boxes", "logits"]) == whole


def branching() -> bytes:
    """`chosen` is made by an If whose branches take x's double and its negative from around them."""

    def branch(name: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, ["n"])
        return helper.make_graph([helper.make_node("Identity", [name], [f"{name}_out"])], name, [], [out])

    nodes = [
        helper.make_node("Add", ["x", "x"], ["double"]),
        helper.make_node("Neg", ["x"], ["negative"]),
        helper.make_node("Exp", ["x"], ["other"]),
        helper.make_node("If", ["which"], ["chosen"], then_branch=branch("double"), else_branch=branch("negative")),
    ]
    value = helper.make_tensor_value_info
    inputs = [value("x", TensorProto.FLOAT, ["n"]), value("which", TensorProto.BOOL, [])]
    outputs = [value(name, TensorProto.FLOAT, ["n"]) for name in ("chosen", "other")]
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def test_what_inner_graphs_take_from_around_them_stays() -> None:
    part = only_outputs(branching(), ["chosen"])
    assert [node.op_type for node in onnx.load_from_string(part).graph.node] == ["Add", "Neg", "If"]
    x = np.arange(3, dtype=np.float32)
    for which, expected in ((True, 2 * x), (False, -x)):
        np.testing.assert_array_equal(answers(part, {"x": x, "which": np.array(which)})[0], expected)
    assert [node.op_type for node in onnx.load_from_string(only_outputs(branching(), ["other"])).graph.node] == ["Exp"]


def test_an_output_that_is_not_there_is_named() -> None:
    with pytest.raises(ModelError, match="the network gives chosen, other; it has no output boxes"):
        only_outputs(branching(), ["chosen", "boxes"])


@settings(deadline=None)
@given(st.integers(0, 10_000), st.binary(max_size=30))
def test_damaged_files_are_refused_or_cut(at: int, noise: bytes) -> None:
    """Whatever the bytes are, no other error comes up."""
    whole = branching()
    at %= len(whole)
    with contextlib.suppress(ModelError):
        only_outputs(whole[:at] + noise + whole[at + len(noise) :], ["chosen"])
    with pytest.raises(ModelError, match="are no ONNX file"):
        only_outputs(whole[:-3], ["chosen"])
