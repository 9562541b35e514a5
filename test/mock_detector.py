"""A tiny detector in YOLOX's layout: it sees a person, one cell in size, in every cell that is brighter than half."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)
OBJECTNESS, PERSON = 4, 5
STEEPNESS = 100.0  # so that the grey of a letterbox is darkness


def write_detector(path: Path, side: int = 64, classes: int = 80) -> Path:
    """Writes it for a square input of this side, a multiple of 32."""
    channels = 5 + classes
    nodes, weights, flat = [], [], []
    for stride in STRIDES:
        kernel = np.zeros((channels, 3, stride, stride), np.float32)
        kernel[OBJECTNESS] = STEEPNESS / (255 * 3 * stride * stride)  # the cell's mean, scaled
        bias = np.zeros(channels, np.float32)
        bias[:2] = 0.5  # a box sits in the middle of its cell and has its size
        bias[OBJECTNESS], bias[PERSON], bias[PERSON + 1 :] = -STEEPNESS / 2, 8.0, -8.0
        name = f"s{stride}"
        weights += [numpy_helper.from_array(kernel, f"{name}_w"), numpy_helper.from_array(bias, f"{name}_b")]
        nodes += [
            helper.make_node("Conv", ["images", f"{name}_w", f"{name}_b"], [f"{name}_raw"], strides=[stride, stride]),
            helper.make_node("Slice", [f"{name}_raw", "zero", "four", "one"], [f"{name}_box"]),
            helper.make_node("Slice", [f"{name}_raw", "four", "all", "one"], [f"{name}_logits"]),
            helper.make_node("Sigmoid", [f"{name}_logits"], [f"{name}_scores"]),
            helper.make_node("Concat", [f"{name}_box", f"{name}_scores"], [f"{name}_both"], axis=1),
            helper.make_node("Reshape", [f"{name}_both", "rows"], [f"{name}_flat"]),
        ]
        flat.append(f"{name}_flat")
    nodes += [
        helper.make_node("Concat", flat, ["together"], axis=2),
        helper.make_node("Transpose", ["together"], ["output"], perm=[0, 2, 1]),
    ]
    integers = {"zero": [0], "one": [1], "four": [4], "all": [channels], "rows": [1, channels, -1]}
    weights += [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in integers.items()]
    cells = sum((side // stride) ** 2 for stride in STRIDES)
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, cells, channels])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path
