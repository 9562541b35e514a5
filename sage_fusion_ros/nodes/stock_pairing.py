"""pairing.method message_filters: ROS's own approximate synchronizer behind the interface of our pairing.

For those who compare, or who know its behaviour and want it. It starves after a bag loops, is greedy and says nothing
about frames it throws away; our own pairing exists for these reasons (docs/architecture.md).
"""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

from builtin_interfaces.msg import Time

from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.pipeline.pairing import CAMERAS, JUMP_NS, Arrival, Match, PairingSettings

_QUEUE = 10


class StockPairing:
    """ApproximateTimeSynchronizer fed frame by frame; `hold_ns` and time jumps mean nothing to it.

    Raises:
        ParameterError: message_filters is not installed.
    """

    def __init__(self, settings: PairingSettings) -> None:
        try:
            from message_filters import ApproximateTimeSynchronizer, SimpleFilter
        except ImportError as error:
            raise ParameterError(
                "pairing.method is 'message_filters', which is not installed here: install it from your ROS "
                "distribution, or take 'nearest'"
            ) from error
        self.matched = 0
        self.resets = 0
        self.dropped: Counter[tuple[str, str]] = Counter()
        self._settings = settings
        self._filters = {camera: SimpleFilter() for camera in CAMERAS}
        self._synchronizer = ApproximateTimeSynchronizer(
            list(self._filters.values()), _QUEUE, slop=settings.max_dt_ns * 1e-9
        )
        self._synchronizer.registerCallback(self._on_pair)
        self._found: list[Match] = []
        self._last_ns: dict[str, int] = {}
        self._epochs: Counter[str] = Counter()

    @property
    def settings(self) -> PairingSettings:
        """The settings in force; a change reaches the synchronizer at once."""
        return self._settings

    @settings.setter
    def settings(self, settings: PairingSettings) -> None:
        self._settings = settings
        self._synchronizer.slop = type(self._synchronizer.slop)(nanoseconds=settings.max_dt_ns)

    def add(self, camera: str, stamp_ns: int, arrived_ns: int, payload: Any = None) -> list[Match]:
        """Takes one frame in and returns the pairs it completes."""
        return self.wait(self.note(camera, stamp_ns, arrived_ns, payload))

    def note(self, camera: str, stamp_ns: int, arrived_ns: int, payload: Any = None) -> Arrival:
        """The frame as it came; a stamp that lies far back begins a new epoch, so that what is later may be older."""
        time_ns = stamp_ns - (self._settings.thermal_offset_ns if camera == "thermal" else 0)
        last_ns, self._last_ns[camera] = self._last_ns.get(camera, time_ns), time_ns
        if last_ns - time_ns >= JUMP_NS:
            self._epochs[camera] += 1
            self.resets = max(self._epochs.values())
        return Arrival(camera, stamp_ns, time_ns, arrived_ns, self._epochs[camera], payload)

    def wait(self, arrival: Arrival) -> list[Match]:
        """Hands a frame over to the synchronizer and returns the pairs it completes."""
        stamp = Time(sec=arrival.time_ns // 1_000_000_000, nanosec=arrival.time_ns % 1_000_000_000)
        self._filters[arrival.camera].signalMessage(
            SimpleNamespace(header=SimpleNamespace(stamp=stamp), arrival=arrival)
        )
        found, self._found = self._found, []
        self.matched += len(found)
        return found

    def poll(self, now_ns: int) -> list[Match]:
        """Nothing ever becomes certain by waiting here."""
        return []

    def next_deadline_ns(self) -> int | None:
        """There is no longest wait."""
        return None

    def clear(self, reason: str) -> None:
        """Forgets what waits; how much that was, only the synchronizer knows."""
        for queue in self._synchronizer.queues:
            queue.clear()

    def _on_pair(self, rgb: Any, thermal: Any) -> None:
        drive = rgb if self._settings.drive == "rgb" else thermal
        self._found.append(Match(rgb.arrival, thermal.arrival, drive.arrival.stamp_ns))
