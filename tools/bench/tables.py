"""The rows of a summary as tables, for the terminal and the page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from matrix import Matrix

from sage_fusion_ros.cli.bench_runs import OFFERED
from sage_fusion_ros.cli.turns import TURN_S
from sage_fusion_ros.evaluation.comparison.table import NONE, Line, Table

Row = dict[str, Any]

UNITS = {"bytes_s": (1e9, "GB/s"), "operations_s": (1e9, "Gop/s")}


def tables_of(summary: dict[str, list[Row]], matrix: Matrix) -> list[Table]:
    """Every table that has a line."""
    made = [
        _machine(summary["machine"], matrix),
        *[_networks(summary["networks"], size, matrix) for size in matrix.sizes],
        _growth(summary["growth"], matrix),
        _threads(summary["threads"]),
        *[_pairs(summary["pairs"], size) for size in matrix.sizes],
        _cameras(summary["cameras"]),
        _node(summary["node"], matrix),
    ]
    return [table for table in made if table.lines]


def label(row: Row) -> str:
    """A row's name: its models, how they run, and what else it is about."""
    names = [Path(row["model"]).name, *([Path(row["perception"]).name] if row["perception"] else [])]
    return " + ".join(names) + f", {row['config']}"


def times(spread: Row, digits: int = 1) -> str:
    """A median and, where they differ, the least and greatest of the rounds."""
    if not spread:
        return NONE
    texts = [f"{spread[key]:.{digits}f}" for key in ("median", "min", "max")]
    return texts[0] if texts[1] == texts[2] else f"{texts[0]} ({texts[1]} to {texts[2]})"


def _machine(rows: list[Row], matrix: Matrix) -> Table:
    lines = []
    for row in rows:
        scale, unit = UNITS[row["unit"]]
        lines.append(Line(f"{row['what']}, {row['config']}", "", [f"{row['best'] / scale:.0f} {unit}"]))
    foot = [
        f"With {matrix.threads} threads; the most of all rounds. Floors take, of a precision, the most that any "
        "of these reached.",
        "The memory is read and written: both are counted.",
    ]
    return Table("What the machine can do", ["measured"], lines, foot)


def _networks(rows: list[Row], size: str, matrix: Matrix) -> Table:
    reference = Path(matrix.reference.model).name
    columns = ["Gop", "ms", "floor\nms", "over\nfloor", "layer by\nlayer ms", f"{reference}\nover this", "MB"]
    lines = []
    for row in (row for row in rows if row["size"] == size):
        floor = row["floor_ms"]
        operations = row["operations"]
        cells = [
            f"{operations / 1e9:.2f}" if operations else NONE,
            times(row["p50_ms"], 2),
            f"{floor['floor']:.2f}" if floor else NONE,
            f"{row['over_floor']:.2f}" if floor else NONE,
            f"{floor['layers']:.2f}" if floor else NONE,
            times(row["reference_over_this"], 2),
            f"{row['memory_mb']:.0f}",
        ]
        lines.append(Line(label(row), "", cells))
    foot = [
        f"p50 of each round: the median of the rounds, and the least and greatest. {reference} runs in {matrix.usual} "
        "here; ratios are within a round.",
        "Layer by layer: each layer at its own limit, nothing kept in the caches between them. MB: the process's peak.",
    ]
    return Table(f"Networks alone, {size}", columns, lines, foot)


def _growth(rows: list[Row], matrix: Matrix) -> Table:
    if len(matrix.sizes) < 2:
        return Table("", [], [])
    lines = [
        Line(
            label({**row, "perception": ""}),
            "",
            [f"{row['over_first'][size]:.2f}" if size in row["over_first"] else NONE for size in matrix.sizes],
        )
        for row in rows
    ]
    foot = ["Time for each pixel of the camera's image. A model whose card scales images to one side is not to grow."]
    return Table(f"Cost a pixel over that at {matrix.sizes[0]}", list(matrix.sizes), lines, foot)


def _threads(rows: list[Row]) -> Table:
    lines = []
    for row in rows:
        spinning = ", idle threads spin" * row["spinning"]
        name = f"{label(row)}, {row['threads']} thread{'s' * (row['threads'] > 1)}{spinning}"
        lines.append(Line(name, "", [times(row["p50_ms"], 2), times(row["one_thread_over_this"], 2)]))
    return Table("Threads", ["ms", "one thread\nover this"], lines)


def _pairs(rows: list[Row], size: str) -> Table:
    columns = ["ms a pair", "pairs a second", "first pair\nafter s", "MB"]
    lines = [
        Line(
            label(row),
            "",
            [times(row["p50_ms"], 2), times(row["rate_hz"]), times(row["first_s"], 2), f"{row['memory_mb']:.0f}"],
        )
        for row in rows
        if row["size"] == size
    ]
    foot = [
        "Decode, pipeline and encode in a bare loop, without ROS. The first pair is counted from the process's start."
    ]
    return Table(f"Whole pairs in a bare loop, {size}", columns, lines, foot)


def _cameras(rows: list[Row]) -> Table:
    lines = []
    for row in rows:
        name = f"{label(row)}, {row['where']}, {row['cameras']} pair{'s' * (row['cameras'] > 1)} of cameras"
        cells = [times(row["rate_hz"]), times(row["cost_of_a_pair"], 2), f"{row['memory_mb']:.0f}"]
        lines.append(Line(name, "", cells))
    columns = ["pairs a second\nof all together", "cost of a pair over\nthat with one", "MB\nof all"]
    foot = [
        f"One node: over DDS, the replay beside it, which sends {OFFERED} times what the bare loop makes, all together."
    ]
    return Table("Several pairs of cameras", columns, lines, foot)


def _node(rows: list[Row], matrix: Matrix) -> Table:
    reference = Path(matrix.reference.model).name
    columns = ["bare loop\nHz", "node\nHz", "node over\nbare loop"]
    columns += [f"rate over that\nof {reference} alone", "node, workers\nHz", "that over\nbare loop"]
    columns += ["that over bare\nloop, workers", f"that over\n{reference} alone", "active\nafter s", "MB"]
    shown: list[tuple[str, Callable[[Row], str]]] = [
        ("bare_hz", times),
        ("node_hz", times),
        ("over_bare", lambda spread: times(spread, 3)),
        ("over_reference", lambda spread: times(spread, 2)),
        ("workers_hz", times),
        ("workers_over_bare", lambda spread: times(spread, 3)),
        ("workers_over_bare_workers", lambda spread: times(spread, 3)),
        ("workers_over_reference", lambda spread: times(spread, 2)),
        ("active_s", times),
        ("memory_mb", lambda spread: times(spread, 0)),
    ]
    lines = [Line(label(row), "", [show(row[key]) for key, show in shown]) for row in rows]
    foot = [
        f"The replay sends {OFFERED} times what the bare loop makes alone, at most 1000 a second, beside both. "
        "The rates over the reference's are to its network alone, in the same round.",
        "Workers: rate.workers are as many as there are threads otherwise, of one thread each.",
        f"Node and loop run in turns of {TURN_S} s, replay and recorder beside both; each comparison has its own run.",
    ]
    return Table(f"The node over DDS, {matrix.sizes[0]}", columns, lines, foot)
