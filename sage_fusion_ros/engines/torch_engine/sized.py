"""A network for images of one size: what follows from the size alone is computed once, the rest at each call.

An exported network computes sizes, grids and paddings from the shape of its image by dozens of small operators. Here
they are run once; what they gave is kept where the images are. That saves their time, and lets a GPU record the whole
network (a CUDA graph), which nothing that is computed on the host may interrupt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sage_fusion_ros.engines.torch_engine.graph import READS_NUMBERS, Node, OnnxGraph
from sage_fusion_ros.engines.torch_engine.operators import HEAVY, TOGETHER


class _Step(NamedTuple):
    """A node, what it takes (a name that is computed, or what is known), and the names that nobody needs after it."""

    node: Node
    takes: list[str | Tensor | None]
    done: list[str]


class SizedGraph:
    """The nodes that depend on the images' values.

    Attributes:
        outputs: Names of the tensors it gives.
        steps: How many nodes are run at each call.

    Args:
        graph: The network, on the device where it is to run.
        outputs: Of the graph's.
        images: Such as will be shown, for their sizes and types; shown once.
        half: Type in which convolutions and matrix products are computed; what meets float32 becomes float32, so
            that coordinates keep their digits. None: as the file has it.

    Raises:
        ModelError: It takes no images of these sizes.
    """

    def __init__(
        self, graph: OnnxGraph, outputs: Sequence[str], images: Sequence[Tensor], half: torch.dtype | None = None
    ) -> None:
        self.outputs = tuple(outputs)
        self._graph = graph
        self._half = half
        self._names = [port.name for port in graph.inputs]
        device = images[0].device
        known = graph.constants()
        moving: dict[str, Tensor] = dict(zip(self._names, images, strict=True))
        self._steps: list[_Step] = []
        for node in _leading_to(graph.nodes, outputs):
            takes = [name if name in moving else known[name] for name in node.inputs]
            fixed = node.kind == "Shape" or moving.keys().isdisjoint(node.inputs)
            if not fixed and node.kind in TOGETHER:
                takes = [part.to(device) if isinstance(part, Tensor) else part for part in takes]
            elif not fixed:
                # Sizes and limits are read as numbers; from a GPU that would have to be waited for.
                counts = node.kind in READS_NUMBERS
                takes = [
                    part.cpu() if isinstance(part, Tensor) and (counts or not part.is_floating_point()) else part
                    for part in takes
                ]
            if half is not None and node.kind in HEAVY:
                takes = [_cast(part, half) if isinstance(part, Tensor) else part for part in takes]
            step = _Step(node, takes, [])
            results = dict(zip(node.outputs, self._run(step, moving, images), strict=False))
            if fixed:
                known |= results
            else:
                self._steps.append(step)
                moving |= results
        # An output that depends on the size alone.
        self._known = {name: value for name in outputs if name not in moving and (value := known[name]) is not None}
        seen = set(outputs)
        for step in reversed(self._steps):
            names = {part for part in step.takes if isinstance(part, str)}
            step.done.extend(sorted(names - seen))
            seen |= names
        self.steps = len(self._steps)

    def __call__(self, *images: Tensor) -> tuple[Tensor, ...]:
        """The outputs, in the order of their names.

        Args:
            images: What the file takes, in its order, of the sizes and types shown before.
        """
        values: dict[str, Tensor] = {**self._known, **dict(zip(self._names, images, strict=True))}
        for step in self._steps:
            values |= zip(step.node.outputs, self._run(step, values, images), strict=False)
            for name in step.done:
                del values[name]
        return tuple(values[name] for name in self.outputs)

    def _run(self, step: _Step, values: dict[str, Tensor], images: Sequence[Tensor]) -> tuple[Tensor, ...]:
        given = [values[part] if isinstance(part, str) else part for part in step.takes]
        if self._half is not None and step.node.kind in HEAVY:
            given = [None if part is None else _cast(part, self._half) for part in given]
        return self._graph.run_node(step.node, given, images)


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _leading_to(nodes: Sequence[Node], outputs: Sequence[str]) -> list[Node]:
    """The nodes that some tensors need, in their order."""
    wanted = set(outputs)
    needed = []
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.outputs):
            needed.append(node)
            wanted |= set(node.inputs)
    return needed[::-1]
