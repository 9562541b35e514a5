"""Rolling statistics for diagnostics: cheap to feed, read once a second."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np


class Rolling:
    """Percentiles of the newest values of a quantity. Thread-safe."""

    def __init__(self, capacity: int = 300) -> None:
        self._values: deque[float] = deque(maxlen=capacity)
        self._lock = threading.Lock()

    def add(self, value: float) -> None:
        """Takes one value in."""
        with self._lock:
            self._values.append(value)

    def clear(self) -> None:
        """Forgets all values."""
        with self._lock:
            self._values.clear()

    def percentiles(self, *which: float) -> tuple[float, ...] | None:
        """The stated percentiles (0..100), or None while there are no values."""
        with self._lock:
            values = list(self._values)
        if not values:
            return None
        return tuple(float(value) for value in np.percentile(values, which))


class RateMeter:
    """Events per second over a recent window, by a clock that never runs backwards. Thread-safe."""

    def __init__(self, window_s: float = 3.0) -> None:
        self._window_ns = int(window_s * 1e9)
        self._times: deque[int] = deque(maxlen=1000)
        self._lock = threading.Lock()
        self._last_ns: int | None = None  # outlives the window
        self.total = 0

    def tick(self, now_ns: int) -> None:
        """Counts one event."""
        with self._lock:
            self.total += 1
            self._last_ns = now_ns
            self._times.append(now_ns)

    def rate_hz(self, now_ns: int) -> float:
        """Events per second in the window that ends now; 0 where fewer than two fell into it."""
        with self._lock:
            while self._times and now_ns - self._times[0] > self._window_ns:
                self._times.popleft()
            if len(self._times) < 2:
                return 0.0
            # To the last event while events flow; to now once they are overdue: the rate of a dead camera sinks.
            span = max(self._times[-1] - self._times[0], now_ns - self._times[0] - self._window_ns // 3)
            return (len(self._times) - 1) * 1e9 / span if span > 0 else 0.0

    def age_ms(self, now_ns: int) -> float | None:
        """Milliseconds since the last event; None before the first."""
        with self._lock:
            return None if self._last_ns is None else (now_ns - self._last_ns) / 1e6
