"""Plots as inline SVG that take their colours from the page, so that they read on light and on dark."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure

# matplotlib wants fixed colours; these stand for the page's own and are replaced by them in the SVG.
INK, GRID, MAIN, SECOND, THIRD, FOURTH = "#010203", "#040506", "#070809", "#0a0b0c", "#0d0e0f", "#101112"
PAGE_COLOURS = {
    INK: "var(--ink)",
    GRID: "var(--line)",
    MAIN: "var(--main)",
    SECOND: "var(--second)",
    THIRD: "var(--third)",
    FOURTH: "var(--fourth)",
}
# The classes' own colours are made for overlays; some of them can't be seen on a dark page.
LINES = (MAIN, SECOND, THIRD, FOURTH)
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "sage",
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
WIDTH, HEIGHT = 6.4, 2.9
FRAME_INCHES, ROW_INCHES = 0.8, 0.27


def axes_of(label: str, below: str = "seconds since the first fused image") -> tuple[Figure, Axes]:
    """An empty plot; made and filled inside `matplotlib.rc_context(STYLE)`.

    Args:
        label: Label of the vertical axis.
        below: Label of the horizontal axis.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(below)
    axes.set_ylabel(label)
    axes.grid(axis="y", linewidth=0.8)
    axes.tick_params(length=0)
    return figure, axes


def rows_of(names: Sequence[str], below: str, row_inches: float = ROW_INCHES) -> tuple[Figure, Axes]:
    """An empty plot of named rows, the first one at the top, at the heights 0, 1, 2 and so on.

    Args:
        names: Of the rows.
        below: Label of the horizontal axis, along which the values lie.
        row_inches: Height of a row.
    """
    figure = Figure(figsize=(WIDTH, FRAME_INCHES + row_inches * len(names)), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(below)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="x", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    return figure, axes


def svg_of(figure: Figure, name: str = "") -> str:
    """A plot as an <svg> element.

    Args:
        figure: The plot.
        name: What no other plot of the page is called; the label of the vertical axis where it is left out.
    """
    figure.patch.set_alpha(0)
    figure.axes[0].patch.set_alpha(0)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for fixed, colour in PAGE_COLOURS.items():
        text = text.replace(fixed, colour)
    # Several plots share one page: ids have to differ, and the width is the page's to choose.
    prefix = re.sub(r"\W+", "-", name or figure.axes[0].get_ylabel())
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}-", text)
    return re.sub(
        r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1), count=1
    )
