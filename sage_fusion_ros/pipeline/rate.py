"""Limits how often pairs are fused, with the right mean even where the cameras' rate is no multiple of the limit."""

from __future__ import annotations


class RateLimiter:
    """Lets at most `max_hz` events a second through in the mean; 0 lets all through."""

    def __init__(self, max_hz: float = 0.0) -> None:
        self.max_hz = max_hz
        self._due_ns = 0

    def allows(self, now_ns: int) -> bool:
        """Whether an event at this time goes through; counts it if so."""
        if self.max_hz <= 0:
            return True
        period_ns = int(1e9 / self.max_hz)
        if now_ns < self._due_ns:
            return False
        # Due times advance by whole periods, so 30 Hz limited to 20 gives 20 and not 15; after a pause they start anew.
        self._due_ns = max(self._due_ns + period_ns, now_ns)
        return True
