"""An ONNX network as a torch module: what the torch engine runs, and what a training looks through, weights frozen.

Only what one-way networks of images consist of is here (operators.py). onnx2torch would do more, but needs
torchvision, whose published builds fit one CUDA build of torch each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from sage_fusion_ros.engines.base import Port
from sage_fusion_ros.engines.torch_engine.operators import OPERATORS
from sage_fusion_ros.engines.torch_engine.spatial import Attributes
from sage_fusion_ros.errors import ModelError

# What these take beside the image are sizes and limits, which are read as numbers.
READS_NUMBERS = ("Resize", "Pad", "Clip", "Range")


class Node(NamedTuple):
    """One operator of a graph: its kind, the names of what it takes and gives, and its attributes."""

    kind: str
    inputs: list[str]
    outputs: list[str]
    attributes: Attributes


class OnnxGraph(nn.Module):
    """Runs the nodes of an ONNX graph in their order.

    Height, width and batch may differ from the file's where the graph allows it, as a fully convolutional one does.

    Attributes:
        path: The file.
        inputs: What it takes and the outputs need, in its order.
        gives: What it gives by itself.
        outputs: Names of the tensors that are computed.
        nodes: Its operators, each after those it needs.

    Args:
        path: The ONNX file.
        outputs: Names of the tensors wanted, inner ones too; nodes that none of them needs are left out, and may be of
            any kind. None: the file's first output.

    Raises:
        ModelError: The file can't be read, has no such tensor, or needs an operator that is not known here.
    """

    def __init__(self, path: Path, outputs: Sequence[str] | None = None) -> None:
        super().__init__()
        try:
            model = onnx.load(str(path))
        except Exception as error:  # protobuf's and onnx's own, none of them public
            raise ModelError(f"the network {path} can't be read: {error}") from error
        graph = model.graph
        opset = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 0)
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        constants |= {node.output[0]: _constant(node) for node in graph.node if node.op_type == "Constant"}
        self.path = path
        self.gives = tuple(map(_port, graph.output))
        self.outputs = tuple(outputs) if outputs is not None else tuple(port.name for port in self.gives[:1])
        nodes = _needed(path, graph, self.outputs)
        used = {name for node in nodes for name in node.input}
        self.inputs = tuple(_port(value) for value in graph.input if value.name in used - constants.keys())
        unknown = sorted({_kind(node) for node in nodes} - OPERATORS.keys())
        if unknown:
            raise ModelError(
                f"the network {path} has the operators {', '.join(unknown)}, which have no form in torch here; known "
                f"are {', '.join(OPERATORS)}"
            )
        self.nodes = [
            Node(node.op_type, list(node.input), list(node.output), _attributes(node, opset)) for node in nodes
        ]
        self._last_use = {name: i for i, node in enumerate(self.nodes) for name in node.inputs}
        numbers = {name for node in self.nodes if node.kind in READS_NUMBERS for name in node.inputs[1:]}
        self._numbers: dict[str, Tensor] = {}
        self._names: dict[str, str] = {}
        for name in [name for name in constants if name in self._last_use]:
            tensor = _tensor(path, name, constants[name])
            if tensor.is_floating_point() and name not in numbers:
                self._names[name] = f"constant_{len(self._names)}"
                self.register_buffer(self._names[name], tensor, persistent=False)
            else:
                self._numbers[name] = tensor

    def forward(self, *images: Tensor) -> Tensor:
        """The first of the outputs.

        Args:
            images: What the file takes, float32 (N, 3, H, W) for a detector.

        Raises:
            ModelError: As for `tensors`.
        """
        return self.tensors(*images)[0]

    def tensors(self, *images: Tensor) -> tuple[Tensor, ...]:
        """All the outputs, in the order of their names.

        Args:
            images: What the file takes.

        Raises:
            ModelError: It does not take so many inputs, or none of these sizes.
        """
        found = {name: value for name, value in self.walk(*images) if name in self.outputs}
        return tuple(found[name] for name in self.outputs)

    def walk(self, *images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Name and value of every tensor, as they are computed; arguments and errors as for `tensors`."""
        if len(images) != len(self.inputs):
            names = ", ".join(port.name for port in self.inputs)
            raise ModelError(f"the network {self.path} takes {names}; it was given {len(images)} inputs")
        values = self.constants()
        values |= {port.name: image for port, image in zip(self.inputs, images, strict=True)}
        for i, node in enumerate(self.nodes):
            results = self.run_node(node, [values[name] for name in node.inputs], images)
            for name in node.inputs:
                if self._last_use[name] == i and name:
                    values.pop(name, None)
            for name, value in zip(node.outputs, results, strict=False):
                if name in self._last_use:
                    values[name] = value
                yield name, value

    def constants(self) -> dict[str, Tensor | None]:
        """Weights where the module is, whole numbers on the CPU, and None by the empty name of what is left out."""
        values: dict[str, Tensor | None] = {name: getattr(self, buffer) for name, buffer in self._names.items()}
        return {**values, **self._numbers, "": None}

    def run_node(self, node: Node, given: Sequence[Tensor | None], images: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What an operator makes of its inputs.

        Args:
            node: Of this graph.
            given: Its inputs.
            images: What the network is shown, for the message.

        Raises:
            ModelError: It can't take them.
        """
        try:
            result = OPERATORS[node.kind](list(given), node.attributes)
        except (ModelError, RuntimeError, IndexError, TypeError, ValueError, KeyError) as error:
            shapes = ", ".join(str(tuple(x.shape)) for x in given if x is not None)
            raise ModelError(
                f"the network {self.path} fails at {node.kind} '{node.outputs[0]}' of {shapes}, shown "
                f"{tuple(images[0].shape)}: {error}"
            ) from error
        return result if isinstance(result, tuple) else (result,)


def _needed(path: Path, graph: onnx.GraphProto, outputs: Sequence[str]) -> list[onnx.NodeProto]:
    """The nodes that lead to some tensors; a graph lists each node after those it needs."""
    wanted, missing = set(outputs), set(outputs)
    nodes = []
    for node in reversed(graph.node):
        missing -= set(node.output)
        if node.op_type != "Constant" and not wanted.isdisjoint(node.output):
            nodes.append(node)
            wanted |= set(node.input)
    if missing:
        last = ", ".join(node.output[0] for node in graph.node[-8:])
        raise ModelError(f"the network {path} has no tensor {', '.join(sorted(missing))}; its last ones are {last}")
    return nodes[::-1]


def _kind(node: onnx.NodeProto) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def _attributes(node: onnx.NodeProto, opset: int) -> Attributes:
    """Those of the file, and what some operators depend on besides."""
    own = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {**own, "opset": opset, "outputs": len(node.output)}


def _constant(node: onnx.NodeProto) -> Any:
    attribute = node.attribute[0]
    if attribute.name == "value":
        return numpy_helper.to_array(attribute.t)
    value = np.array(onnx.helper.get_attribute_value(attribute))
    return value.astype(np.float32) if value.dtype.kind == "f" else value


def _tensor(path: Path, name: str, value: Any) -> Tensor:
    try:
        return torch.from_numpy(np.array(value))
    except TypeError as error:
        raise ModelError(f"the network {path} has '{name}' of a type that torch has not: {error}") from error


def _port(value: onnx.ValueInfoProto) -> Port:
    tensor = value.type.tensor_type
    shape = tuple(axis.dim_value if axis.HasField("dim_value") else None for axis in tensor.shape.dim)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type) if tensor.elem_type else "unknown"
    return Port(value.name, str(dtype), shape)
