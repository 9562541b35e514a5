"""Makes the next step's batch while the network works on this one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Batch = TypeVar("Batch")


class Prefetched(Generic[Batch]):
    """A sampler that is one step ahead. The batches are the same: a sampler's batch depends on the step alone.

    Args:
        sampler: Gives the batch of a step; called from one thread of its own, step after step.
    """

    def __init__(self, sampler: Callable[[int], Batch]) -> None:
        self._sampler = sampler
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sampler")
        self._next: tuple[int, Future[Batch]] | None = None

    def __call__(self, step: int) -> Batch:
        """The batch of a step; its errors come up here."""
        waiting = self._next[1] if self._next and self._next[0] == step else self._thread.submit(self._sampler, step)
        batch = waiting.result()
        self._next = (step + 1, self._thread.submit(self._sampler, step + 1))
        return batch
