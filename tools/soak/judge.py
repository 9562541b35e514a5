"""What a soak promises, and whether the record of a run keeps it. Knows no ROS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

MEMORY_MB_PER_MINUTE = 1.0
DRIFT_SHARE, DRIFT_MS = 0.2, 5.0
RETURN_S = 3.0
LEVELS = 1.0
"""Greatest mean difference of a fused image from the same model's offline, in levels of 0..255."""
SHORT_S = 240.0
"""Over a shorter time a slope is noise."""


@dataclass(frozen=True)
class Promise:
    """One promise and what was seen; kept is None where the run was too short to judge."""

    name: str
    promise: str
    seen: str
    kept: bool | None


def slope_per_minute(seconds: list[float], values: list[float]) -> float:
    """Median of the slopes between all pairs of points (Theil 1950, Sen 1968), which single outliers can't move."""
    step = max(1, len(seconds) // 500)
    t, v = np.array(seconds[::step]), np.array(values[::step])
    i, j = np.triu_indices(len(t), 1)
    return float(np.median((v[j] - v[i]) / (t[j] - t[i]))) * 60 if len(i) else 0.0


def warm_up_s(minutes: float) -> float:
    """Time at the start in which memory may grow: buffers of every size are met for the first time."""
    return min(120.0, minutes * 60 / 3)


def unaccounted(diagnostics: dict[str, dict[str, str]]) -> int:
    """Images of which the node's diagnostics do not say what became of them; 0 where all are counted.

    With m pairs matched and a images that went on alone, m + a results were begun: received = dropped images + 2 m + a,
    and m + a = published + dropped pairs; so received = dropped images + m + published + dropped pairs.

    Args:
        diagnostics: The values of each part, by its name, of a node in which nothing is left to do.
    """
    pairing = diagnostics["pairing"]
    received = sum(int(diagnostics[f"input {camera}"]["received"]) for camera in ("rgb", "thermal"))
    dropped = sum(int(value) for key, value in pairing.items() if key.startswith("dropped: "))
    return received - int(pairing["matched"]) - int(pairing["fused"]) - dropped


def judge(record: dict[str, Any]) -> list[Promise]:
    """Holds a record to the promises."""
    return [
        _crash(record),
        _overload(record),
        _memory(record),
        _leaks(record),
        _latency(record),
        *_counts(record),
        _stamps(record),
        *_returns(record),
    ]


def _crash(record: dict[str, Any]) -> Promise:
    seen = f"exit code {record['exit_code']}, {record['tracebacks']} tracebacks in its log"
    if record["ended_early"]:
        seen += f"; ended early: {record['ended_early']}"
    kept = record["exit_code"] == 0 and not record["tracebacks"] and not record["ended_early"]
    return Promise("no crash", "the node lives to the end, ends with code 0 and logs no traceback", seen, kept)


def _overload(record: dict[str, Any]) -> Promise:
    sent, fused = record["input_hz"], record["sustained_hz"]
    seen = f"{sent:.1f} Hz in, {fused:.1f} Hz out: {sent / fused:.1f} times" if fused else "nothing came out"
    return Promise("overload", "both cameras send three times what the node sustains", seen, sent >= 2.85 * fused > 0)


def _memory(record: dict[str, Any]) -> Promise:
    begin = warm_up_s(record["minutes"])
    late = [s for s in record["samples"] if s["t"] >= begin]
    t = [s["t"] for s in late]
    slope = slope_per_minute(t, [s["rss_mb"] for s in late])
    promise = f"under {MEMORY_MB_PER_MINUTE:g} MB a minute after {begin:.0f} s"
    seen = f"{slope:+.3f} MB a minute, {late[0]['rss_mb']:.0f} MB then, {late[-1]['rss_mb']:.0f} MB at the end"
    return Promise("memory", promise, seen, slope < MEMORY_MB_PER_MINUTE if t[-1] - t[0] >= SHORT_S else None)


def _leaks(record: dict[str, Any]) -> Promise:
    begin = warm_up_s(record["minutes"])
    late = [s for s in record["samples"] if s["t"] >= begin]
    seen = ", ".join(f"{late[0][key]} {key} then, {late[-1][key]} at the end" for key in ("threads", "files"))
    kept = all(late[-1][key] <= late[0][key] + 4 for key in ("threads", "files"))
    return Promise("threads and files", "no more at the end than after the warm-up (4 may come and go)", seen, kept)


def _latency(record: dict[str, Any]) -> Promise:
    windows = [(fault["t"], fault["returned_t"] + RETURN_S) for fault in record["faults"]]
    calm = [
        s
        for s in record["samples"]
        if s["latency_p50"] is not None and not any(begin <= s["t"] <= end for begin, end in windows)
    ]
    promise = f"its median drifts by less than {DRIFT_SHARE:.0%} or {DRIFT_MS:g} ms over the run"
    if len(calm) < 5:
        return Promise("latency", promise, "too few calm seconds", None)
    t, p50 = [s["t"] for s in calm], [s["latency_p50"] for s in calm]
    middle, drift = float(np.median(p50)), slope_per_minute(t, p50) * (t[-1] - t[0]) / 60
    p95 = float(np.median([s["latency_p95"] for s in calm]))
    seen = f"{middle:.0f} ms median, {p95:.0f} ms at the 95th percentile, {drift:+.1f} ms over the run"
    flat = abs(drift) < max(DRIFT_SHARE * middle, DRIFT_MS)
    return Promise("latency", promise, seen, flat if t[-1] - t[0] >= SHORT_S else None)


def _counts(record: dict[str, Any]) -> list[Promise]:
    left, sent = unaccounted(record["diagnostics"]), record["sent"]
    pairing = record["diagnostics"]["pairing"]
    reasons = ", ".join(
        f"{value} {key.removeprefix('dropped: ')}" for key, value in sorted(pairing.items()) if ": " in key
    )
    received = {camera: int(record["diagnostics"][f"input {camera}"]["received"]) for camera in sent}
    lost = {camera: sent[camera] - received[camera] for camera in sent}
    way = ", ".join(f"{received[c]} of {sent[c]} {c} images received" for c in sent)
    return [
        Promise(
            "every drop counted",
            "received = published + dropped by reason, by the node's own diagnostics",
            f"{left} images unaccounted for; {pairing['fused']} results published, dropped: {reasons or 'nothing'}",
            left == 0,
        ),
        Promise(
            "transport",
            "of what the cameras send with best effort, 1 % may be lost on the way; none arrives twice",
            way,
            all(0 <= lost[camera] <= 0.01 * sent[camera] for camera in sent),
        ),
    ]


def _stamps(record: dict[str, Any]) -> Promise:
    seen = f"{record['heard']} images heard, {record['twice']} stamps twice, {record['unknown']} that no camera sent"
    kept = record["heard"] > 0 and record["twice"] == record["unknown"] == 0
    return Promise("stamps", "each output bears a stamp that a camera sent, and none twice", seen, kept)


def _returns(record: dict[str, Any]) -> list[Promise]:
    faults = record["faults"]
    back = [fault["recovery_s"] for fault in faults if fault["recovery_s"] is not None]
    slowest = f"the slowest after {max(back):.2f} s, the median {np.median(back):.2f} s" if back else "none came back"
    differences = [fault["difference"] for fault in faults if fault["difference"] is not None]
    kept = len(back) == len(faults) and all(seconds <= RETURN_S for seconds in back)
    return [
        Promise(
            "return",
            f"{RETURN_S:g} s after a camera is back, the next pair is published",
            f"{len(back)} of {len(faults)} returns, {slowest}",
            kept if faults else None,
        ),
        Promise(
            "right after return",
            f"that image is what the model makes of the two images sent, within {LEVELS:g} level",
            f"{len(differences)} compared, {max(differences, default=0):.2f} levels off at most",
            all(d <= LEVELS for d in differences) and len(differences) == len(back) if faults else None,
        ),
    ]
