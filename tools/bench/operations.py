"""Counts what a network has to do at one image size, from its ONNX file: operations, and bytes to be moved.

A multiplication and its addition are two operations, as they are in a processor's peak. Other operators count one for
each value they give (pooling: one for each value it looks at), and those that only move or convert values none.
Products are counted as they stand in the graph; a library that finds a shorter way (Winograd) may beat a floor made of
this count.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from matrix import FLOAT, INT8
from onnx import shape_inference

from sage_fusion_ros.errors import ModelError

Shape = tuple[int, ...]

# Where the two factors of a product stand among the inputs.
PRODUCTS = {
    "Conv": (0, 1),
    "ConvTranspose": (0, 1),
    "ConvInteger": (0, 1),
    "QLinearConv": (0, 3),
    "Gemm": (0, 1),
    "MatMul": (0, 1),
    "MatMulInteger": (0, 1),
    "QLinearMatMul": (0, 3),
}
WHOLE_NUMBERS = ("ConvInteger", "QLinearConv", "MatMulInteger", "QLinearMatMul")
MOVES = ("Cast", "Concat", "Constant", "ConstantOfShape", "DepthToSpace", "DequantizeLinear", "Expand", "Flatten")
MOVES += ("Gather", "Identity", "Pad", "QuantizeLinear", "Range", "Reshape", "Shape", "Size", "Slice", "SpaceToDepth")
MOVES += ("Split", "Squeeze", "Transpose", "Unsqueeze")
POOLS = ("MaxPool", "AveragePool")


@dataclass(frozen=True)
class Layer:
    """One product of a network: a convolution or a matrix product.

    Attributes:
        operations: Its operations.
        unit: "int8" where both factors are whole numbers of eight bits, else "float".
        values: Numbers it takes (both factors) and gives, each once.
    """

    operations: float
    unit: str
    values: int


@dataclass(frozen=True)
class Operations:
    """What a network has to do at one size.

    Attributes:
        by_operator: Operations by operator.
        by_unit: Operations by unit, "float" and "int8".
        layers: Its products.
        input_output_bytes: Bytes of what it takes and gives, as the file declares their types.
        weights: Number of weights by unit.
        unsized: Nodes whose shapes only a run tells; they are counted as nothing.
    """

    by_operator: dict[str, float]
    by_unit: dict[str, float]
    layers: tuple[Layer, ...]
    input_output_bytes: int
    weights: dict[str, int]
    unsized: int

    @property
    def total(self) -> float:
        """All operations."""
        return sum(self.by_operator.values())


def count(path: Path, shape_of: Callable[[str, Sequence[int | None]], Shape]) -> Operations:
    """Counts a network's operations.

    Args:
        path: Its ONNX file.
        shape_of: Shape of an input, from its name and the lengths that the file declares, None where one is open.

    Raises:
        ModelError: The file can't be read, or the shapes of a product follow from no shape of the inputs.
    """
    try:
        model = onnx.load(str(path))
        initializers = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
        for value in model.graph.input:
            axes = value.type.tensor_type.shape.dim
            if value.name not in initializers:
                declared = [axis.dim_value if axis.HasField("dim_value") else None for axis in axes]
                for axis, side in zip(axes, shape_of(value.name, declared), strict=True):
                    axis.dim_value = side
        _forget_open_sizes(model)
        model = shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:  # protobuf's and onnx's own, none of them public
        raise ModelError(f"the operations of {path} can't be counted: {error}") from error
    return _count(path, model.graph, initializers)


def _forget_open_sizes(model: onnx.ModelProto) -> None:
    """Sizes declared by a name are found out anew: they would stay names beside the sizes of the inputs."""
    del model.graph.value_info[:]
    for value in model.graph.output:
        for axis in value.type.tensor_type.shape.dim:
            if not axis.HasField("dim_value"):
                axis.Clear()


def _count(path: Path, graph: onnx.GraphProto, initializers: dict[str, Shape]) -> Operations:
    shapes: dict[str, Shape | None] = dict(initializers)
    sizes: dict[str, int] = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        known = tensor.HasField("shape") and all(axis.HasField("dim_value") for axis in tensor.shape.dim)
        shapes[value.name] = tuple(axis.dim_value for axis in tensor.shape.dim) if known else None
        if known and tensor.elem_type:
            sizes[value.name] = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).itemsize
    maker = {name: node for node in graph.node for name in node.output}
    by_operator: Counter[str] = Counter()
    by_unit: Counter[str] = Counter()
    weights: Counter[str] = Counter()
    layers, unsized = [], 0
    for node in graph.node:
        kind, unit = node.op_type, FLOAT
        taken = [shapes.get(name) for name in node.input if name]
        given = [shapes.get(name) for name in node.output if name]
        if kind in MOVES:
            continue
        if kind in PRODUCTS:
            factors = [node.input[i] for i in PRODUCTS[kind]]
            first, second = (shapes.get(name) for name in factors)
            if first is None or second is None or given[0] is None:
                raise ModelError(f"the operations of {path} can't be counted: {kind} '{node.output[0]}' has no size")
            operations = 2.0 * _products(node, first, second, given[0])
            if kind in WHOLE_NUMBERS or all(_quantised(maker, name) for name in factors):
                unit = INT8
            weights[unit] += math.prod(second) if _is_constant(maker, initializers, factors[1]) else 0
            layers.append(Layer(operations, unit, math.prod(first) + math.prod(second) + math.prod(given[0])))
            if len(node.input) == (3 if kind in ("Conv", "ConvTranspose", "Gemm") else 0):
                operations += math.prod(given[0])  # the bias
        elif None in given or None in taken:
            unsized += 1
            continue
        elif kind in POOLS:
            operations = float(_values(given) * math.prod(_attribute(node, "kernel_shape", [1])))
        elif kind.startswith(("Global", "Reduce")):
            operations = float(_values(taken[:1]))
        else:
            operations = float(_values(given))
        by_operator[kind] += operations
        by_unit[unit] += operations
    outer = [value.name for value in (*graph.input, *graph.output) if value.name not in initializers]
    moved = sum(math.prod(shapes[name] or ()) * sizes.get(name, 4) for name in outer if shapes[name] is not None)
    return Operations(dict(by_operator), dict(by_unit), tuple(layers), moved, dict(weights), unsized)


def _products(node: onnx.NodeProto, first: Shape, second: Shape, given: Shape) -> float:
    """Multiplications of a product."""
    if node.op_type == "ConvTranspose":
        return float(math.prod(first) * math.prod(second[1:]))
    if "Conv" in node.op_type:  # each value given looks at the channels of its group under the whole kernel
        return float(math.prod(given) * math.prod(second[1:]))
    depth = first[-2] if node.op_type == "Gemm" and _attribute(node, "transA", 0) else first[-1]
    return float(math.prod(given) * depth)


def _quantised(maker: dict[str, onnx.NodeProto], name: str) -> bool:
    return name in maker and maker[name].op_type == "DequantizeLinear"


def _is_constant(maker: dict[str, onnx.NodeProto], initializers: dict[str, Shape], name: str) -> bool:
    while name in maker and maker[name].op_type in ("DequantizeLinear", "Identity"):
        name = maker[name].input[0]
    return name in initializers or (name in maker and maker[name].op_type == "Constant")


def _attribute(node: onnx.NodeProto, name: str, default: list[int] | int) -> list[int] | int:
    return next((onnx.helper.get_attribute_value(each) for each in node.attribute if each.name == name), default)


def _values(shapes: Iterable[Shape | None]) -> int:
    return sum(math.prod(shape) for shape in shapes if shape is not None)
