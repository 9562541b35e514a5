"""What comes out of two cameras of which one may be lost: pairs, or frames of the one that lives, alone.

A camera is lost here when it has fallen silent or frozen; what its images look like is judged later, on the decoded
image (choice.py). Silence is measured by its partner: a camera is silent when the other one has gone on for `timeout`
without it, by the other one's stamps and by the clock on the wall. So a paused recording loses no camera, one played
slowly gives its slower camera the time it takes, and one played fast is not blamed for what the transport does to it.

This module knows stamps and payloads only: no images, no ROS, no clock but the arrival times it is given.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, Protocol

from sage_fusion_ros.pipeline.camera_health import HealthSettings
from sage_fusion_ros.pipeline.freeze import FreezeWatch
from sage_fusion_ros.pipeline.pairing import CAMERAS, OTHER, Arrival, Match

_PATIENCE = 2.5  # intervals of a slow camera
PAIR, RGB_ONLY, THERMAL_ONLY, HOLD, STOP = "pair", "rgb_only", "thermal_only", "hold", "stop"
RGB_LOST = (THERMAL_ONLY, STOP)
THERMAL_LOST = (RGB_ONLY, HOLD, STOP)


@dataclass(frozen=True)
class DegradedSettings:
    """When a camera is lost, and what goes out then.

    Attributes:
        rgb_lost: While RGB is lost: "thermal_only" (thermal images go out alone) or "stop" (nothing does).
        thermal_lost: While thermal is lost: "rgb_only", "hold" (each RGB image with the last good thermal image, while
            that is no older than `hold_ns`, then as "rgb_only") or "stop".
        timeout_ns: A camera that is silent for so long is lost, one that is slow by nature after two and a half of its
            own intervals; 0: never.
        frozen_ns: A camera that sends one image for so long is lost; 0: never.
        hold_ns: See thermal_lost; by the cameras' stamps.
        health: When an image counts as no image.
    """

    rgb_lost: str = THERMAL_ONLY
    thermal_lost: str = RGB_ONLY
    timeout_ns: int = 500_000_000
    frozen_ns: int = 500_000_000
    hold_ns: int = 2_000_000_000
    health: HealthSettings = field(default_factory=HealthSettings)

    def policy(self, lost: str) -> str:
        """What goes out while this camera is lost."""
        return self.rgb_lost if lost == "rgb" else self.thermal_lost


NEVER_LOST = DegradedSettings(timeout_ns=0, frozen_ns=0, health=HealthSettings(check=False))


@dataclass(frozen=True)
class Pick:
    """What one result is made of: a pair, or one frame alone.

    Attributes:
        rgb, thermal: The frames; at least one of them.
        stamp_ns: The stamp that the result carries, as the camera sent it: the driving camera's, or that of the one
            that lives.
        mode: "pair", "rgb_only", "thermal_only" or "hold".
        frame_id: Whose geometry the result has, once it is known.
        stale_since_ns: While thermal is lost: since when it has shown nothing new, in corrected time; None: never did.
    """

    rgb: Arrival | None
    thermal: Arrival | None
    stamp_ns: int
    mode: str = PAIR
    frame_id: str = ""
    stale_since_ns: int | None = None

    @property
    def frames(self) -> tuple[Arrival, ...]:
        """Those that there are."""
        return tuple(frame for frame in (self.rgb, self.thermal) if frame is not None)

    @property
    def epoch(self) -> int:
        """Stamps of one epoch run forwards; see Pairing."""
        return (self.rgb or self.frames[0]).epoch

    @property
    def arrived_ns(self) -> int:
        """When the later of the frames arrived."""
        return max(frame.arrived_ns for frame in self.frames)

    @property
    def dt_ns(self) -> int | None:
        """Thermal minus RGB time, corrected; None for a frame alone."""
        return None if self.rgb is None or self.thermal is None else self.thermal.time_ns - self.rgb.time_ns


class Matcher(Protocol):
    """Makes pairs; see Pairing."""

    settings: Any
    matched: int
    resets: int
    dropped: Counter[tuple[str, str]]

    def note(self, camera: str, stamp_ns: int, arrived_ns: int, payload: Any = None) -> Arrival | None:
        """Takes note of a frame; None: it is dropped."""

    def wait(self, arrival: Arrival) -> list[Match]:
        """Lets it wait for its partner."""

    def poll(self, now_ns: int) -> list[Match]:
        """Gives out what has waited long enough."""

    def next_deadline_ns(self) -> int | None:
        """When to poll next."""

    def clear(self, reason: str) -> None:
        """Drops what waits."""


@dataclass
class _Camera:
    freeze: FreezeWatch = field(default_factory=FreezeWatch)
    last_ns: int | None = None  # time of its newest frame that was new
    fresh_ns: int | None = None  # when that arrived
    partner_ns: int = 0  # how far its partner has gone on since, by the partner's stamps
    stampless: int = 0  # frames since then whose stamps were not new
    steps: deque[int] = field(default_factory=lambda: deque(maxlen=9))  # between its newest frames, by their stamps


class Intake:
    """Stands before the pairing: finds the camera that is lost, and lets the other one's frames through alone.

    A frame is either given to the pairing or goes out alone, so no stamp can go out twice. Not thread-safe but for
    `unchanged`: the caller holds one lock around it.
    """

    def __init__(self, pairing: Matcher, settings: DegradedSettings = NEVER_LOST) -> None:
        self.pairing = pairing
        self.settings = settings
        self._cameras = {camera: _Camera() for camera in CAMERAS}
        self._began_ns: int | None = None
        self._lost = dict.fromkeys(CAMERAS, "")

    def unchanged(self, camera: str, message: Any) -> bool:
        """Whether a message shows what the camera's last one showed; needs no lock, but one thread a camera."""
        if self.settings.frozen_ns <= 0:
            return False
        return self._cameras[camera].freeze.unchanged(message.data)

    def lost(self) -> dict[str, str]:
        """Why a camera is lost, by camera; empty for one that lives. Of looks at images this knows nothing."""
        return dict(self._lost)

    def add(self, camera: str, stamp_ns: int, now_ns: int, payload: Any, unchanged: bool = False) -> list[Pick]:
        """Takes one frame in.

        Args:
            camera: "rgb" or "thermal".
            stamp_ns: Stamp as received.
            now_ns: Arrival by a clock that never runs backwards.
            payload: Whatever belongs to the frame.
            unchanged: What `unchanged` said of it.

        Returns:
            What became certain, oldest first.
        """
        if self._began_ns is None:
            self._began_ns = now_ns
        own, other = self._cameras[camera], OTHER[camera]
        arrival = self.pairing.note(camera, stamp_ns, now_ns, payload)
        if arrival is None:
            own.stampless += 1
            return self.poll(now_ns)
        if own.freeze.note(arrival.time_ns, unchanged, self.settings.frozen_ns):
            self._lost[camera] = "frozen"
            self.pairing.dropped[camera, "frozen"] += 1
            return self.poll(now_ns)
        self._lost[camera] = ""
        # One step of the stamps counts for half of the timeout at most: no jump of a clock loses a camera.
        step = 0 if own.last_ns is None else max(arrival.time_ns - own.last_ns, 0)
        own.steps.append(step)
        own.last_ns, own.fresh_ns, own.partner_ns, own.stampless = arrival.time_ns, now_ns, 0, 0
        partner = self._cameras[other]
        partner.partner_ns += min(step, self.settings.timeout_ns // 2)
        if not self._lost[other]:
            self._lost[other] = self._silence(partner, now_ns)
        if not self._lost[other]:
            return _pairs(self.pairing.wait(arrival))
        return [*self.poll(now_ns), *self._alone(arrival)]

    def poll(self, now_ns: int) -> list[Pick]:
        """Gives out or drops what has waited long enough."""
        return _pairs(self.pairing.poll(now_ns))

    def _silence(self, camera: _Camera, now_ns: int) -> str:
        timeout_ns = self.settings.timeout_ns
        since_ns = self._began_ns if camera.fresh_ns is None else camera.fresh_ns
        if timeout_ns <= 0 or since_ns is None:
            return ""
        if len(camera.steps) == camera.steps.maxlen:  # one that has come back after a while is not slow
            timeout_ns = max(timeout_ns, round(_PATIENCE * sorted(camera.steps)[len(camera.steps) // 2]))
        if camera.partner_ns < timeout_ns // 2 * 2 or now_ns - since_ns < timeout_ns:
            return ""
        if camera.stampless:
            return "sending no new stamps"
        return "silent" if camera.fresh_ns is not None else "not there yet"

    def _alone(self, arrival: Arrival) -> list[Pick]:
        lost = OTHER[arrival.camera]
        mode = self.settings.policy(lost)
        if mode == STOP:
            self.pairing.dropped[arrival.camera, f"{lost} lost"] += 1
            return []
        if arrival.camera == "thermal":
            return [Pick(None, arrival, arrival.stamp_ns, mode)]
        stale_since_ns = self._cameras["thermal"].freeze.changed_ns
        return [Pick(arrival, None, arrival.stamp_ns, mode, stale_since_ns=stale_since_ns)]


def _pairs(matches: list[Match]) -> list[Pick]:
    return [Pick(match.rgb, match.thermal, match.stamp_ns) for match in matches]
