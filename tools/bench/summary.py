"""What the figures of a bench say: medians over the rounds, ratios within a round; plain values in and out."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from statistics import median
from typing import Any

from floors import Peaks, count_key, form_of
from matrix import CAMERAS, EAGER, MACHINE, NETWORKS, NODE, PAIRS, THREADS, Cell, Config, Matrix

BUSY_CORES = 0.2
"""From here on others are said to have disturbed a measurement."""

Row = dict[str, Any]


def summarise(data: dict[str, Any], matrix: Matrix) -> dict[str, list[Row]]:
    """The rows of every table.

    Args:
        data: As Record.data, with "operations" as count_all gives it; unfinished is well, what is missing is left out.
        matrix: What was asked for.
    """
    figures = Figures(data)
    peaks = Peaks(entry for entry in data["measurements"].values() if entry["part"] == MACHINE)
    networks = _networks(figures, matrix, peaks, data.get("operations", {}))
    return {
        "machine": _machine(figures),
        "networks": networks,
        "growth": _growth(networks, matrix),
        "threads": _threads(figures),
        "pairs": _pairs(figures),
        "cameras": _cameras(figures),
        "node": _node(figures, matrix),
        "absent": _absent(data["absent"] | data["accidents"]),
        "disturbed": _disturbed(data["measurements"]),
    }


class Figures:
    """Measurements by cell, each with its results by round."""

    def __init__(self, data: dict[str, Any]) -> None:
        self._found: dict[Cell, dict[int, Row]] = {}
        for entry in data["measurements"].values():
            fields = {key: value for key, value in entry.items() if key not in ("round", "result", "config")}
            cell = Cell(config=Config(**entry["config"]), **fields)
            self._found.setdefault(cell, {})[entry["round"]] = entry["result"]

    def of(self, part: str) -> list[tuple[Cell, dict[int, Row]]]:
        """The cells of a part and their results by round."""
        return [(cell, rounds) for cell, rounds in self._found.items() if cell.part == part]

    def rounds(self, cell: Cell) -> dict[int, Row]:
        """Results of a cell by round."""
        return self._found.get(cell, {})


def spread(values: Iterable[float]) -> Row:
    """Median, least and greatest of some values; empty where there are none."""
    found = list(values)
    return {"median": median(found), "min": min(found), "max": max(found)} if found else {}


def ratios(first: dict[int, Row], second: dict[int, Row], key: str) -> Row:
    """The first's figure over the second's, within each round that has both."""
    return spread(first[i][key] / second[i][key] for i in first.keys() & second.keys())


def fastest(data: dict[str, Any], matrix: Matrix) -> Config:
    """The way to run them that is fastest for all models of a pair together, by the networks alone.

    By the mean of the logarithms of their times; the usual one where no other can run all of them.
    """
    figures = Figures(data)
    models = [*matrix.models, *([matrix.perception] if matrix.perception else [])]

    def cost(config: Config) -> float:
        cells = [Cell(NETWORKS, "network", model, config, matrix.sizes[0], matrix.threads) for model in models]
        times = [[result["p50_ms"] for result in figures.rounds(cell).values()] for cell in cells]
        return sum(math.log(median(each)) for each in times) if all(times) else math.inf

    best = min(matrix.configs, key=cost)
    return best if math.isfinite(cost(best)) else matrix.usual


def _machine(figures: Figures) -> list[Row]:
    rows = []
    for cell, rounds in figures.of(MACHINE):
        key = "bytes_s" if cell.what == "copy" else "operations_s"
        what = {"copy": "memory", "blas": "matrices"}.get(cell.what) or cell.model.rpartition("/")[2].partition("_")[0]
        best = max(result[key] for result in rounds.values())
        config = cell.config.engine if key == "bytes_s" else str(cell.config)
        rows.append({"what": what, "unit": key, "config": config, "best": best})
    return rows


def _networks(figures: Figures, matrix: Matrix, peaks: Peaks, operations: dict[str, Any]) -> list[Row]:
    rows = []
    for cell, rounds in figures.of(NETWORKS):
        reference = figures.rounds(replace(matrix.reference, size=cell.size))
        model = matrix.official if cell.what == EAGER else cell.model
        counted = operations.get(count_key(model, form_of(cell), cell.size))
        floor = peaks.floor(counted, cell.config) if counted else {}
        times = spread(result["p50_ms"] for result in rounds.values())
        rows.append(
            {
                **_names(cell),
                "p50_ms": times,
                "reference_over_this": ratios(reference, rounds, "p50_ms"),
                "floor_ms": floor,
                "over_floor": times["median"] / floor["floor"] if floor else None,
                "operations": sum(counted["by_operator"].values()) if counted and "by_operator" in counted else None,
                "memory_mb": median(result["memory_mb"] for result in rounds.values()),
                "first_s": median(result["first_s"] for result in rounds.values()),
            }
        )
    order = [matrix.official, matrix.checkpoint, *matrix.networks]
    return sorted(rows, key=lambda row: (order.index(row["model"]), row["p50_ms"]["median"]))


def _growth(networks: list[Row], matrix: Matrix) -> list[Row]:
    """Time a pixel of the camera's image at each size, over that at the first size."""
    rows: dict[tuple[str, str], Row] = {}
    for row in networks:
        entry = rows.setdefault(
            (row["model"], row["config"]), {"model": row["model"], "config": row["config"], "ns": {}}
        )
        entry["ns"][row["size"]] = row["p50_ms"]["median"] * 1e6 / _pixels(row["size"])
    first = matrix.sizes[0]
    for row in rows.values():
        row["over_first"] = {size: ns / row["ns"][first] for size, ns in row["ns"].items() if first in row["ns"]}
    return list(rows.values())


def _threads(figures: Figures) -> list[Row]:
    """Times by threads and spinning; the ratio is of one thread without spinning to this."""
    rows = []
    for cell, rounds in figures.of(THREADS):
        alone = figures.rounds(replace(cell, threads=1, spinning=False))
        row = {**_names(cell), "p50_ms": spread(result["p50_ms"] for result in rounds.values())}
        rows.append({**row, "one_thread_over_this": ratios(alone, rounds, "p50_ms")})
    return rows


def _pairs(figures: Figures) -> list[Row]:
    rows = []
    for cell, rounds in figures.of(PAIRS):
        row = {name: spread(result[name] for result in rounds.values()) for name in ("p50_ms", "rate_hz", "first_s")}
        rows.append({**_names(cell), **row, "memory_mb": median(result["memory_mb"] for result in rounds.values())})
    return rows


def _cameras(figures: Figures) -> list[Row]:
    """Pairs a second of all cameras together; the cost of a pair is over that with one pair of cameras."""
    rows = []
    for cell, rounds in figures.of(CAMERAS):
        one = figures.rounds(replace(cell, cameras=1))
        row = {"rate_hz": spread(result["rate_hz"] for result in rounds.values())}
        row["cost_of_a_pair"] = ratios(one, rounds, "rate_hz")
        row |= {"where": "one node" if cell.what == NODE else "a process for each"}
        rows.append({**_names(cell), **row, "memory_mb": median(result["memory_mb"] for result in rounds.values())})
    return rows


def _node(figures: Figures, matrix: Matrix) -> list[Row]:
    """The node beside the bare loops, and its rate over that of the reference's network alone."""
    reference = figures.rounds(matrix.reference)
    rows = []
    for cell, rounds in figures.of(NODE):
        rates = ("alone_hz", "bare_hz", "node_hz", "workers_bare_hz", "workers_hz", "both_bare_hz", "both_hz")
        row: Row = {
            name: spread(result[name] for result in rounds.values()) for name in (*rates, "active_s", "memory_mb")
        }
        for name, (rate, other) in {
            "over_bare": ("node_hz", "bare_hz"),
            "workers_over_bare": ("workers_hz", "workers_bare_hz"),
            "workers_over_bare_workers": ("both_hz", "both_bare_hz"),
        }.items():
            row[name] = spread(result[rate] / result[other] for result in rounds.values())
        both = reference.keys() & rounds.keys()
        for name, rate in (("over_reference", "node_hz"), ("workers_over_reference", "workers_hz")):
            row[name] = spread(rounds[i][rate] * reference[i]["p50_ms"] / 1e3 for i in both)
        rows.append({**_names(cell), **row})
    return rows


def _absent(reasons: dict[str, str]) -> list[Row]:
    """What could not be measured, by reason."""
    found: dict[str, list[str]] = {}
    for what, reason in reasons.items():
        found.setdefault(reason, []).append(what)
    return [{"what": "; ".join(whats), "reason": reason} for reason, whats in found.items()]


def _disturbed(measurements: dict[str, Row]) -> list[str]:
    """Keys of measurements beside which others kept the machine busy."""
    return [key for key, entry in measurements.items() if (entry["result"].get("others") or 0.0) > BUSY_CORES]


def _names(cell: Cell) -> Row:
    return {
        "model": cell.model,
        "perception": cell.perception,
        "config": str(cell.config),
        "size": cell.size,
        "threads": cell.threads,
        "spinning": cell.spinning,
        "cameras": cell.cameras,
    }


def _pixels(size: str) -> int:
    width, height = (int(side) for side in size.split("x"))
    return width * height
