"""Networks that find out what a processor's unit can do: chains of large products that hardly move any data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from matrix import FLOAT, INT8
from onnx import TensorProto, helper, numpy_helper

CHANNELS, SIDE, CONVOLUTIONS = 256, 32, 8
ORDER, MATRICES = 1024, 4
_OPSET, _IR = 17, 8
_SCALE, _ZERO = "scale", "zero"

Step = Callable[[int, str, str, str], onnx.NodeProto]


def write_probes(folder: Path) -> list[tuple[str, Path]]:
    """Writes a chain of convolutions and one of matrix products, each in floating point and in eight bits.

    Returns:
        Form, "float" or "int8", and file of each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chains: dict[str, tuple[list[int], list[int], int, Step]] = {
        "convolutions": ([1, CHANNELS, SIDE, SIDE], [CHANNELS, CHANNELS, 3, 3], CONVOLUTIONS, _convolution),
        "matrices": ([ORDER, ORDER], [ORDER, ORDER], MATRICES, _product),
    }
    written = []
    for name, (shape, weight_shape, length, step) in chains.items():
        for form in (FLOAT, INT8):
            path = folder / f"{name}_{form}.onnx"
            onnx.save(_chain(name, shape, weight_shape, length, step, form), str(path))
            written.append((form, path))
    return written


def _chain(name: str, shape: list[int], weight_shape: list[int], length: int, step: Step, form: str) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    constants = {_SCALE: np.float32(1 / 64), _ZERO: np.uint8(0)} if form == INT8 else {}
    before = "image"
    for i in range(length):
        weights = rng.standard_normal(weight_shape).astype(np.float32) / np.sqrt(np.prod(weight_shape[1:]))
        after = "result" if i == length - 1 and form == FLOAT else f"value_{i}"
        if form == INT8:
            constants[f"weight_{i}"] = np.clip(np.rint(weights * 512), -127, 127).astype(np.int8)
            constants[f"weight_{i}_scale"], constants[f"weight_{i}_zero"] = np.float32(1 / 512), np.int8(0)
            before = _quantised(nodes, before, f"taken_{i}")
            parts = [f"weight_{i}", f"weight_{i}_scale", f"weight_{i}_zero"]
            nodes.append(helper.make_node("DequantizeLinear", parts, [f"weight_{i}_float"]))
            nodes.append(step(i, before, f"weight_{i}_float", after))
        else:
            constants[f"weight_{i}"] = weights.astype(np.float32)
            nodes.append(step(i, before, f"weight_{i}", after))
        before = after
    if form == INT8:
        _quantised(nodes, before, "result", last=True)
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    onnx.checker.check_model(model)
    return model


def _quantised(nodes: list[onnx.NodeProto], name: str, prefix: str, last: bool = False) -> str:
    """A value made eight bits and float again, which the libraries take as "in eight bits"."""
    after = prefix if last else f"{prefix}_float"
    nodes.append(helper.make_node("QuantizeLinear", [name, _SCALE, _ZERO], [f"{prefix}_int8"]))
    nodes.append(helper.make_node("DequantizeLinear", [f"{prefix}_int8", _SCALE, _ZERO], [after]))
    return after


def _convolution(i: int, before: str, weights: str, after: str) -> onnx.NodeProto:
    return helper.make_node("Conv", [before, weights], [after], f"conv_{i}", pads=[1] * 4, kernel_shape=[3, 3])


def _product(i: int, before: str, weights: str, after: str) -> onnx.NodeProto:
    return helper.make_node("MatMul", [before, weights], [after], f"matmul_{i}")
