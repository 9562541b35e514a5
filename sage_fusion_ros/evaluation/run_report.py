"""The two things a run leaves for people and programs: report.json and index.html, one page without any network."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.evaluation.index_check import IndexCheck
from sage_fusion_ros.evaluation.machine import processor_name, usable_cores, versions
from sage_fusion_ros.evaluation.recording import Recording, ReplayLog
from sage_fusion_ros.evaluation.run_perception import act_starts, box_counts, class_colours

REPORT_FILE = "report.json"
PAGE_FILE = "index.html"
PAGE_IMAGE_WIDTH = 800
PERCENTILES = (50, 95, 99)
MIN_SENT_SHARE = 0.95


@dataclass(frozen=True)
class Moment:
    """One row of the page.

    Attributes:
        title: What is seen, in a few words.
        rgb: uint8 HxWx3 RGB as the source has it.
        thermal: uint8 HxW, normalised as the node does.
        fused: uint8 HxWx3 RGB as it arrived.
        link: The fused image's file, relative to the page.
        overlay: uint8 HxWx3 RGB, the fused image with what was found in it; None where nothing is known.
        truth: uint8 HxWx3 RGB, the same with what is really there; None where the source does not know.
    """

    title: str
    rgb: npt.NDArray[np.uint8]
    thermal: npt.NDArray[np.uint8]
    fused: npt.NDArray[np.uint8]
    link: str
    overlay: npt.NDArray[np.uint8] | None = None
    truth: npt.NDArray[np.uint8] | None = None


def percentiles(values: Sequence[float] | npt.NDArray[np.float64]) -> dict[str, float | None]:
    """p50, p95 and p99 of a list, rounded to 0.01; None each where it is empty."""
    if len(values) == 0:
        return {f"p{percent}": None for percent in PERCENTILES}
    return {f"p{percent}": round(float(np.percentile(values, percent)), 2) for percent in PERCENTILES}


def latencies_ms(run: Recording) -> npt.NDArray[np.float64]:
    """Arrival less header stamp of every fused image, in milliseconds."""
    return np.array([(fused.arrival_ns - fused.stamp_ns) / 1e6 for fused in run.fused])


def arrivals_s(run: Recording) -> npt.NDArray[np.float64]:
    """Arrival of every fused image in seconds since the first."""
    return np.array([(fused.arrival_ns - run.fused[0].arrival_ns) / 1e9 for fused in run.fused])


def mean_rate_hz(run: Recording) -> float | None:
    """Fused images per second from the first to the last; None where there are fewer than two."""
    seconds = arrivals_s(run)
    if seconds.size < 2 or seconds[-1] <= 0:
        return None
    return round((seconds.size - 1) / float(seconds[-1]), 2)


def is_late(sent_hz: float, asked_hz: float) -> bool:
    """Whether the replay fell behind the rate it was asked for, beyond what the clock of a short run can blur."""
    return sent_hz < MIN_SENT_SHARE * asked_hz


def build_report(
    run: Recording,
    log: ReplayLog,
    check: IndexCheck,
    *,
    source: Mapping[str, Any],
    settings: Mapping[str, Any],
    cores: Mapping[str, float],
    perception: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The facts of a run as plain values, ready for JSON.

    Args:
        run: What the recorder saw.
        log: What the replay sent.
        check: The pairs held against the source by index.
        source: Facts of the source: spec, name, kind, seed, pairs, rate_hz and so on.
        settings: What was asked of the nodes.
        cores: Processor cores each process kept busy, by its name.
        perception: What was found; see perception_report. None where it was off.

    Returns:
        Nested dictionary. Of "pairs", "dropped_messages" is what fusion_node counted, by reason, and "not_back" is
        every pair sent that did not come back fused with equal source index, whatever became of it.
    """
    pairing, engine = run.status("pairing"), run.status("engine")
    reasons = {
        key.removeprefix("dropped: "): int(value) for key, value in pairing.items() if key.startswith("dropped: ")
    }
    return {
        "source": dict(source),
        "settings": dict(settings),
        "pairs": {
            "in": check.sent,
            "paired": int(pairing.get("matched", len(run.pairs))),
            "fused": len(run.fused),
            "not_back": check.sent - check.matched,
            "dropped_messages": int(pairing.get("dropped", sum(reasons.values()))),
            "dropped_by_reason": dict(sorted(reasons.items())),
            "skipped_by_source": [list(entry) for entry in log.skipped],
        },
        "rate_hz": mean_rate_hz(run),
        "latency_ms": percentiles(latencies_ms(run)),
        "debug_ms": {name: percentiles([value for _, value in series]) for name, series in sorted(run.values.items())},
        "stages_ms_p50": {
            key.removesuffix("_ms_p50"): float(value)
            for key, value in run.status("timing").items()
            if key.endswith("_ms_p50") and key != "latency_ms_p50"
        },
        "model": engine.get("model"),
        "engine": engine.get("library"),
        "provider": engine.get("provider"),
        "device": engine.get("device"),
        "processor": {"name": processor_name(), "cores": usable_cores(), "busy_cores": dict(cores)},
        "versions": versions(),
        "index_check": check.as_dict(),
        "perception": perception,
    }


def write_report(folder: Path, report: Mapping[str, Any]) -> Path:
    """Writes report.json."""
    path = folder / REPORT_FILE
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def write_page(
    folder: Path,
    report: Mapping[str, Any],
    run: Recording,
    moments: Sequence[Moment],
    act_of: Callable[[int], str] = lambda stamp_ns: "",
) -> Path:
    """Writes index.html with everything it needs inside; only the fused images' originals are links beside it.

    Args:
        folder: Where to.
        report: See build_report.
        run: What the recorder saw.
        moments: Rows of pictures.
        act_of: What the pair with a stamp shows, in a word; empty where nothing is known.

    Raises:
        ImportError: matplotlib or jinja2 is missing (the extra "report").
    """
    # Both are heavy and belong to the extra "report"; report.json goes without them.
    import jinja2

    from sage_fusion_ros.evaluation.run_plots import counts_plot, latency_plot, rate_plot

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sage_fusion_ros.evaluation"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    seconds, latency = arrivals_s(run), latencies_ms(run)
    plots = []
    if seconds.size >= 2:
        plots = [
            ("Latency, RGB header stamp to arrival of the fused image", latency_plot(seconds, latency)),
            ("Rate of the fused images", rate_plot(seconds, report["source"].get("rate_hz"))),
        ]
    page = environment.get_template("run_report.html.jinja").render(
        report=report,
        late=is_late(source["sent_hz"], source["rate_hz"]) if (source := report["source"]).get("sent_hz") else False,
        plots=plots,
        counts_plot=counts_plot(*box_counts(run), act_starts(run, act_of)) if len(run.detections) >= 2 else None,
        colours=class_colours(report["perception"]),
        moments=[_moment(moment) for moment in moments],
    )
    path = folder / PAGE_FILE
    path.write_text(page, encoding="utf-8")
    return path


def _moment(moment: Moment) -> dict[str, Any]:
    drawn = [("What was found", moment.overlay), ("What is there", moment.truth)]
    return {
        "title": moment.title,
        "link": moment.link,
        "images": [
            ("RGB", data_url(moment.rgb)),
            ("Thermal, normalised", data_url(moment.thermal)),
            ("Fused", data_url(moment.fused)),
        ],
        "overlays": [(name, data_url(image)) for name, image in drawn if image is not None],
    }


def data_url(image: npt.NDArray[np.uint8], width: int = PAGE_IMAGE_WIDTH) -> str:
    """A JPEG inside a URL, no wider than `width`; image is uint8 HxW, or HxWx3 in RGB order."""
    if image.shape[1] > width:
        height = max(1, round(image.shape[0] * width / image.shape[1]))
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    if image.ndim == 3:
        image = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8)
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 88])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")


def spread(count: int, wanted: int) -> list[int]:
    """Indexes of `wanted` of `count` things, evenly spread from the first to the last; all where there are fewer."""
    if count <= wanted:
        return list(range(count))
    return [round(position) for position in np.linspace(0, count - 1, wanted)]
