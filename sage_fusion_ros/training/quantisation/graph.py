"""An ONNX file made ready for integers: which of its nodes compute in them, and the file itself.

The form is QDQ: the graph stays one of floats with a rounding before and behind each node that can work in integers,
and the library that runs it joins the three. Any library can read such a file.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.shape_inference import quant_pre_process

from sage_fusion_ros.errors import ModelError, ParameterError

LAYER = "Conv"
KEEP = {"none": (), "first": ("first",), "last": ("last",), "ends": ("first", "last")}
"""What may be asked for by a word, and the layers that it keeps in floats."""
_BETWEEN = {"Add", "AveragePool", "Concat", "LeakyRelu", "MaxPool", "Relu", "Resize", "Slice", "Split"}
"""Operators that stay in integers where what they take and what they give is: on floats, every one would need both."""
_ACTIVATIONS = {"LeakyRelu", "Relu"}
_CARRY = {"Concat", "Identity", "Slice", "Split"}
"""Operators that change no value."""
SAFE_BITS, ALL_BITS = 7, 8


class Graph:
    """A network whose constants are folded, whose shapes are known and whose nodes have names.

    Attributes:
        path: Its file.
        model: What is in it.
        inputs: Names of its inputs.
        layers: Names of its convolutions.
        first: Those that no other one stands before.
        last: Those that no other one stands behind.

    Args:
        source: The fp32 file.
        path: Where to write the prepared one.

    Raises:
        ModelError: It has no convolution, or can't be read.
    """

    def __init__(self, source: Path, path: Path) -> None:
        self.path = path
        try:
            quant_pre_process(source, path, skip_symbolic_shape=True)
            self.model = onnx.load(path)
        except Exception as error:  # ONNX Runtime's errors have no common public base
            raise ModelError(f"model file {source} can't be made ready for integers: {error}") from error
        for index, node in enumerate(self.model.graph.node):
            node.name = node.name or f"{node.op_type}_{index}"  # the library goes by names
        onnx.save(self.model, path)
        self.inputs = [port.name for port in self.model.graph.input]
        layers = [node for node in self.model.graph.node if node.op_type == LAYER]
        if not layers:
            raise ModelError(f"model file {source} has no convolution; there is nothing to compute in integers")
        behind, before = self._behind(layers), self._before(layers)
        self.layers = [node.name for node in layers]
        self.first = [name for name in self.layers if name not in behind]
        self.last = [name for name in self.layers if name not in before]

    def kept(self, words: Iterable[str]) -> list[str]:
        """Names of the layers that stay in floats.

        Args:
            words: A word of KEEP, or names of layers.

        Raises:
            ParameterError: One is neither, or no layer would be left.
        """
        kept: set[str] = set()
        for word in words:
            if word in KEEP:
                for end in KEEP[word]:
                    kept.update(self.first if end == "first" else self.last)
            elif word in self.layers:
                kept.add(word)
            else:
                raise ParameterError(
                    f"--keep {word} is no layer of the model; expected {', '.join(KEEP)}, or some of "
                    f"{', '.join(self.layers)}"
                )
        if len(kept) == len(self.layers):
            raise ParameterError(
                f"all {len(self.layers)} layers of the model would stay in floats; keep fewer of "
                f"{', '.join(self.layers)}"
            )
        return [name for name in self.layers if name in kept]

    def leaky_inputs(self) -> dict[str, float]:
        """Tensors that a leaky ReLU alone reads, and its slope."""
        readers: dict[str, list[Any]] = {}
        for node in self.model.graph.node:
            for name in node.input:
                readers.setdefault(name, []).append(node)
        outputs = {port.name for port in self.model.graph.output}
        slopes = {}
        for name, nodes in readers.items():
            if len(nodes) == 1 and nodes[0].op_type == "LeakyRelu" and name not in outputs:
                given = {attribute.name: attribute.f for attribute in nodes[0].attribute}
                slopes[name] = float(given.get("alpha", 0.01))
        return slopes

    def carried(self, ranges: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        """The ranges of inputs, and of the tensors that hold values of inputs and nothing else."""
        known = dict(ranges)
        constants = {tensor.name for tensor in self.model.graph.initializer} | {""}
        for node in self.model.graph.node:
            given = [name for name in node.input if name not in constants]
            if node.op_type in _CARRY and given and all(name in known for name in given):
                lows, highs = zip(*(known[name] for name in given), strict=True)
                known.update(dict.fromkeys(node.output, (min(lows), max(highs))))
        return known

    def write(self, path: Path, ranges: Any, kept: Collection[str], weight_bits: int) -> None:
        """Writes the file of integers: unsigned activations, signed weights with a scale for each channel.

        Args:
            path: The file.
            ranges: By tensor, as `calibrate` gives them.
            kept: Layers that stay in floats.
            weight_bits: 8, or 7: on processors without integer dot products the sum of two products of 8 bits each
                does not fit where it is kept, and is cut off without a word; with 7 it fits.
        """
        nodes = self._integers(kept)
        with contextlib.redirect_stdout(io.StringIO()):  # it speaks of its progress there
            quantizer = QDQQuantizer(
                onnx.load(self.path),
                per_channel=True,
                reduce_range=weight_bits == SAFE_BITS,
                weight_qType=QuantType.QInt8,
                activation_qType=QuantType.QUInt8,
                tensors_range=ranges,
                nodes_to_quantize=[node.name for node in nodes],
                nodes_to_exclude=[],
                op_types_to_quantize=sorted({node.op_type for node in nodes}),
                extra_options={},
            )
            quantizer.quantize_model()
        quantizer.model.save_model_to_file(str(path))
        model = onnx.load(path)
        _measure_integers(model)
        # The tools name every operator set that they know of; a library that does not know one refuses the file.
        used = {node.domain for node in model.graph.node}
        kept_sets = [entry for entry in model.opset_import if entry.domain in used]
        del model.opset_import[:]
        model.opset_import.extend(kept_sets)
        onnx.checker.check_model(model)
        onnx.save(model, path)

    def _integers(self, kept: Collection[str]) -> list[Any]:
        """Layers that are not kept, what lies between them, and the activations right behind them."""
        layers = [node for node in self.model.graph.node if node.op_type == LAYER and node.name not in kept]
        given = {name for node in layers for name in node.output}
        names = self._behind(layers) & self._before(layers)
        return [
            node
            for node in self.model.graph.node
            if (node.op_type == LAYER and node.name not in kept)
            or (node.op_type in _BETWEEN and node.name in names)
            or (node.op_type in _ACTIVATIONS and node.input[0] in given)
        ]

    def _behind(self, nodes: Iterable[Any]) -> set[str]:
        """Names of all nodes that something of these flows into."""
        readers: dict[str, list[Any]] = {}
        for node in self.model.graph.node:
            for name in node.input:
                readers.setdefault(name, []).append(node)
        return _reached(nodes, lambda node: [reader for name in node.output for reader in readers.get(name, [])])

    def _before(self, nodes: Iterable[Any]) -> set[str]:
        """Names of all nodes that flow into one of these."""
        makers = {name: node for node in self.model.graph.node for name in node.output}
        return _reached(nodes, lambda node: [makers[name] for name in node.input if name in makers])


def _measure_integers(model: Any) -> None:
    """Lets what asks for a tensor's shape ask its integers: a whole tensor would be made floats again for it."""
    integers = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    for node in model.graph.node:
        if node.op_type == "Shape" and node.input[0] in integers:
            node.input[0] = integers[node.input[0]]


def _reached(nodes: Iterable[Any], step: Any) -> set[str]:
    seen: set[str] = set()
    waiting = list(nodes)
    while waiting:
        for found in step(waiting.pop()):
            if found.name not in seen:
                seen.add(found.name)
                waiting.append(found)
    return seen
