"""ONNX's operators in torch, as far as convolutional and transformer networks of images use them; gradients pass.

Each takes its inputs, None for an optional one that is left out, and its attributes, and gives a tensor, or several as
a tuple. Shapes and other whole numbers stay on the CPU wherever the images are, so that a GPU is never waited for.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor
from torch.nn import functional as F

from sage_fusion_ros.engines.torch_engine import spatial
from sage_fusion_ros.engines.torch_engine.spatial import Attributes
from sage_fusion_ros.errors import ModelError

Operator = Callable[[list[Any], Attributes], Any]

_TYPES = {
    onnx.TensorProto.FLOAT: torch.float32,
    onnx.TensorProto.DOUBLE: torch.float64,
    onnx.TensorProto.FLOAT16: torch.float16,
    onnx.TensorProto.INT64: torch.int64,
    onnx.TensorProto.INT32: torch.int32,
    onnx.TensorProto.UINT8: torch.uint8,
    onnx.TensorProto.BOOL: torch.bool,
}


def _together(tensors: Sequence[Tensor]) -> list[Tensor]:
    """All on one device: what was computed from shapes goes to where the images are."""
    away = next((tensor.device for tensor in tensors if tensor.device.type != "cpu"), None)
    return list(tensors) if away is None else [tensor.to(away) for tensor in tensors]


def _two(operator: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda inputs, _: operator(*_together(inputs))


def _one(operator: Callable[[Tensor], Tensor]) -> Operator:
    return lambda inputs, _: operator(inputs[0])


def _several(operator: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    """Of any number of tensors, one after the other."""
    return lambda inputs, _: functools.reduce(operator, _together(inputs))


def _mean(inputs: list[Any], _attributes: Attributes) -> Tensor:
    total: Tensor = functools.reduce(torch.add, _together(inputs))
    return total / len(inputs)


def _cumulative_sum(inputs: list[Any], attributes: Attributes) -> Tensor:
    if attributes.get("exclusive", 0) or attributes.get("reverse", 0):
        raise ModelError("a cumulative sum that is exclusive or runs backwards has no form in torch here")
    return torch.cumsum(inputs[0], dim=int(inputs[1]))


def _divide(a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _slice(inputs: list[Any], _attributes: Attributes) -> Tensor:
    data, starts, ends, *rest = inputs
    axes = rest[0].tolist() if rest and rest[0] is not None else range(len(starts))
    steps = rest[1].tolist() if len(rest) > 1 else [1] * len(starts)
    chosen = [slice(None)] * data.ndim
    for start, end, axis, step in zip(starts.tolist(), ends.tolist(), axes, steps, strict=True):
        if step < 1:
            raise ModelError("a slice that runs backwards has no form in torch here")
        chosen[axis] = slice(start, min(end, data.shape[axis]), step)
    return data[tuple(chosen)]


def _split(inputs: list[Any], attributes: Attributes) -> tuple[Tensor, ...]:
    axis, given = attributes.get("axis", 0), inputs[1] if len(inputs) > 1 else attributes.get("split")
    if given is not None:
        return inputs[0].split([int(size) for size in given], dim=axis)
    parts = attributes["num_outputs"] if "num_outputs" in attributes else attributes["outputs"]
    return inputs[0].split(-(-inputs[0].shape[axis] // parts), dim=axis)


def _reshape(inputs: list[Any], attributes: Attributes) -> Tensor:
    data, sizes = inputs[0], inputs[1].tolist()
    if not attributes.get("allowzero", 0):
        sizes = [data.shape[i] if size == 0 else size for i, size in enumerate(sizes)]
    return data.reshape(sizes)


def _axes(inputs: list[Any], attributes: Attributes) -> list[int] | None:
    """The axes as the second input, as newer files have them, or as an attribute."""
    given = inputs[1].tolist() if len(inputs) > 1 and inputs[1] is not None else attributes.get("axes")
    return None if given is None else list(given)


def _unsqueeze(inputs: list[Any], attributes: Attributes) -> Tensor:
    data, axes = inputs[0], _axes(inputs, attributes) or []
    for axis in sorted(axis % (inputs[0].ndim + len(axes)) for axis in axes):
        data = data.unsqueeze(axis)
    return data


def _squeeze(inputs: list[Any], attributes: Attributes) -> Tensor:
    axes = _axes(inputs, attributes)
    return inputs[0].squeeze() if axes is None else inputs[0].squeeze(tuple(axes))


def _reduce_mean(inputs: list[Any], attributes: Attributes) -> Tensor:
    axes = _axes(inputs, attributes) or list(range(inputs[0].ndim))
    return inputs[0].mean(dim=axes, keepdim=bool(attributes.get("keepdims", 1)))


def _gather(inputs: list[Any], attributes: Attributes) -> Tensor:
    data, indices = inputs
    axis = attributes.get("axis", 0) % data.ndim
    indices = torch.where(indices < 0, indices + data.shape[axis], indices).to(data.device)
    picked = data.index_select(axis, indices.flatten().long())
    return picked.reshape((*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :]))


def _softmax(inputs: list[Any], attributes: Attributes) -> Tensor:
    data = inputs[0]
    if attributes["opset"] >= 13:
        return data.softmax(dim=attributes.get("axis", -1))
    axis = attributes.get("axis", 1) % data.ndim  # until then over all axes from this one on
    return data.flatten(axis).softmax(dim=-1).reshape(data.shape)


def _clip(inputs: list[Any], attributes: Attributes) -> Tensor:
    low, high = (inputs[i] if len(inputs) > i else attributes.get(name) for i, name in ((1, "min"), (2, "max")))
    return inputs[0].clamp(None if low is None else float(low), None if high is None else float(high))


def _gemm(inputs: list[Any], attributes: Attributes) -> Tensor:
    a, b, *c = inputs
    product = (a.T if attributes.get("transA", 0) else a) @ (b.T if attributes.get("transB", 0) else b)
    product = attributes.get("alpha", 1.0) * product
    return product + attributes.get("beta", 1.0) * c[0] if c else product


def _batch_norm(inputs: list[Any], attributes: Attributes) -> Tensor:
    data, scale, bias, mean, variance = inputs
    return F.batch_norm(data, mean, variance, scale, bias, eps=attributes.get("epsilon", 1e-5))


def _constant_of_shape(inputs: list[Any], attributes: Attributes) -> Tensor:
    value = numpy_helper.to_array(attributes["value"]) if "value" in attributes else None
    fill = torch.zeros(1) if value is None else torch.from_numpy(value.copy())
    return fill.expand(inputs[0].tolist()).clone()


OPERATORS: dict[str, Operator] = {
    "Add": _two(torch.add),
    "AveragePool": spatial.average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": lambda inputs, attributes: inputs[0].to(_TYPES[attributes["to"]]),
    "Clip": _clip,
    "Concat": lambda inputs, attributes: torch.cat(_together(inputs), dim=attributes["axis"]),
    "ConstantOfShape": _constant_of_shape,
    "Conv": spatial.conv,
    "ConvTranspose": spatial.conv_transpose,
    "CumSum": _cumulative_sum,
    "DepthToSpace": spatial.depth_to_space,
    "Div": _two(_divide),
    "Dropout": _one(lambda x: x),
    "Equal": _two(torch.eq),
    "Erf": _one(torch.erf),
    "Exp": _one(torch.exp),
    "Expand": lambda inputs, _: inputs[0].expand(torch.broadcast_shapes(inputs[0].shape, tuple(inputs[1].tolist()))),
    "Flatten": lambda inputs, a: inputs[0].reshape(math.prod(inputs[0].shape[: a.get("axis", 1)]), -1),
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": _one(lambda x: x.mean(dim=tuple(range(2, x.ndim)), keepdim=True)),
    "HardSigmoid": lambda inputs, a: (a.get("alpha", 0.2) * inputs[0] + a.get("beta", 0.5)).clamp(0, 1),
    "HardSwish": _one(F.hardswish),
    "Identity": _one(lambda x: x),
    "LeakyRelu": lambda inputs, attributes: F.leaky_relu(inputs[0], attributes.get("alpha", 0.01)),
    "MatMul": _two(torch.matmul),
    "Max": _several(torch.maximum),
    "MaxPool": spatial.max_pool,
    "Mean": _mean,
    "Min": _several(torch.minimum),
    "Mul": _two(torch.mul),
    "Neg": _one(torch.neg),
    "Pad": spatial.pad,
    "Pow": _two(torch.pow),
    "Range": lambda inputs, _: torch.arange(*(x.item() for x in inputs), dtype=inputs[0].dtype),
    "ReduceMean": _reduce_mean,
    "Relu": _one(F.relu),
    "Reshape": _reshape,
    "Resize": spatial.resize,
    "Shape": lambda inputs, a: torch.tensor(inputs[0].shape[a.get("start", 0) : a.get("end")], dtype=torch.int64),
    "Sigmoid": _one(torch.sigmoid),
    "Slice": _slice,
    "Softmax": _softmax,
    "Softplus": _one(F.softplus),
    "Split": _split,
    "Sqrt": _one(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _two(torch.sub),
    "Sum": _several(torch.add),
    "Tanh": _one(torch.tanh),
    "Transpose": lambda inputs, a: inputs[0].permute(a.get("perm") or list(reversed(range(inputs[0].ndim)))),
    "Unsqueeze": _unsqueeze,
    "Where": lambda inputs, _: torch.where(*_together(inputs)),
}

# Their inputs meet in one computation, so all have to be where the images are.
TOGETHER = frozenset(
    {"Add", "Concat", "Div", "Equal", "Gather", "MatMul", "Max", "Mean", "Min", "Mul", "Pow", "Sub", "Sum", "Where"}
)
# What takes nearly all of the time, and what GPUs and newer CPUs do in half precision many times as fast.
HEAVY = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
