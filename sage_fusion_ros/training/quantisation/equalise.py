"""Channels of one tensor brought nearer to one another in size, since one scale serves them all.

Where a convolution's output goes through a ReLU into other convolutions alone, a channel may be divided by any number
there and multiplied by it in what reads it; the network stays the same. Nagel et al. 2019 (cross-layer equalisation).
By the whole of a channel's size, the weights that read it would be as unlike as the channels were before, and they have
their steps too; half of it, on a scale of powers, is between the two (Xiao et al. 2023, SmoothQuant). On the SAGE
student it is worth 3 dB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from sage_fusion_ros.engines.base import Array
from sage_fusion_ros.training.quantisation.graph import LAYER, Graph

_HOMOGENEOUS = {"Relu", "LeakyRelu"}
_POWER = 0.5
_QUANTILE = 0.999  # a channel's size: single bright pixels do not count
_LEAST = 0.05  # of the largest channel's size, lest channels that are next to nothing are blown up
_EVERY = 4  # pixels, one of so many is looked at


@dataclass(frozen=True)
class _Link:
    """A tensor whose channels may be scaled: the convolution that makes it, its name, those that read it."""

    maker: Any
    tensor: str
    readers: list[Any]


def equalise(graph: Graph, feeds: Sequence[Mapping[str, Array]], threads: int, tick: Any) -> int:
    """Scales the channels of a graph, and writes its file anew.

    Args:
        graph: The network; it computes the same afterwards, but for rounding.
        feeds: What it is fed, at least once.
        threads: CPU threads; 0 takes every core.
        tick: Called after each of the feeds.

    Returns:
        How many tensors were scaled.
    """
    links = _links(graph)
    tapped = onnx.ModelProto()
    tapped.CopyFrom(graph.model)
    for link in links:
        tapped.graph.output.append(helper.make_tensor_value_info(link.tensor, TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(tapped.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [link.tensor for link in links]
    sizes: dict[str, npt.NDArray[Any]] = {}
    for each in feeds:
        if names:
            for name, values in zip(names, session.run(names, dict(each)), strict=True):
                size = _channel_sizes(values)
                sizes[name] = np.maximum(sizes.get(name, size), size)
        tick()
    weights = {tensor.name: tensor for tensor in graph.model.graph.initializer}
    for link in links:
        size = sizes[link.tensor]
        if not size.max() > 0:
            continue
        scale = (np.maximum(size / size.max(), _LEAST) ** _POWER).astype(np.float32)
        for name in link.maker.input[1:]:
            _scale(weights[name], 1 / scale, 0)
        for reader in link.readers:
            _scale(weights[reader.input[1]], scale, 1)
    onnx.save(graph.model, graph.path)
    return len(links)


def _links(graph: Graph) -> list[_Link]:
    nodes = graph.model.graph.node
    outputs = {port.name for port in graph.model.graph.output}
    readers: dict[str, list[Any]] = {}
    for node in nodes:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    weights = {tensor.name for tensor in graph.model.graph.initializer}

    def own(node: Any, names: Sequence[str]) -> bool:
        """Whether these weights are fixed, and no other node's."""
        return all(name in weights and len(readers[name]) == 1 for name in names)

    links = []
    for node in nodes:
        if node.op_type != LAYER or not own(node, node.input[1:]):
            continue
        tensor, behind = node.output[0], readers.get(node.output[0], [])
        if len(behind) == 1 and behind[0].op_type in _HOMOGENEOUS and tensor not in outputs:
            tensor, behind = behind[0].output[0], readers.get(behind[0].output[0], [])
        wanted = [each.op_type == LAYER and each.input[0] == tensor and _groups(each) == 1 for each in behind]
        if behind and all(wanted) and tensor not in outputs and all(own(each, each.input[1:2]) for each in behind):
            links.append(_Link(node, tensor, behind))
    return links


def _groups(node: Any) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "group"), 1)


def _channel_sizes(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """How far each channel of 1xCxhxw reaches from 0."""
    flat = np.abs(values[0].reshape(values.shape[1], -1)[:, ::_EVERY])
    return np.asarray(np.quantile(flat, _QUANTILE, axis=1))


def _scale(weight: Any, scale: npt.NDArray[Any], axis: int) -> None:
    values = numpy_helper.to_array(weight)
    shape = [1] * values.ndim
    shape[axis] = -1
    weight.CopyFrom(numpy_helper.from_array((values * scale.reshape(shape)).astype(values.dtype), weight.name))
