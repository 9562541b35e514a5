"""What /diagnostics says: inputs, pairing, engine and timing, each with what to do where something is wrong."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from sage_fusion_ros.engines.base import EngineInfo
from sage_fusion_ros.nodes.camera_input import FUTURE_NS, CameraInput
from sage_fusion_ros.nodes.models import Models
from sage_fusion_ros.nodes.outputs import Outputs
from sage_fusion_ros.nodes.qos import describe
from sage_fusion_ros.pipeline.pairing import CAMERAS
from sage_fusion_ros.pipeline.stats import Rolling
from sage_fusion_ros.pipeline.worker import FusionWorker

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
_RECENT_NS = 5_000_000_000  # an image that could not be read is a warning for so long
_START_S = 2.0  # a node that has just started is not yet blamed for missing pairs


def status(node_name: str, part: str, level: bytes, message: str, values: dict[str, Any]) -> DiagnosticStatus:
    """One status; values become text, floats with three decimals."""
    pairs = [KeyValue(key=k, value=f"{v:.3f}" if isinstance(v, float) else str(v)) for k, v in values.items()]
    return DiagnosticStatus(level=level, name=f"{node_name}: {part}", message=message, hardware_id="", values=pairs)


def input_status(node_name: str, camera: CameraInput, stale_ms: float) -> DiagnosticStatus:
    """How one camera is doing."""
    health, now = camera.health, time.monotonic_ns()
    age_ms = camera.age_ms()
    publishers = camera.publisher_count()
    values = {
        "topic": camera.topic,
        "rate_hz": health.rate.rate_hz(now),
        "age_ms": "none yet" if age_ms is None else age_ms,
        "received": health.rate.total,
        "encoding": health.encoding,
        "size": f"{health.size[0]}x{health.size[1]}",
        "calibration": camera.calibration(),
        "publishers": publishers,
        "qos": describe(camera.qos),
        "publisher_qos": camera.publisher_profiles() or "none",
        "qos_mismatch": health.qos_mismatch or "none",
        "lost_in_transport": health.lost,
        "stamp_ahead_ms": health.ahead_ms,
        "zero_stamps": health.zero_stamps,
        "unreadable": sum(health.refused.values()),
        "last_error": health.error or "none",
        **{f"refused: {reason}": count for reason, count in sorted(health.refused.copy().items())},
    }
    problems: list[tuple[bytes, str]] = []
    if age_ms is None or age_ms > stale_ms:
        if cause := camera.why_nothing_comes():
            text = cause
        elif health.refused and (age_ms is None or now - health.error_ns < age_ms * 1e6):
            text = "no image that comes can be used"
        elif age_ms is None:
            text = "a publisher is there, but no image has come: large images need more shared memory"
        else:
            text = f"silent for {age_ms / 1e3:.1f} s"
        problems.append((ERROR, text))
    if health.refused and now - health.error_ns < _RECENT_NS:
        problems.append((WARN, f"images can't be read: {health.error}"))
    if health.ahead_ms * 1e6 > FUTURE_NS:
        problems.append(
            (
                WARN,
                "stamps lie ahead of this node's clock: synchronise the clocks, or set use_sim_time when a bag plays",
            )
        )
    if health.zero_stamps:
        problems.append((WARN, "stamps are zero: paired by arrival"))
    if health.info_error:
        problems.append((WARN, f"CameraInfo is not used: {health.info_error}"))
    level = max((level for level, _ in problems), default=OK)
    message = "; ".join(text for _, text in problems) or "receiving"
    return status(node_name, f"input {camera.camera}", level, message, values)


def pairing_status(node_name: str, worker: FusionWorker, active_s: float) -> DiagnosticStatus:
    """How frames find each other, and what became of the pairs."""
    with worker.lock:
        matched, resets = worker.pairing.matched, worker.pairing.resets
        frames = {f"dropped: {camera}: {reason}": n for (camera, reason), n in worker.pairing.dropped.items() if n}
    pairs = {f"dropped: pair: {reason}": count for reason, count in worker.dropped.items() if count}
    spread = worker.pair_dt_ms.percentiles(5, 50, 95)
    values: dict[str, Any] = {
        "matched": matched,
        "fused": worker.fused.total,
        "dropped": sum(frames.values()) + sum(pairs.values()),
        "time_jumps": resets,
        **(dict(zip(("dt_ms_p5", "dt_ms_p50", "dt_ms_p95"), spread, strict=True)) if spread else {}),
        **frames,
        **pairs,
    }
    lonely = {camera: frames.get(f"dropped: {camera}: no partner", 0) for camera in CAMERAS}
    if matched == 0 and all(lonely.values()):
        hint = "no two stamps lie within pairing.max_dt_ms: check pairing.thermal_offset_ms and the clocks"
        return status(node_name, "pairing", ERROR, hint, values)
    if matched == 0 and active_s > _START_S:
        return status(node_name, "pairing", WARN, "no pair yet: both cameras are needed", values)
    return status(node_name, "pairing", OK, "pairing", values)


def engine_status(
    node_name: str, model: str, info: EngineInfo | None, perception: Mapping[str, EngineInfo], problem: str
) -> DiagnosticStatus:
    """Where the models really run.

    Args:
        node_name: The node.
        model: Name of the fusion model.
        info: Of its engine; None while it is not loaded.
        perception: The networks for mask and boxes, by name; empty where there are none.
        problem: Why nothing is loaded, or empty.
    """
    if info is None:
        return status(
            node_name, "engine", ERROR if problem else WARN, problem or "no model is loaded", {"model": model}
        )
    values = {"model": model, **_engine_values(info), "perception": ", ".join(perception) or "off"}
    for name, other in perception.items():
        values |= {f"{name}: {key}": value for key, value in _engine_values(other).items()}
    notes = list(dict.fromkeys(i.note for i in (info, *perception.values()) if i.note))
    providers = list(dict.fromkeys(i.provider for i in (info, *perception.values())))
    text = problem or (f"not the device asked for: {'; '.join(notes)}" if notes else f"runs on {', '.join(providers)}")
    return status(node_name, "engine", WARN if problem or notes else OK, text, values)


def _engine_values(info: EngineInfo) -> dict[str, str]:
    return {
        "device": info.device,
        "provider": info.provider,
        "library": info.library,
        "precision": info.precision,
        "placement": ", ".join(f"{name}: {count}" for name, count in sorted(info.placement.items())),
    }


def timing_status(node_name: str, worker: FusionWorker, latency_ms: Rolling) -> DiagnosticStatus:
    """Rate, latency and the time of each stage."""
    values: dict[str, Any] = {"rate_hz": worker.fused.rate_hz(time.monotonic_ns())}
    latency = latency_ms.percentiles(50, 95, 99)
    if latency:
        values |= dict(zip(("latency_ms_p50", "latency_ms_p95", "latency_ms_p99"), latency, strict=True))
    for stage, rolling in list(worker.stages_ms.items()):
        middle = rolling.percentiles(50)
        if middle:
            values[f"{stage}_ms_p50"] = middle[0]
    return status(node_name, "timing", OK, "", values)


def outputs_status(node_name: str, outputs: Outputs) -> DiagnosticStatus:
    """What is published because somebody listens, and who listens in vain."""
    texts = [text for mismatches in outputs.mismatches for text in mismatches.texts()]
    values = {"heard": ", ".join(outputs.heard()) or "none", "qos_mismatch": len(texts)}
    return status(node_name, "outputs", WARN if texts else OK, "; ".join(texts) or "publishing", values)


def models_status(node_name: str, values: Mapping[str, Any], models: Models | None, problem: str) -> DiagnosticStatus:
    """Where the models run; those that the parameters name while none are loaded.

    Args:
        node_name: The node.
        values: Its parameters.
        models: The models that serve.
        problem: Why there are none, or empty.
    """
    if models is None:
        return engine_status(node_name, values["fusion.model"], None, {}, problem)
    return engine_status(node_name, models.fuser.card.name, models.fuser.engine.info, models.perception_infos, problem)


def array(stamp: Any, statuses: list[DiagnosticStatus]) -> DiagnosticArray:
    """The message with all statuses."""
    message = DiagnosticArray(status=statuses)
    message.header.stamp = stamp
    return message
