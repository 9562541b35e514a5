"""When each image of a source goes out, and under which stamp. All times count from the start of the replay."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sage_fusion_ros.errors import ParameterError, SourceError
from sage_fusion_ros.sources.base import CAMERAS, Camera, PairSource, RecordedCameras

STILLS_RATE_HZ = 10.0
_SECOND = 1_000_000_000
_MILLISECOND = 1_000_000


@dataclass(frozen=True)
class ScheduleSettings:
    """How a source is played.

    Attributes:
        rate_hz: Pairs per second; 0 takes the source's own rate, or STILLS_RATE_HZ where it has none. A bag is played
            faster or slower as a whole, so that both cameras keep their relation.
        start_s: Where to begin, in seconds of playing at that rate.
        duration_s: How long to play; 0 plays to the end (with loop: for ever).
        loop: Begin again at the end.
        loop_stamps: 'continue' lets stamps go on rising in the next lap, as a camera does; 'restart' repeats the stamps
            of the first lap, as a looped bag does.
        thermal_offset_ms: Added to every thermal stamp; the image goes out at that later (or earlier) time.
        rgb_jitter_ms: Stamps and sending times of RGB are moved by up to this, evenly spread, either way.
        thermal_jitter_ms: The same for thermal.
        seed: Of the jitter.
    """

    rate_hz: float = 0.0
    start_s: float = 0.0
    duration_s: float = 0.0
    loop: bool = False
    loop_stamps: str = "continue"
    thermal_offset_ms: float = 0.0
    rgb_jitter_ms: float = 0.0
    thermal_jitter_ms: float = 0.0
    seed: int = 0


@dataclass(frozen=True, order=True)
class Slot:
    """One image to send.

    Attributes:
        send_ns: When, from the start of the replay; may be a little below 0 with a negative offset or jitter.
        stamp_ns: Its stamp from the start of the replay. Differs from send_ns only in repeated laps with 'restart'.
        camera: Which camera.
        index: Which image of the source (of that camera, in a bag).
        lap: How often the source had been played before.
    """

    send_ns: int
    stamp_ns: int
    camera: Camera
    index: int
    lap: int


class Schedule:
    """All slots in the order of sending; iterate over it as often as needed.

    Attributes:
        rate_hz: Pairs per second.
        pairs: Pairs that will go out when all can be read; None when it never ends.
        lead_ns: How much before the start the first slot may be.

    Raises:
        SourceError: When start lies behind the end of the source.
        ParameterError: When loop_stamps is none of the known words.
    """

    def __init__(self, source: PairSource, settings: ScheduleSettings) -> None:
        if settings.loop_stamps not in ("continue", "restart"):
            raise ParameterError(f"loop_stamps is '{settings.loop_stamps}'; expected continue or restart")
        self._settings = settings
        self.rate_hz = settings.rate_hz or source.frame_rate or STILLS_RATE_HZ
        period_ns = _SECOND / self.rate_hz
        tracks, length_ns = _tracks(source, self.rate_hz)
        # Half a period of tolerance: 0.1 s at 30 Hz is frame 3, whatever the rounding says.
        start_ns = round(settings.start_s * _SECOND - period_ns / 2) if settings.start_s else 0
        self._limit_ns = settings.duration_s * _SECOND - period_ns / 2 if settings.duration_s else float("inf")
        origin = round(settings.start_s * _SECOND)
        self._tracks = {
            camera: [(index, time - origin) for index, time in track if time >= start_ns]
            for camera, track in tracks.items()
        }
        if not all(self._tracks.values()):
            raise SourceError(
                f"start is {settings.start_s:g} s, but '{source.name}' is over after {length_ns / _SECOND:.2f} s"
            )
        self._lap_ns = length_ns - origin
        jitter_ms = max(settings.rgb_jitter_ms, settings.thermal_jitter_ms)
        self.lead_ns = round((max(0.0, -settings.thermal_offset_ms) + jitter_ms) * _MILLISECOND)
        endless = settings.loop and not settings.duration_s
        self.pairs = None if endless else min(sum(1 for _ in self._bases(camera)) for camera in CAMERAS)

    def __iter__(self) -> Iterator[Slot]:
        return heapq.merge(*(self._slots(camera) for camera in CAMERAS))

    def _bases(self, camera: Camera) -> Iterator[tuple[int, int, int]]:
        """(lap, index, time) of each image, before offset and jitter."""
        for lap in itertools.count() if self._settings.loop else range(1):
            for index, time in self._tracks[camera]:
                base = time + lap * self._lap_ns
                if base >= self._limit_ns:
                    return
                yield lap, index, base

    def _slots(self, camera: Camera) -> Iterator[Slot]:
        settings = self._settings
        offset = settings.thermal_offset_ms * _MILLISECOND if camera == "thermal" else 0.0
        jitter = settings.thermal_jitter_ms if camera == "thermal" else settings.rgb_jitter_ms
        random = np.random.default_rng([settings.seed, CAMERAS.index(camera)])
        last = None
        for lap, index, base in self._bases(camera):
            moved = random.uniform(-jitter, jitter) * _MILLISECOND if jitter else 0.0
            send = round(base + offset + moved)
            if last is not None and send <= last:
                send = last + 1  # a camera's own stamps never run backwards, however great the jitter
            last = send
            stamp = send - lap * self._lap_ns if settings.loop_stamps == "restart" else send
            yield Slot(send, stamp, camera, index, lap)


def _tracks(source: PairSource, rate_hz: float) -> tuple[dict[Camera, list[tuple[int, int]]], int]:
    """(index, time in ns) of every image by camera, and the length of one lap in ns."""
    period = _SECOND / rate_hz
    if not isinstance(source, RecordedCameras):
        track = [(index, round(index * period)) for index in range(len(source))]
        return {"rgb": track, "thermal": track}, round(len(source) * period)
    stamps = {camera: source.camera_stamps(camera) for camera in CAMERAS}
    first = min(min(times) for times in stamps.values())
    scale = (source.frame_rate or rate_hz) / rate_hz
    tracks: dict[Camera, list[tuple[int, int]]] = {
        camera: sorted(
            ((index, round((stamp - first) * scale)) for index, stamp in enumerate(times)), key=lambda x: x[1]
        )
        for camera, times in stamps.items()
    }
    return tracks, round(max(track[-1][1] for track in tracks.values()) + period)
