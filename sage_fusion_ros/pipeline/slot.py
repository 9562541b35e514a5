"""Between threads: the newest-wins slot behind the one that receives, and the order of those that work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class NewestSlot(Generic[T]):
    """Holds the newest item; an item not taken before the next one comes is given back as dropped.

    This is what keeps latency flat under overload: work is never older than one item.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._item: T | None = None
        self._closed = False

    def put(self, item: T) -> T | None:
        """Stores an item and returns the one it replaced, or None. After close() the item itself comes back."""
        with self._condition:
            if self._closed:
                return item
            replaced, self._item = self._item, item
            self._condition.notify()
            return replaced

    def take(self, timeout_s: float | None = None) -> T | None:
        """Takes the newest item; None after the timeout, after wake() or once closed."""
        with self._condition:
            if self._item is None and not self._closed:
                self._condition.wait(timeout_s)
            item, self._item = self._item, None
            return item

    def wake(self) -> None:
        """Makes a waiting take() return, so that its caller can look at the clock again."""
        with self._condition:
            self._condition.notify()

    def close(self) -> T | None:
        """Ends all waiting; returns the item nobody took, or None."""
        with self._condition:
            self._closed = True
            item, self._item = self._item, None
            self._condition.notify_all()
            return item

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._closed


class Order:
    """Brings out in order what several threads work on side by side; none of them waits for the others.

    Who has finished early leaves what is still to be done to the thread that finishes the piece before it.

    Args:
        most: Pieces that may be begun and not out, so that a slow one does not gather ever more behind it.
    """

    def __init__(self, most: int) -> None:
        self._condition = threading.Condition()
        self._most = most
        self._begun = self._out = 0
        self._finished: dict[int, Callable[[], None]] = {}
        self._bringing = False

    def wait(self) -> None:
        """Until another piece may be begun."""
        with self._condition:
            self._condition.wait_for(lambda: self._begun - self._out < self._most)

    def begin(self) -> int:
        """The next piece's number; whoever has it must finish it, or no later one comes out."""
        with self._condition:
            self._begun += 1
            return self._begun - 1

    def finish(self, number: int, bring_out: Callable[[], None]) -> None:
        """Has this called after those of all lower numbers, one at a time, by this thread or another; it never raises.

        Args:
            number: From `begin`.
            bring_out: What is to be done in order.
        """
        with self._condition:
            self._finished[number] = bring_out
            if self._bringing:
                return
            self._bringing = True
        while True:
            with self._condition:
                if self._out not in self._finished:
                    self._bringing = False
                    return
                due = self._finished.pop(self._out)
            due()
            with self._condition:
                self._out += 1
                self._condition.notify_all()
