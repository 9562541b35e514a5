"""Pairs RGB and thermal frames by their stamps: one to one, the nearest first, without waiting longer than stated.

The rule, which an observer who knows all stamps could apply: of all RGB and thermal frames not yet paired, the two with
the least distance (thermal stamps corrected by the cameras' offset) make a pair if that distance is at most `max_dt`;
repeat. Live, a frame's fate is settled when it, or the partner that the rule gives it, has waited for `hold`, by the
rule on what has arrived by then; and sooner where no frame still to come can change it. What can still come is bounded
by the stamps seen: each camera's next stamp lies after its last one by at least the shortest of its recent intervals
(less a margin).

This module knows stamps and payloads only: no images, no ROS, no clock but the arrival times it is given.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

CAMERAS = ("rgb", "thermal")
OTHER = {"rgb": "thermal", "thermal": "rgb"}
_CAPACITY = 64  # frames kept a camera: two seconds of a 30 Hz camera whose partner is silent
JUMP_NS = 500_000_000  # a stamp this far back is a new start (a bag's loop, a restarted driver), not a late frame
_LATE_IN_A_ROW = 3  # so many older stamps in a row are a new start too
_EPOCH_GRACE_NS = 1_000_000_000  # how long the camera that jumped back waits for the other one to follow
_GAP_MARGIN = 0.5  # the next interval may be this much shorter than the shortest seen


@dataclass(frozen=True)
class PairingSettings:
    """How frames find each other.

    Attributes:
        max_dt_ns: Greatest distance of the two stamps after correction.
        thermal_offset_ns: How much later the thermal camera stamps the same moment; subtracted from its stamps.
        hold_ns: Longest time a frame waits for its partner, counted from its arrival.
        drive: Camera whose stamp the pair carries, "rgb" or "thermal".
    """

    max_dt_ns: int = 20_000_000
    thermal_offset_ns: int = 0
    hold_ns: int = 100_000_000
    drive: str = "rgb"

    def __post_init__(self) -> None:
        if self.drive not in CAMERAS:
            raise ValueError(f"drive is '{self.drive}'; expected one of {', '.join(CAMERAS)}")
        if self.max_dt_ns < 0 or self.hold_ns < 0:
            raise ValueError(f"max_dt is {self.max_dt_ns} ns and hold is {self.hold_ns} ns; neither may be negative")


@dataclass(frozen=True)
class Arrival:
    """A frame that waits for its partner. `time_ns` is its stamp after the offset's correction."""

    camera: str
    stamp_ns: int
    time_ns: int
    arrived_ns: int
    epoch: int
    payload: Any = None


@dataclass(frozen=True)
class Match:
    """Two frames of the same moment; `dt_ns` is thermal minus RGB after correction, `stamp_ns` the driving stamp."""

    rgb: Arrival
    thermal: Arrival
    stamp_ns: int

    @property
    def dt_ns(self) -> int:
        """Thermal minus RGB time, corrected."""
        return self.thermal.time_ns - self.rgb.time_ns

    @property
    def arrived_ns(self) -> int:
        """When the later of the two arrived."""
        return max(self.rgb.arrived_ns, self.thermal.arrived_ns)


@dataclass
class _Stream:
    """One camera's waiting frames, in stamp order, and what its stamps have shown."""

    waiting: list[Arrival] = field(default_factory=list)
    intervals: deque[int] = field(default_factory=lambda: deque(maxlen=32))
    last_ns: int | None = None
    epoch: int = 0
    late_in_a_row: int = 0

    def earliest_next(self) -> int | None:
        """Earliest time that the next frame can have; None while nothing is known."""
        if self.last_ns is None:
            return None
        gap = int(min(self.intervals) * (1 - _GAP_MARGIN)) if len(self.intervals) >= 8 else 1
        return self.last_ns + max(gap, 1)


class Pairing:
    """Turns two streams of stamped frames into pairs; counts each frame that finds no partner, by reason.

    Call `add` for each frame and `poll` when `next_deadline_ns` has come; both return the pairs that became certain.
    Not thread-safe: the caller holds one lock around it.
    """

    def __init__(self, settings: PairingSettings | None = None) -> None:
        self.settings = settings or PairingSettings()
        self.matched = 0
        self.resets = 0
        self.dropped: Counter[tuple[str, str]] = Counter()  # (camera, reason)
        self._streams = {camera: _Stream() for camera in CAMERAS}
        self._epoch_changed_ns = 0

    def add(self, camera: str, stamp_ns: int, arrived_ns: int, payload: Any = None) -> list[Match]:
        """Takes one frame in.

        Args:
            camera: "rgb" or "thermal".
            stamp_ns: Stamp as received.
            arrived_ns: Arrival by a clock that never runs backwards.
            payload: Whatever belongs to the frame.

        Returns:
            The pairs that became certain, oldest first.
        """
        arrival = self.note(camera, stamp_ns, arrived_ns, payload)
        return self._settle(arrived_ns) if arrival is None else self.wait(arrival)

    def note(self, camera: str, stamp_ns: int, arrived_ns: int, payload: Any = None) -> Arrival | None:
        """Takes note of one frame's stamp, as `add` does, without waiting for its partner.

        Returns:
            The frame, for `wait` or for whoever shows it alone; None: its stamp is repeated or late, which is counted.
        """
        stream = self._streams[camera]
        time_ns = stamp_ns - (self.settings.thermal_offset_ns if camera == "thermal" else 0)
        if stream.last_ns is not None and time_ns <= stream.last_ns:
            if time_ns == stream.last_ns:  # however often: a stamp that stands still starts nothing new
                self.dropped[camera, "repeated stamp"] += 1
                return None
            stream.late_in_a_row += 1
            if stream.last_ns - time_ns < JUMP_NS and stream.late_in_a_row < _LATE_IN_A_ROW:
                self.dropped[camera, "out of order"] += 1
                return None
            self._start_anew(camera, arrived_ns)
        elif stream.last_ns is not None:
            stream.intervals.append(time_ns - stream.last_ns)
        stream.late_in_a_row = 0
        stream.last_ns = time_ns
        return Arrival(camera, stamp_ns, time_ns, arrived_ns, stream.epoch, payload)

    def wait(self, arrival: Arrival) -> list[Match]:
        """Lets a frame wait for its partner; returns the pairs that became certain, oldest first."""
        stream = self._streams[arrival.camera]
        stream.waiting.append(arrival)
        if len(stream.waiting) > _CAPACITY:
            self._drop(stream.waiting[0], "no partner")
        return self._settle(arrival.arrived_ns)

    def poll(self, now_ns: int) -> list[Match]:
        """Gives out or drops what has waited long enough."""
        return self._settle(now_ns)

    def next_deadline_ns(self) -> int | None:
        """When the longest wait of the oldest frame ends; None when nothing waits."""
        arrivals = [stream.waiting[0].arrived_ns for stream in self._streams.values() if stream.waiting]
        return min(arrivals) + self.settings.hold_ns if arrivals else None

    def clear(self, reason: str) -> None:
        """Drops every waiting frame for a stated reason and forgets the stamps seen."""
        for camera, stream in self._streams.items():
            self.dropped[camera, reason] += len(stream.waiting)
            self._streams[camera] = _Stream()

    def _start_anew(self, camera: str, now_ns: int) -> None:
        """Time jumped back on one camera: what waits belongs to the past, and so does its waiting partner.

        Frames of the two cameras pair only within one epoch, so a loop's first frames never meet the last frames of the
        loop before; the other camera joins the epoch when its own stamps jump back.
        """
        stream, other = self._streams[camera], self._streams[OTHER[camera]]
        for arrival in list(stream.waiting):
            self._drop(arrival, "time jumped back")
        stream.intervals.clear()
        stream.epoch += 1
        if stream.epoch > other.epoch:
            self._epoch_changed_ns = now_ns
            self.resets += 1

    def _settle(self, now_ns: int) -> list[Match]:
        rgb, thermal = (self._streams[camera] for camera in CAMERAS)
        if rgb.epoch != thermal.epoch and now_ns - self._epoch_changed_ns > _EPOCH_GRACE_NS:
            # Only one camera restarted: from here on both clocks are taken as one again.
            epoch = max(rgb.epoch, thermal.epoch)
            for stream in (rgb, thermal):
                if stream.epoch < epoch:
                    for arrival in list(stream.waiting):
                        self._drop(arrival, "time jumped back")
                stream.epoch = epoch
        matches = []
        while settled := self._settled(now_ns):
            for a, b in settled:
                rgb.waiting.remove(a)
                thermal.waiting.remove(b)
                # What lies before the pair on either side can still have a partner, so it stays until its wait is over.
                stamp = a.stamp_ns if self.settings.drive == "rgb" else b.stamp_ns
                matches.append(Match(a, b, stamp))
                self.matched += 1
        for stream in (rgb, thermal):
            for arrival in list(stream.waiting):
                if self._has_waited(arrival, now_ns) or self._is_hopeless(arrival):
                    self._drop(arrival, "no partner")
        return sorted(matches, key=lambda match: match.stamp_ns)

    def _settled(self, now_ns: int) -> list[tuple[Arrival, Arrival]]:
        """Waiting pairs of the rule that are certain, or that hold a frame whose wait is over."""
        rgb, thermal = (self._streams[camera] for camera in CAMERAS)
        candidates = [
            (abs(b.time_ns - a.time_ns), a, b)
            for a in rgb.waiting
            for b in thermal.waiting
            if a.epoch == b.epoch and abs(b.time_ns - a.time_ns) <= self.settings.max_dt_ns
        ]
        candidates.sort(key=lambda candidate: (candidate[0], candidate[1].time_ns))
        settled: list[tuple[Arrival, Arrival]] = []
        gone: set[int] = set()
        taken: set[int] = set()  # in pairs that the rule makes of what has arrived
        # Frames whose partner is not certain yet; uncertainty spreads to the frames they might fall back on.
        unsure: set[int] = set()
        for dt, a, b in candidates:
            both = {id(a), id(b)}
            if both & gone:
                continue
            certain = not both & unsure and self._no_nearer(a, thermal, dt) and self._no_nearer(b, rgb, dt)
            free = not both & taken
            if free and (certain or self._has_waited(a, now_ns) or self._has_waited(b, now_ns)):
                settled.append((a, b))
                gone |= both
            else:
                unsure |= both
            if free:
                taken |= both
        return settled

    def _no_nearer(self, arrival: Arrival, partners: _Stream, dt_ns: int) -> bool:
        """Whether no partner still to come can be nearer to this frame than dt."""
        earliest = partners.earliest_next()
        return earliest is not None and earliest - arrival.time_ns >= dt_ns

    def _has_waited(self, arrival: Arrival, now_ns: int) -> bool:
        return now_ns - arrival.arrived_ns >= self.settings.hold_ns

    def _is_hopeless(self, arrival: Arrival) -> bool:
        """Whether neither a waiting nor a coming partner can lie within max_dt."""
        partners = self._streams[OTHER[arrival.camera]]
        earliest = partners.earliest_next()
        if earliest is None or partners.epoch != arrival.epoch or earliest - arrival.time_ns <= self.settings.max_dt_ns:
            return False
        return all(abs(p.time_ns - arrival.time_ns) > self.settings.max_dt_ns for p in partners.waiting)

    def _drop(self, arrival: Arrival, reason: str) -> None:
        self._streams[arrival.camera].waiting.remove(arrival)
        self.dropped[arrival.camera, reason] += 1
