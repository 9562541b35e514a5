"""A small fusion model with convolutions, made on the spot, and pairs to quantise it with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from training_data import write_pairs

from sage_fusion_ros.engines.card import ModelCard, sha256_of, write_card

LAYERS = ("first", "middle", "last")


def make_conv_model(folder: Path, *, task: str = "fusion", training: dict | None = None) -> Path:
    """A model folder: three 3x3 convolutions with leaky ReLUs between them and a sigmoid behind."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    shape = ["n", 1, "h", "w"]
    nodes = [helper.make_node("Concat", ["rgb_luma", "thermal"], ["pair"], axis=1)]
    weights, before = [], "pair"
    for name, (inputs, outputs) in zip(LAYERS, ((2, 8), (8, 8), (8, 1)), strict=True):
        kernel = rng.normal(0, (2 / (9 * inputs)) ** 0.5, (outputs, inputs, 3, 3)).astype(np.float32)
        weights += [
            numpy_helper.from_array(kernel, f"{name}.weight"),
            numpy_helper.from_array(rng.normal(0, 0.1, outputs).astype(np.float32), f"{name}.bias"),
        ]
        given = [before, f"{name}.weight", f"{name}.bias"]
        nodes.append(helper.make_node("Conv", given, [f"{name}.raw"], name=name, pads=[1] * 4))
        if name != LAYERS[-1]:
            nodes.append(helper.make_node("LeakyRelu", [f"{name}.raw"], [f"{name}.out"], alpha=0.01))
        before = f"{name}.out"
    nodes.append(helper.make_node("Sigmoid", [f"{LAYERS[-1]}.raw"], ["fused_luma"]))
    graph = helper.make_graph(
        nodes,
        "convolutions",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("rgb_luma", "thermal")],
        [helper.make_tensor_value_info("fused_luma", TensorProto.FLOAT, shape)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, folder / "model.onnx")
    card = ModelCard(
        name=folder.name,
        task=task,
        sha256=sha256_of(folder / "model.onnx"),
        licence="Apache-2.0",
        training=training or {},
    )
    write_card(folder, card)
    return folder


def make_sets(root: Path, *names: str, count: int = 6) -> list[Path]:
    """Folders of pairs."""
    return [write_pairs(root / name, count) for name in names]
