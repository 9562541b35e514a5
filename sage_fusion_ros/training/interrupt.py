"""Ctrl-C as a request."""

from __future__ import annotations

import signal
from types import TracebackType
from typing import Any


class Interrupt:
    """Between entering and leaving it, the first SIGINT only sets `asked`; a second one does what it did before."""

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = None

    def __enter__(self) -> Interrupt:
        self._before = signal.getsignal(signal.SIGINT)
        signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _ask(self, _signal: int, _frame: object) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, self._before)
