"""How long a network must take at least on the machine: its operations and bytes over what was measured to be the most.

The bytes of the floor are those that no engine can save: each input, output and weight once. The sum over the layers,
each at its own limit and with nothing kept in the caches between them, is given beside it; it is no floor.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matrix import FLOAT, GPU, INT8, Cell, Config, Matrix

from sage_fusion_ros.engines.card import ModelCard
from sage_fusion_ros.engines.models import ModelFolder, find_model, variant
from sage_fusion_ros.errors import ModelError
from sage_fusion_ros.evaluation.bare_loop import input_shape

if TYPE_CHECKING:
    from operations import Operations

HALVES = ("fp16", "bf16")


def count_all(matrix: Matrix) -> dict[str, Any]:
    """The operations of every network at every size, as plain values, by `count_key`.

    One that can't be counted has "reason" in place of figures.

    Raises:
        ImportError: The package onnx is not installed.
    """
    found: dict[str, Any] = {}
    for model in matrix.networks:
        folder = find_model(model, task=None)
        forms = {FLOAT: folder}
        if INT8 in matrix.precisions and INT8 in folder.card.variants:
            forms[INT8] = variant(folder, INT8)
        for form, file in forms.items():
            for size in matrix.sizes:
                found[count_key(model, form, size)] = _counted(file, size)
    return found


def count_key(model: str, form: str, size: str) -> str:
    """Name of a count: a model, "float" or "int8" for its file of that kind, and a camera's size."""
    return f"{model}, {form}, {size}"


def _counted(folder: ModelFolder, size: str) -> dict[str, Any]:
    try:
        operations = count_model(folder.path, folder.card, size)
    except ModelError as error:
        return {"reason": str(error)}
    layers = [
        {"operations": layer.operations, "unit": layer.unit, "values": layer.values} for layer in operations.layers
    ]
    return {
        "by_operator": operations.by_operator,
        "by_unit": operations.by_unit,
        "input_output_bytes": operations.input_output_bytes,
        "weights": operations.weights,
        "unsized": operations.unsized,
        "layers": layers,
    }


def count_model(path: Path, card: ModelCard | None, size: str) -> Operations:
    """The operations of a model's file at a camera's size, "WIDTHxHEIGHT".

    Raises:
        ModelError: They can't be counted.
        ImportError: The package onnx is not installed.
    """
    from operations import count

    width, height = (int(side) for side in size.split("x"))

    def shape_of(_: str, declared: Sequence[int | None]) -> tuple[int, ...]:
        return input_shape(declared, card, (height, width))

    return count(path, shape_of)


class Peaks:
    """The most that was measured of each unit, whatever library reached it, and of the memory.

    Args:
        entries: Measurements of the machine.
    """

    def __init__(self, entries: Iterable[dict[str, Any]]) -> None:
        self.bytes_s: dict[str, float] = {}
        self.operations_s: dict[tuple[str, str], float] = {}
        for entry in entries:
            where, precision = unit_of(entry["config"]["device"]), entry["config"]["precision"]
            result = entry["result"]
            if "bytes_s" in result:
                self.bytes_s[where] = max(self.bytes_s.get(where, 0.0), result["bytes_s"])
            elif "operations_s" in result:
                key = where, precision
                self.operations_s[key] = max(self.operations_s.get(key, 0.0), result["operations_s"])

    def floor(self, operations: dict[str, Any], config: Config) -> dict[str, float]:
        """The least time of a network, in milliseconds.

        Args:
            operations: One of count_all's.
            config: How it runs.

        Returns:
            "compute", "moved" and the greater of them, "floor"; "layers", the sum over the layers. Empty where an
            operation's unit or the memory was not measured.
        """
        where = unit_of(config.device)
        units = {INT8: "int8", FLOAT: "fp32" if config.precision == "int8" else config.precision}
        peaks = {unit: self.operations_s.get((where, precision)) for unit, precision in units.items()}
        if "reason" in operations or where not in self.bytes_s or None in (peaks[u] for u in operations["by_unit"]):
            return {}
        value_bytes = {INT8: 1, FLOAT: 2 if config.precision in HALVES else 4}
        weights = sum(number * value_bytes[unit] for unit, number in operations["weights"].items())
        compute = sum(number / peaks[unit] for unit, number in operations["by_unit"].items())
        moved = (operations["input_output_bytes"] + weights) / self.bytes_s[where]
        layers = sum(
            max(
                layer["operations"] / peaks[layer["unit"]],
                layer["values"] * value_bytes[layer["unit"]] / self.bytes_s[where],
            )
            for layer in operations["layers"]
        )
        times = {"compute": compute, "moved": moved, "floor": max(compute, moved), "layers": layers}
        return {name: seconds * 1e3 for name, seconds in times.items()}


def unit_of(device: str) -> str:
    """Where a device computes: CUDA and TensorRT are one processor."""
    return "gpu" if device in GPU else "cpu"


def form_of(cell: Cell) -> str:
    """Which of a model's files a cell runs."""
    return INT8 if cell.config.precision == "int8" else FLOAT
