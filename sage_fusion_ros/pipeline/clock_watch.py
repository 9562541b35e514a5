"""What the stamps of two cameras tell of their clocks: repeats, jumps, jitter, drift, and the offset between the two.

All of it comes from two numbers a frame, its stamp and when it arrived by the node's clock (simulated time where that
is used). The difference of the two is the clocks' offset plus the way from the sensor to here, so an offset found by it
alone holds the difference of the two ways. Cameras triggered together tell more: their stamps lie at one distance.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.pipeline.pairing import CAMERAS, JUMP_NS

REPEATED, LATE, BACK, STEP = "repeated", "late", "back", "step"
_LATE_IN_A_ROW = 3  # so many older stamps in a row are a new start; as in the pairing
_RECENT = 128  # frames of each camera that offset and jitter are read from
_LEAST = 8  # frames before anything is said
_BIN_NS = 1_000_000_000
_BINS = 120  # seconds that the drift is read from
_LEAST_BINS = 10
_TOGETHER = 0.8  # resultant length of the phases above which two cameras are triggered together


@dataclass(frozen=True)
class Offset:
    """How much later thermal stamps the same moment than RGB.

    Attributes:
        ms: The estimate.
        spread_ms: What it varies by from frame to frame: 5th to 95th percentile.
        together: Whether the cameras are triggered together, so that it comes from the stamps; else from arrival, and
            is right but for the difference of the two cameras' delays.
        drift_ms_per_min: How fast it changes; None until ten seconds are known.
    """

    ms: float
    spread_ms: float
    together: bool
    drift_ms_per_min: float | None


class StampWatch:
    """One camera's stamps.

    Attributes:
        repeated, late: Frames whose stamp was that of the newest one, or older.
        jumps_back: New starts: half a second back or more, or three older stamps in a row.
        steps: Times that the stamps ran half a second away from the clock, or it from them: a clock that was set, a
            recording that was paused.
    """

    def __init__(self) -> None:
        self.repeated = self.late = self.jumps_back = self.steps = 0
        self._late_in_a_row = 0
        self._last: tuple[int, int] | None = None
        self.forget()

    def forget(self) -> None:
        """Begins to measure anew; the counts stay."""
        self.recent: deque[tuple[int, int]] = deque(maxlen=_RECENT)  # stamp, arrival
        self._bins: deque[tuple[int, float]] = deque(maxlen=_BINS)  # second, median of stamp - arrival in ms
        self._bin: list[float] = []
        self._bin_at = 0

    def add(self, stamp_ns: int, arrived_ns: int) -> str:
        """Takes one frame in; returns what is unusual about it: REPEATED, LATE, BACK, STEP or nothing."""
        last, event = self._last, ""
        if last is not None and stamp_ns <= last[0]:
            if stamp_ns == last[0]:
                self.repeated += 1
                return REPEATED
            self._late_in_a_row += 1
            if last[0] - stamp_ns < JUMP_NS and self._late_in_a_row < _LATE_IN_A_ROW:
                self.late += 1
                return LATE
            self.jumps_back += 1
            event = BACK
        elif last is not None and abs((stamp_ns - arrived_ns) - (last[0] - last[1])) >= JUMP_NS:
            self.steps += 1
            event = STEP
        self._late_in_a_row = 0
        if event:
            self.forget()
        self._last = (stamp_ns, arrived_ns)
        self.recent.append(self._last)
        self._collect(stamp_ns, arrived_ns)
        return event

    def interval_ms(self) -> tuple[float, float] | None:
        """Median of the stamps' distances, and their jitter: 95th percentile of how far they lie off it, both in ms."""
        if len(self.recent) < _LEAST:
            return None
        steps = np.diff([stamp for stamp, _ in self.recent]) / 1e6
        middle = float(np.median(steps))
        return middle, float(np.percentile(np.abs(steps - middle), 95))

    def drift(self) -> float | None:
        """How much the stamps gain on the node's clock, in ms a minute; None until ten seconds are known."""
        if len(self._bins) < _LEAST_BINS:
            return None
        seconds, ahead_ms = np.array(self._bins).T
        return float(np.polyfit(seconds - seconds[0], ahead_ms, 1)[0] * 60)

    def _collect(self, stamp_ns: int, arrived_ns: int) -> None:
        second = arrived_ns // _BIN_NS
        if self._bin and second != self._bin_at:
            self._bins.append((self._bin_at, float(np.median(self._bin))))
            self._bin = []
        self._bin_at = second
        self._bin.append((stamp_ns - arrived_ns) / 1e6)


class ClockWatch:
    """Both cameras' stamps. Thread-safe."""

    def __init__(self) -> None:
        self.cameras = {camera: StampWatch() for camera in CAMERAS}
        self._lock = threading.Lock()

    def add(self, camera: str, stamp_ns: int, arrived_ns: int) -> str:
        """Takes one frame in; see StampWatch.add."""
        with self._lock:
            event = self.cameras[camera].add(stamp_ns, arrived_ns)
            if event in (BACK, STEP):  # what was found of both clocks together holds no longer
                for name, other in self.cameras.items():
                    if name != camera:
                        other.forget()
            return event

    def intervals_ms(self) -> dict[str, tuple[float, float]]:
        """Median distance of the stamps and jitter, in ms, of each camera that has sent enough."""
        with self._lock:
            found = {name: camera.interval_ms() for name, camera in self.cameras.items()}
        return {name: interval for name, interval in found.items() if interval is not None}

    def offset(self) -> Offset | None:
        """The estimate now; None until both cameras have sent some frames."""
        with self._lock:
            rgb, thermal = (np.array(self.cameras[camera].recent, np.int64) for camera in CAMERAS)
            drifts = [self.cameras[camera].drift() for camera in CAMERAS]
        if min(len(rgb), len(thermal)) < _LEAST:
            return None
        drift = None if drifts[0] is None or drifts[1] is None else drifts[1] - drifts[0]
        # Beside the RGB frame that arrived nearest: a recording played fast, or a camera gone a while, does no harm.
        beside = rgb[_nearest(rgb[:, 1], thermal[:, 1])]
        apart = ((thermal[:, 0] - thermal[:, 1]) - (beside[:, 0] - beside[:, 1])) / 1e6
        coarse_ms = float(np.median(apart))
        # Each frame of the slower camera has one of the faster one beside it, and not the other way round.
        if np.ptp(rgb[:, 0]) / len(rgb) <= np.ptp(thermal[:, 0]) / len(thermal):
            fine, sign = _phase(rgb[:, 0], thermal[:, 0], coarse_ms), 1
        else:
            fine, sign = _phase(thermal[:, 0], rgb[:, 0], -coarse_ms), -1
        if fine is not None:
            return Offset(coarse_ms + sign * fine[0], fine[1], True, drift)
        return Offset(coarse_ms, float(np.ptp(np.percentile(apart, (5, 95)))), False, drift)


def _phase(
    fast_ns: npt.NDArray[np.int64], slow_ns: npt.NDArray[np.int64], coarse_ms: float
) -> tuple[float, float] | None:
    """How far the slow camera's stamps lie from the nearest of the fast one's, once the coarse offset is off.

    Returns:
        Middle and spread in ms; None where they lie anywhere: the cameras run freely, and the distance says nothing.
    """
    moved = (slow_ns - fast_ns[0]) / 1e6 - coarse_ms
    stamps = (fast_ns - fast_ns[0]) / 1e6
    moved = moved[(moved >= stamps[0]) & (moved <= stamps[-1])]
    if len(moved) < _LEAST:
        return None
    distance = moved - stamps[_nearest(stamps, moved)]
    # A distance of half a period is as near to the stamp before as to the one after: an angle, not a number.
    period = float(np.median(np.diff(stamps)))
    resultant = np.exp(2j * math.pi * distance / period).mean()
    if abs(resultant) < _TOGETHER:
        return None
    middle = float(np.angle(resultant)) / (2 * math.pi) * period
    off = (distance - middle + period / 2) % period - period / 2
    return middle + float(np.median(off)), float(np.ptp(np.percentile(off, (5, 95))))


def _nearest(ordered: npt.NDArray[Any], values: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Index of the nearest of some ordered numbers, at least two, for each value."""
    after = np.clip(np.searchsorted(ordered, values), 1, len(ordered) - 1)
    return np.where(values - ordered[after - 1] < ordered[after] - values, after - 1, after)
