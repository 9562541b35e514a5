"""The picture of a soak: memory, latency and rates over time, with the cameras' faults shaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {"die": "tab:red", "freeze": "tab:blue", "stall": "tab:orange"}


def draw(record: dict[str, Any], path: Path) -> None:
    """Writes the picture, in the format of the file's ending."""
    samples = record["samples"]
    minutes = [s["t"] / 60 for s in samples]
    figure, (memory, latency, rates) = plt.subplots(3, 1, sharex=True, figsize=(10, 8), constrained_layout=True)
    memory.plot(minutes, [s["rss_mb"] for s in samples], color="black", linewidth=1)
    memory.set_ylabel("memory of the node [MB]")
    for key, style in (("latency_p50", "-"), ("latency_p95", ":")):
        values = [float("nan") if s[key] is None else s[key] for s in samples]
        latency.plot(minutes, values, style, color="black", linewidth=1, label=f"{key[-2:]}th percentile")
    latency.set_ylabel("stamp to arrival [ms]")
    latency.legend(loc="upper right", fontsize=8)
    for key, colour in (("sent_hz", "tab:gray"), ("out_hz", "tab:green"), ("dropped_hz", "tab:purple")):
        rates.plot(minutes, [s[key] for s in samples], color=colour, linewidth=1, label=key.removesuffix("_hz"))
    rates.set_ylabel("a second")
    rates.legend(loc="upper right", fontsize=8)
    rates.set_xlabel("minutes")
    for panel in (memory, latency, rates):
        panel.set_ylim(bottom=0)
        for fault in record["faults"]:
            panel.axvspan(fault["t"] / 60, fault["returned_t"] / 60, color=COLOURS[fault["kind"]], alpha=0.15, lw=0)
    figure.suptitle(
        f"{record['minutes']:g} minutes at {record['input_hz']:.0f} Hz in, {record['sustained_hz']:.0f} Hz sustained; "
        "a camera dies (red), freezes (blue), falls silent (orange)",
        fontsize=10,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)
