"""The report of a fused bag, under the key names of ros2_benchmark where its figures mean the same."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

REPORT_FILE = "report.json"


@dataclass
class Tally:
    """What has been counted so far; survives an interruption.

    Attributes:
        pairs: Pairs looked at.
        fused: Of these, written.
        skipped: The others, as (name, reason).
        interruptions: How often the work was taken up again.
        last_ns: Time of recording under which the last message was written.
        thermal_range, thermal_stamp_ns: The thermal normalisation's state.
    """

    pairs: int = 0
    fused: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    interruptions: int = 0
    last_ns: int = 0
    thermal_range: tuple[float, float] | None = None
    thermal_stamp_ns: int = 0


@dataclass
class Times:
    """What one run took: pairs since it began, and seconds; milliseconds of each stage."""

    ends_s: list[float] = field(default_factory=list)
    stages_ms: dict[str, list[float]] = field(default_factory=dict)

    def add(self, end_s: float, stages_ms: dict[str, float]) -> None:
        """Takes one pair's times."""
        self.ends_s.append(end_s)
        for stage, duration in stages_ms.items():
            self.stages_ms.setdefault(stage, []).append(duration)


def build_report(
    identity: dict[str, Any],
    tally: Tally,
    times: Times,
    *,
    frames: dict[str, int],
    stamps_ns: list[int],
    drive: str,
    unpaired: dict[tuple[str, str], int],
    jumps: int,
    devices: dict[str, str],
    notes: list[tuple[str, str]],
) -> dict[str, Any]:
    """Everything worth knowing about a fused bag, ready for JSON.

    Args:
        identity: What was done, as FuseJob.identity says it.
        tally: What came of it.
        times: What this run took; a run before an interruption is not in it.
        frames: Messages by camera.
        stamps_ns: Stamps of the driving camera's messages.
        drive: The driving camera.
        unpaired: Frames without a pair, by (camera, reason).
        jumps: How often time jumped back.
        devices: Where each network ran, by its name.
        notes: What could not be read of the bag, as (name, reason).
    """
    return {
        "metadata": {
            "Test Name": f"sage-fusion bag fuse {identity['input']['name']}",
            "Device Architecture": platform.machine(),
            "Device OS": f"{platform.system()} {platform.release()}",
            "Input Data Path": identity["input"]["name"],
            "Input Data Hash": identity["input"]["sha256"],
        },
        "# of Frames Sent": frames[drive],
        "# of Missed Frames": frames[drive] - tally.fused,
        **_rates(stamps_ns, times.ends_s),
        "pairs": {"found": tally.pairs, "fused": tally.fused, "skipped": len(tally.skipped)},
        "skipped": [{"pair": name, "reason": reason} for name, reason in tally.skipped],
        "frames": {
            camera: {
                "in": count,
                "without a pair": {reason: n for (whose, reason), n in unpaired.items() if whose == camera},
            }
            for camera, count in frames.items()
        },
        "notes": [{"topic": name, "reason": reason} for name, reason in notes],
        "time jumped back": jumps,
        "interruptions": tally.interruptions,
        "stages_ms": {stage: _spread(values) for stage, values in sorted(times.stages_ms.items())},
        "networks": devices,
        "job": identity,
    }


def tally_to_json(tally: Tally) -> dict[str, Any]:
    """A tally as JSON holds it."""
    return asdict(tally)


def tally_from_json(data: dict[str, Any]) -> Tally:
    """The tally that tally_to_json wrote."""
    tally = Tally(**data)
    tally.skipped = [(str(name), str(reason)) for name, reason in tally.skipped]
    if tally.thermal_range is not None:
        low, high = tally.thermal_range
        tally.thermal_range = (float(low), float(high))
    return tally


def _rates(stamps_ns: list[int], ends_s: list[float]) -> dict[str, float]:
    """Rates and jitter as ros2_benchmark computes them; what too few frames can't give is left out."""
    rates = {}
    length_s = (max(stamps_ns) - min(stamps_ns)) * 1e-9 if stamps_ns else 0.0
    if length_s > 0:
        rates["Mean Playback Frame Rate (fps)"] = len(stamps_ns) / length_s
    if len(ends_s) > 1 and ends_s[-1] > ends_s[0]:
        spent_s = ends_s[-1] - ends_s[0]
        rates["Delta between First & Last Received Frames (ms)"] = spent_s * 1e3
        rates["Mean Frame Rate (fps)"] = len(ends_s) / spent_s
    if len(ends_s) > 2:
        jitter = np.abs(np.diff(np.diff(np.array(ends_s)))) * 1e3
        rates["Max. Frame-to-Frame Jitter (ms)"] = float(jitter.max())
        rates["Min. Frame-to-Frame Jitter (ms)"] = float(jitter.min())
        rates["Mean Frame-to-Frame Jitter (ms)"] = float(jitter.mean())
        rates["Frame-to-Frame Jitter Std. Deviation (ms)"] = float(jitter.std())
    return {name: round(value, 4) for name, value in rates.items()}


def _spread(values: list[float]) -> dict[str, float]:
    return {
        name: round(float(np.percentile(values, share)), 3) for name, share in (("p50", 50), ("p95", 95), ("p99", 99))
    }
