"""Between threads: the newest-wins slot behind the one that receives, and the handover from one worker to the next."""

from __future__ import annotations

import threading
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


class Handover(Generic[T]):
    """Passes items from one thread to another, none of them lost and none of them waiting.

    Who gives is held until the other one has taken: so the first never begins a new item while one lies finished, and
    what it begins then is the newest.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._items: list[T] = []
        self._closed = False

    def give(self, item: T) -> None:
        """Returns once the item is taken; not to be called after close()."""
        with self._condition:
            self._items.append(item)
            self._condition.notify_all()
            self._condition.wait_for(lambda: not self._items)

    def take(self) -> T | None:
        """Waits for an item; None once closed."""
        with self._condition:
            self._condition.wait_for(lambda: bool(self._items) or self._closed)
            item = self._items.pop() if self._items else None
            self._condition.notify_all()
            return item

    def close(self) -> None:
        """Ends the waiting of the one who takes; the one who gives must have ended."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
