"""The plots of a bench as inline SVG, in the colours of the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from matrix import Matrix
from tables import label

from sage_fusion_ros.evaluation.svg import GRID, INK, LINES, MAIN, ROW_INCHES, SECOND, STYLE, axes_of, rows_of, svg_of

Row = dict[str, Any]


def charts_of(summary: dict[str, list[Row]], matrix: Matrix) -> list[tuple[str, str]]:
    """Title and <svg> of every plot that has something to show."""
    first = matrix.sizes[0]
    with matplotlib.rc_context(STYLE):
        made = [
            (f"Networks alone at {first}: time and floor", _networks(summary["networks"], first)),
            ("Cost a pixel by image size", _growth(summary["growth"], matrix)),
            ("The node and the bare loop, the same source beside both", _node(summary["node"])),
            ("All pairs of cameras together", _cameras(summary["cameras"])),
            (f"Memory in a bare loop at {first}", _bars(summary["pairs"], first, "memory_mb", "peak memory in MB")),
            (f"First fused pair at {first}", _bars(summary["pairs"], first, "first_s", "seconds from the start")),
        ]
    return [(title, svg) for title, svg in made if svg]


def _networks(rows: list[Row], size: str) -> str:
    """Bars of the times, with the floor as a mark across each; logarithmic, for they lie far apart."""
    rows = [row for row in rows if row["size"] == size]
    if not rows:
        return ""
    figure, axes = rows_of([label(row) for row in rows], "ms, logarithmic")
    axes.barh(range(len(rows)), [row["p50_ms"]["median"] for row in rows], 0.62, color=MAIN, label="p50")
    floors = [(at, row["floor_ms"]["floor"]) for at, row in enumerate(rows) if row["floor_ms"]]
    for i, (at, floor) in enumerate(floors):
        axes.plot([floor] * 2, [at - 0.4, at + 0.4], color=SECOND, linewidth=2.4, label="floor" if i == 0 else None)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    figure.legend(loc="outside upper left", ncols=2, frameon=False)
    return svg_of(figure, "networks")


def _growth(rows: list[Row], matrix: Matrix) -> str:
    """A line for each model, in the form that is fastest at the first size."""
    first = matrix.sizes[0]
    best: dict[str, Row] = {}
    for row in sorted((row for row in rows if first in row["ns"]), key=lambda row: row["ns"][first]):
        best.setdefault(row["model"], row)
    if len(matrix.sizes) < 2 or not best:
        return ""
    figure, axes = axes_of(f"times that at {first}", "image size")
    for (model, row), colour in zip(best.items(), LINES, strict=False):
        at = [i for i, size in enumerate(matrix.sizes) if size in row["ns"]]
        values = [row["over_first"][matrix.sizes[i]] for i in at]
        axes.plot(at, values, "o-", color=colour, label=f"{Path(model).name}, {row['config']}")
    axes.set_ylim(bottom=0)
    axes.set_xticks(range(len(matrix.sizes)), matrix.sizes)
    figure.legend(loc="outside upper left", ncols=2, frameon=False)
    return svg_of(figure)


def _node(rows: list[Row]) -> str:
    if not rows:
        return ""
    figure, axes = rows_of([label(row) for row in rows], "pairs a second", 2 * ROW_INCHES)
    bars = (("bare_hz", SECOND, "bare loop"), ("node_hz", MAIN, "node"), ("workers_hz", LINES[2], "node, workers"))
    for shift, (key, colour, name) in zip((-0.27, 0.0, 0.27), bars, strict=True):
        at = [i + shift for i in range(len(rows))]
        axes.barh(at, [row[key]["median"] for row in rows], 0.25, color=colour, label=name)
    figure.legend(loc="outside upper left", ncols=3, frameon=False)
    return svg_of(figure, "node")


def _cameras(rows: list[Row]) -> str:
    """A line for each model and place; the rate with one pair of cameras goes through as a thin one."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        points = lines.setdefault(f"{label(row)}, {row['where']}", [])
        points.append((row["cameras"], row["rate_hz"]["median"]))
    if not lines:
        return ""
    figure, axes = axes_of("pairs a second", "pairs of cameras")
    for (name, points), colour in zip(lines.items(), LINES, strict=False):
        axes.plot(*zip(*points, strict=True), "o-", color=colour, label=name)
        axes.axhline(points[0][1], color=GRID, linewidth=1)
    axes.set_ylim(bottom=0)
    axes.set_xticks(sorted({row["cameras"] for row in rows}))
    figure.legend(loc="outside upper left", frameon=False)
    return svg_of(figure)


def _bars(rows: list[Row], size: str, key: str, below: str) -> str:
    """Bars of one figure of the pairs' rows at a size."""
    rows = [row for row in rows if row["size"] == size]
    if not rows:
        return ""
    figure, axes = rows_of([label(row) for row in rows], below)
    values = [row[key]["median"] if isinstance(row[key], dict) else row[key] for row in rows]
    axes.barh(range(len(rows)), values, 0.62, color=MAIN)
    for at, value in enumerate(values):
        axes.annotate(f" {value:.3g}", (value, at), va="center", color=INK, fontsize=10)
    return svg_of(figure, key)
