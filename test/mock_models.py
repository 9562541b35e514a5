"""Small fusion models made on the spot, so that tests of the runtime need no trained weights."""

import itertools
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from sage_fusion_ros.engines.card import ModelCard, sha256_of, write_card


def make_model(
    folder: Path,
    operator: str = "Max",
    *,
    size_multiple: int = 1,
    inputs: tuple[str, str] = ("rgb_luma", "thermal"),
    card_task: str = "fusion",
    repeat: int = 0,
) -> Path:
    """A model folder whose network is one operator over the two inputs: Max, Mean, or Sum (not clamped).

    Args:
        folder: Where to make it; its name is the model's name.
        operator: ONNX operator of two inputs.
        size_multiple: As the card says.
        inputs: Names of the inputs in the graph.
        card_task: Task in the card.
        repeat: Extra 15x15 mean filters behind it, to make the network slow.
    """
    folder.mkdir(parents=True)
    shape = ["n", 1, "h", "w"]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in inputs]
    output = helper.make_tensor_value_info("fused_luma", TensorProto.FLOAT, shape)
    names = ["fused_luma"] if repeat == 0 else [f"x{i}" for i in range(repeat)] + ["fused_luma"]
    nodes = [helper.make_node(operator, list(inputs), [names[0]])]
    for before, after in itertools.pairwise(names):
        nodes.append(
            helper.make_node("AveragePool", [before], [after], kernel_shape=[15, 15], pads=[7] * 4, count_include_pad=0)
        )
    graph = helper.make_graph(nodes, "mock", values, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, folder / "model.onnx")
    card = ModelCard(
        name=folder.name,
        task=card_task,
        sha256=sha256_of(folder / "model.onnx"),
        licence="Apache-2.0",
        size_multiple=size_multiple,
    )
    write_card(folder, card)
    return folder
