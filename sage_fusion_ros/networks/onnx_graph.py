"""A frozen ONNX network as a torch module, so that a training can look through it: gradients pass, weights stay.

Only what one-way convolutional detectors consist of is here. onnx2torch would do more, but needs torchvision, whose
published builds fit one CUDA build of torch each.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from sage_fusion_ros.errors import ModelError

Attributes = dict[str, Any]


class OnnxGraph(nn.Module):
    """Runs the nodes of an ONNX graph in their order.

    Height, width and batch may differ from the file's where the graph allows it, as a fully convolutional one does.

    Args:
        path: The ONNX file, with one input and one output.

    Raises:
        ModelError: The file can't be read or has an operator that is not known here.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            graph = onnx.load(str(path)).graph
        except Exception as error:  # protobuf's and onnx's own, none of them public
            raise ModelError(f"the network {path} can't be read: {error}") from error
        unknown = sorted({node.op_type for node in graph.node} - _OPERATORS.keys() - {"Constant"})
        if unknown:
            raise ModelError(
                f"the network {path} has the operators {', '.join(unknown)}, which can't be trained through; known are "
                f"{', '.join(_OPERATORS)}"
            )
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant":
                constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        self._names = {name: f"constant_{i}" for i, name in enumerate(constants)}
        for name, buffer in self._names.items():
            self.register_buffer(buffer, torch.from_numpy(np.array(constants[name])), persistent=False)
        self._nodes: list[tuple[str, list[str], str, Attributes]] = [
            (node.op_type, list(node.input), node.output[0], _attributes(node))
            for node in graph.node
            if node.op_type != "Constant"
        ]
        self._input = next(value.name for value in graph.input if value.name not in constants)
        self._output = graph.output[0].name
        self._last_use = {name: i for i, (_, inputs, _, _) in enumerate(self._nodes) for name in inputs}

    def forward(self, image: Tensor) -> Tensor:
        """The network's output for its input, float32 (N, 3, H, W) for a detector."""
        values: dict[str, Tensor | None] = {name: getattr(self, buffer) for name, buffer in self._names.items()}
        values[""] = None  # an optional input that is left out
        values[self._input] = image
        for i, (kind, inputs, output, attributes) in enumerate(self._nodes):
            values[output] = _OPERATORS[kind]([values[name] for name in inputs], attributes)
            for name in inputs:
                if name and self._last_use[name] == i and name not in self._names:
                    values.pop(name, None)
        result = values[self._output]
        assert result is not None
        return result


def _attributes(node: onnx.NodeProto) -> Attributes:
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def _padding(attributes: Attributes) -> tuple[int, int]:
    pads = attributes.get("pads", [0, 0, 0, 0])
    if pads[:2] != pads[2:]:
        raise ModelError(f"padding {pads} differs from side to side, which can't be trained through")
    return pads[0], pads[1]


def _conv(inputs: list[Any], attributes: Attributes) -> Tensor:
    image, weight, *bias = inputs
    return F.conv2d(
        image,
        weight,
        bias[0] if bias else None,
        attributes.get("strides", (1, 1)),
        _padding(attributes),
        attributes.get("dilations", (1, 1)),
        attributes.get("group", 1),
    )


def _max_pool(inputs: list[Any], attributes: Attributes) -> Tensor:
    ceil = bool(attributes.get("ceil_mode", 0))
    return F.max_pool2d(inputs[0], attributes["kernel_shape"], attributes["strides"], _padding(attributes), 1, ceil)


def _resize(inputs: list[Any], attributes: Attributes) -> Tensor:
    scales = [float(scale) for scale in inputs[2]]
    nearest = attributes.get("mode") == b"nearest"
    if not nearest or any(scale != round(scale) for scale in scales):
        raise ModelError(f"a resize of mode {attributes.get('mode')!r} by {scales} can't be trained through")
    return F.interpolate(inputs[0], scale_factor=tuple(scales[2:]), mode="nearest")


def _slice(inputs: list[Any], _attributes: Attributes) -> Tensor:
    data, starts, ends, axes, *steps = inputs
    chosen = [slice(None)] * data.ndim
    strides = steps[0].tolist() if steps else [1] * len(starts)
    for start, end, axis, step in zip(starts.tolist(), ends.tolist(), axes.tolist(), strides, strict=True):
        chosen[axis] = slice(start, min(end, data.shape[axis]), step)
    return data[tuple(chosen)]


def _reshape(inputs: list[Any], _attributes: Attributes) -> Tensor:
    data, shape = inputs
    return data.reshape([data.shape[i] if size == 0 else size for i, size in enumerate(shape.tolist())])


_OPERATORS: dict[str, Callable[[list[Any], Attributes], Tensor]] = {
    "Add": lambda inputs, _: inputs[0] + inputs[1],
    "Concat": lambda inputs, attributes: torch.cat(inputs, dim=attributes["axis"]),
    "Conv": _conv,
    "MaxPool": _max_pool,
    "Mul": lambda inputs, _: inputs[0] * inputs[1],
    "Relu": lambda inputs, _: F.relu(inputs[0]),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": lambda inputs, _: torch.sigmoid(inputs[0]),
    "Slice": _slice,
    "Transpose": lambda inputs, attributes: inputs[0].permute(attributes["perm"]),
}
