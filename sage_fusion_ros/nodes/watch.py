"""Watches both cameras while the node is active: their clocks, whether one is lost; for /diagnostics and the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node

from sage_fusion_ros.nodes import diagnostics
from sage_fusion_ros.nodes.camera_input import CameraInput
from sage_fusion_ros.pipeline.clock_watch import BACK, STEP, ClockWatch
from sage_fusion_ros.pipeline.degraded import STOP
from sage_fusion_ros.pipeline.pairing import CAMERAS
from sage_fusion_ros.pipeline.worker import FusionWorker

_FAR_MS = 1000.0  # an offset that comes from arrival alone is told from so much on: delays of cameras are shorter
_JUMPS = {
    BACK: "jumped back: a recording starts over, or a driver did; what belonged to the time before is dropped",
    STEP: "and this node's clock moved against each other: one of them was set, or a recording paused",
}


class Watch:
    """Stands between the subscriptions and the worker.

    Args:
        node: The node: its clock, name and log.
        worker: Where the images go.
        label: The first part of the statuses' names.
        log: Where a camera that is lost is told.
    """

    def __init__(self, node: Node, worker: FusionWorker, label: str, log: Any) -> None:
        self._node = node
        self._label = label
        self._log = log
        self._worker = worker
        self._clocks = ClockWatch()
        self._told: set[str] = set()
        self._lost = dict.fromkeys(CAMERAS, "")
        self._clock_ns = -1

    def offer(self, camera: str, stamp_ns: int, message: Any) -> None:
        """Takes note of an image's stamp and hands the image on."""
        event = self._clocks.add(camera, stamp_ns, self._node.get_clock().now().nanoseconds)
        if event in (BACK, STEP):
            self._tell_jump(camera, event)
        self._worker.offer(camera, stamp_ns, message)

    def statuses(self, values: Mapping[str, Any], cameras: Mapping[str, CameraInput]) -> list[DiagnosticStatus]:
        """What /diagnostics says; a camera that was lost or has come back since the last call is logged.

        Args:
            values: All parameters of the node.
            cameras: Its inputs.
        """
        return [self._health(values), self._time(values, cameras)]

    def _health(self, values: Mapping[str, Any]) -> DiagnosticStatus:
        worker = self._worker
        with worker.lock:
            lost = worker.intake.lost()
        for camera in CAMERAS:
            lost[camera] = lost[camera] or worker.chooser.problem(camera)
        self._tell_lost(lost, values)
        shown: dict[str, Any] = {camera: lost[camera] or "well" for camera in CAMERAS}
        shown["goes_out"] = _goes_out(lost, values)
        if (rgb := worker.chooser.rgb) is not None:
            shown |= {"rgb_mean": rgb.mean, "rgb_dark_share": rgb.dark_share, "rgb_bright_share": rgb.bright_share}
        if (thermal := worker.chooser.thermal) is not None:
            scale, offset = values["thermal.scale"], values["thermal.offset"]
            shown |= {
                "thermal_low": thermal.low * scale + offset,
                "thermal_high": thermal.high * scale + offset,
                "thermal_saturated_share": thermal.saturated_share,
                "thermal_stuck_columns": thermal.stuck_columns,
            }
        shown |= {f"sent: {mode}": count for mode, count in worker.modes.items()}
        if not any(lost.values()):
            return diagnostics.status(self._label, "health", diagnostics.OK, "both cameras are well", shown)
        level = diagnostics.ERROR if shown["goes_out"] == "nothing" else diagnostics.WARN
        return diagnostics.status(self._label, "health", level, _lost_text(lost, values), shown)

    def _tell_lost(self, lost: Mapping[str, str], values: Mapping[str, Any]) -> None:
        for camera in CAMERAS:
            if lost[camera] and not self._lost[camera]:
                self._log.warning(_lost_text(lost, values))
            elif self._lost[camera] and not lost[camera]:
                self._log.info(f"the {camera} camera is back")
        self._lost = dict(lost)

    def _time(self, values: Mapping[str, Any], cameras: Mapping[str, CameraInput]) -> DiagnosticStatus:
        shown: dict[str, Any] = {}
        problems: list[str] = []
        clock = self._node.get_clock()
        shown["clock"] = "simulated" if clock.ros_time_is_active else "system"
        before_ns, self._clock_ns = self._clock_ns, clock.now().nanoseconds
        now_ns = self._clock_ns
        if clock.ros_time_is_active and now_ns == 0:
            problems.append("use_sim_time is set, and nothing has come on /clock")
        elif clock.ros_time_is_active and now_ns == before_ns:
            shown["clock"] = "simulated, paused"
        intervals = self._clocks.intervals_ms()
        for camera in CAMERAS:
            watch = self._clocks.cameras[camera]
            if camera in intervals:
                shown[f"{camera}_interval_ms"], shown[f"{camera}_jitter_ms"] = intervals[camera]
            shown[f"{camera}_repeated"] = watch.repeated
            shown[f"{camera}_out_of_order"] = watch.late
            shown[f"{camera}_jumps_back"] = watch.jumps_back
            shown[f"{camera}_clock_steps"] = watch.steps
            shown[f"{camera}_zero_stamps"] = cameras[camera].health.zero_stamps
        set_ms = values["pairing.thermal_offset_ms"]
        if (offset := self._clocks.offset()) is not None:
            shown["offset_ms"], shown["offset_spread_ms"] = offset.ms, offset.spread_ms
            shown["offset_from"] = "stamps" if offset.together else "arrival"
            shown["offset_left_ms"] = left_ms = offset.ms - set_ms
            if offset.drift_ms_per_min is not None:
                shown["drift_ms_per_min"] = offset.drift_ms_per_min
            if abs(left_ms) > (values["pairing.max_dt_ms"] if offset.together else _FAR_MS):
                problems.append(
                    f"thermal stamps lie {offset.ms:.1f} ms after RGB's, and pairing.thermal_offset_ms is {set_ms:g}"
                )
        level = diagnostics.WARN if problems else diagnostics.OK
        return diagnostics.status(self._label, "time", level, "; ".join(problems) or shown["clock"], shown)

    def _tell_jump(self, camera: str, event: str) -> None:
        """Says the first jump of each kind; the others are counted."""
        if event in self._told:
            return
        self._told.add(event)
        self._log.warning(f"the {camera} camera's stamps {_JUMPS[event]}; from now on only counted")


def _goes_out(lost: Mapping[str, str], values: Mapping[str, Any]) -> str:
    gone = [camera for camera in CAMERAS if lost[camera]]
    if not gone:
        return "pairs"
    policy = values[f"degraded.{gone[0]}_lost"]
    return "nothing" if len(gone) == len(CAMERAS) or policy == STOP else str(policy)


def _lost_text(lost: Mapping[str, str], values: Mapping[str, Any]) -> str:
    why = "; ".join(f"the {camera} camera is lost: {lost[camera]}" for camera in CAMERAS if lost[camera])
    return f"{why}; goes out: {_goes_out(lost, values)}"
