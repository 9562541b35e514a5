"""Plots of one run as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.evaluation.svg import GRID, INK, LINES, MAIN, SECOND, STYLE, axes_of, svg_of

Series = npt.NDArray[np.float64]


def latency_plot(seconds: Series, latency_ms: Series) -> str:
    """Latency of every fused image over the run, with its median and 95th percentile as lines.

    Args:
        seconds: N arrival times since the first, in seconds.
        latency_ms: N latencies in milliseconds.

    Returns:
        An <svg> element.
    """
    with matplotlib.rc_context(STYLE):
        figure, axes = axes_of("latency in ms")
        axes.plot(seconds, latency_ms, ".", markersize=3, color=MAIN)
        for percent, dash in ((50, "-"), (95, "--")):
            value = float(np.percentile(latency_ms, percent))
            axes.axhline(value, color=SECOND, linestyle=dash, linewidth=1.2)
            axes.annotate(
                f"p{percent} {value:.0f}",
                (1.0, value),
                xycoords=("axes fraction", "data"),
                xytext=(4, -4 if percent == 50 else 2),
                textcoords="offset points",
                color=INK,
                fontsize=10,
            )
        axes.set_ylim(0, max(1.0, float(np.percentile(latency_ms, 99.5)) * 1.25))
        return svg_of(figure)


def rate_plot(seconds: Series, asked_hz: float | None) -> str:
    """Fused images per second, counted in windows of one second, with the rate of the source as a line.

    Args:
        seconds: N arrival times since the first, in seconds.
        asked_hz: Rate of the source in Hz, or None where it is unknown.

    Returns:
        An <svg> element.
    """
    with matplotlib.rc_context(STYLE):
        figure, axes = axes_of("fused images per second")
        middles, rate = windowed_rate(seconds)
        axes.plot(middles, rate, color=MAIN, linewidth=1.6)
        top = float(rate.max(initial=1.0))
        if asked_hz:
            axes.axhline(asked_hz, color=SECOND, linestyle="--", linewidth=1.2)
            axes.annotate(
                "source",
                (1.0, asked_hz),
                xycoords=("axes fraction", "data"),
                xytext=(4, -4),
                textcoords="offset points",
                color=INK,
                fontsize=10,
            )
            top = max(top, asked_hz)
        axes.set_ylim(0, top * 1.25)
        return svg_of(figure)


def counts_plot(
    seconds: Series, counts: Mapping[str, Series], acts: Sequence[tuple[float, str]] = (), window_s: float = 0.5
) -> str:
    """Boxes a pair over the run, the mean of half a second, of the four most frequent classes.

    Args:
        seconds: N times in seconds, from 0.
        counts: Boxes in each of the N pairs by class, the most frequent class first.
        acts: Where each act begins, in seconds, and its name.
        window_s: Seconds that are averaged.

    Returns:
        An <svg> element.
    """
    with matplotlib.rc_context(STYLE):
        figure, axes = axes_of("boxes a pair", "seconds since the first detections")
        bins = np.floor(np.maximum(seconds, 0) / window_s).astype(int)
        pairs = np.bincount(bins)
        there = np.flatnonzero(pairs)
        top = 1.0
        for (name, values), colour in zip(counts.items(), LINES, strict=False):
            mean = np.bincount(bins, values)[there] / pairs[there]
            axes.plot((there + 0.5) * window_s, mean, color=colour, linewidth=1.6, label=name)
            top = max(top, float(mean.max()))
        axes.set_ylim(0, top * 1.35)
        for start, name in acts:
            axes.axvline(start, color=GRID, linewidth=1)
            axes.annotate(
                name, (start, 1.0), xycoords=("data", "axes fraction"), xytext=(4, -12), textcoords="offset points"
            )
        if counts:
            figure.legend(loc="outside upper left", ncols=len(LINES), frameon=False)
        return svg_of(figure)


def windowed_rate(seconds: Series, window_s: float = 1.0, step_s: float = 0.25) -> tuple[Series, Series]:
    """Events per second in a window that moves over the run.

    Args:
        seconds: N sorted times in seconds.
        window_s: Width of the window; a shorter run is one window.
        step_s: Distance of two windows.

    Returns:
        Middles of the windows in seconds and the rate in each in Hz, both M long.
    """
    if seconds.size < 2:
        return np.zeros(0), np.zeros(0)
    width = min(window_s, float(seconds[-1] - seconds[0]))
    starts = np.arange(seconds[0], seconds[-1] - width + 1e-9, step_s)
    counts = np.searchsorted(seconds, starts + width) - np.searchsorted(seconds, starts)
    return starts + width / 2, counts / width
