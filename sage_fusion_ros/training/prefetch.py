"""Makes the next batch while the network works on this one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Batch = TypeVar("Batch")


class Prefetched(Generic[Batch]):
    """A sampler that is one batch ahead. The batches are the same: a sampler's batch depends on its number alone.

    Args:
        sampler: Gives the batch of a number; called from one thread of its own, one after the other.
        following: Number of the batch that is asked for after the one of that number; the next one without it.
    """

    def __init__(self, sampler: Callable[[int], Batch], following: Callable[[int], int] | None = None) -> None:
        self._sampler = sampler
        self._following = following or (lambda index: index + 1)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sampler")
        self._next: tuple[int, Future[Batch]] | None = None

    def __call__(self, index: int) -> Batch:
        """The batch of a number; its errors come up here."""
        waiting = self._next[1] if self._next and self._next[0] == index else self._thread.submit(self._sampler, index)
        batch = waiting.result()
        following = self._following(index)
        self._next = (following, self._thread.submit(self._sampler, following))
        return batch
