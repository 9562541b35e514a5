"""Engines for several threads, which take turns, go in one batch where that is faster, or run side by side."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import numpy as np

from sage_fusion_ros.engines.base import Array, Engine
from sage_fusion_ros.engines.device_pair import DevicePair, Floats, Limits, Looking, Pixels, Seen, join

_USUAL = Limits()
_ROUNDS = 5
_WORTH = 0.95  # of the time of single runs: a smaller gain is noise, and a batch makes the first one wait


class SharedEngine:
    """An engine that several threads may call at once, or several that are alike and run side by side.

    Attributes:
        info, inputs, outputs: The engine's.
        batch: Most calls that go in one run; 1: each goes alone.

    Args:
        engines: Run the network, each for one call at a time; their results must stay as they are when they run again.
        batch: See above.
    """

    def __init__(self, engines: Sequence[Engine], batch: int = 1) -> None:
        self.info, self.inputs, self.outputs = engines[0].info, engines[0].inputs, engines[0].outputs
        self.batch = batch
        self._engines = tuple(engines)
        self._condition = threading.Condition()  # guards what follows
        self._free = set(range(len(engines)))
        self._waiting: list[_Call] = []
        self._joined = 0

    def run(self, feeds: dict[str, Array], outputs: Sequence[str] | None = None) -> list[Array]:
        """Runs the network once for this call, alone or with others that wait; as Engine.run.

        An error of a batch reaches every call that was in it.
        """
        call = _Call(feeds, None if outputs is None else tuple(outputs))
        with self._condition:
            self._waiting.append(call)
        with self._holding() as index:
            calls = self._take(call)
            if calls:
                self._serve(self._engines[index], calls)
        call.done.wait()  # by another thread, where that has taken this call into its batch
        if call.error is not None:
            raise call.error
        return call.results

    def joined(self, perception: Engine | None, size_multiple: int) -> DevicePair | None:
        """See device_pair.join; each call joins the next of the engines, and pairs on the same one take turns."""
        index = self._joined % len(self._engines)
        inner = perception
        if isinstance(perception, SharedEngine):
            inner = perception._engines[index % len(perception._engines)]
        pair = join(self._engines[index], inner, size_multiple)
        if pair is None:
            return None
        self._joined += 1
        return _InTurn(pair, lambda: self._holding(index))

    def close(self) -> None:
        """Frees the network, after the runs in work."""
        for index, engine in enumerate(self._engines):
            with self._holding(index):
                engine.close()

    @contextmanager
    def _holding(self, index: int | None = None) -> Iterator[int]:
        """Waits for an engine, this one or any, and keeps it from others."""
        with self._condition:
            self._condition.wait_for(lambda: bool(self._free) if index is None else index in self._free)
            held = min(self._free) if index is None else index
            self._free.remove(held)
        try:
            yield held
        finally:
            with self._condition:
                self._free.add(held)
                self._condition.notify_all()

    def _take(self, call: _Call) -> list[_Call]:
        """A call, and those that wait and are like it, as many as go in one run; they wait no longer.

        Empty where another thread has taken the call already.
        """
        with self._condition:
            if call not in self._waiting:
                return []
            alike = [other for other in self._waiting if other is not call and other.kind == call.kind]
            taken = [call, *alike[: self.batch - 1]]
            self._waiting = [other for other in self._waiting if other not in taken]
        return taken

    @staticmethod
    def _serve(engine: Engine, calls: list[_Call]) -> None:
        try:
            if len(calls) == 1:
                calls[0].results = engine.run(calls[0].feeds, calls[0].outputs)
            else:
                for call, results in zip(calls, run_batch(engine, calls[0].outputs, calls), strict=True):
                    call.results = results
        except Exception as error:
            for call in calls:
                call.error = error
        for call in calls:
            call.done.set()


class _InTurn:
    """Two joined networks that several threads may call at once."""

    def __init__(self, pair: DevicePair, turn: Callable[[], AbstractContextManager[int]]) -> None:
        self._pair = pair
        self._turn = turn

    def prepare(self, height: int, width: int, looking: Looking | None) -> None:
        """See DevicePair."""
        self._pair.prepare(height, width, looking)

    def start(
        self,
        rgb: Pixels,
        thermal: Pixels,
        seam: tuple[Floats, Floats] | None = None,
        looking: Looking | None = None,
        limits: Limits = _USUAL,
    ) -> Callable[[], Seen]:
        """See DevicePair; here the pair has been waited for when this returns."""
        with self._turn():
            seen = self._pair.start(rgb, thermal, seam, looking, limits)()
        return lambda: seen


class _Call:
    """One thread's call. Compared by identity: its arrays have no single truth value."""

    def __init__(self, feeds: dict[str, Array], outputs: tuple[str, ...] | None = None) -> None:
        self.feeds, self.outputs = feeds, outputs
        self.kind = (outputs, tuple((name, array.shape) for name, array in sorted(feeds.items())))
        self.results: list[Array] = []
        self.error: Exception | None = None
        self.done = threading.Event()


def run_batch(engine: Engine, outputs: Sequence[str] | None, calls: Sequence[_Call]) -> list[list[Array]]:
    """Runs several calls of one kind, each of a batch of one, as one; the results call by call."""
    joined = {name: np.concatenate([call.feeds[name] for call in calls]) for name in calls[0].feeds}
    results = engine.run(joined, outputs)
    return [[result[index : index + 1] for result in results] for index in range(len(calls))]


def choose_batch(
    engine: Engine,
    feeds: dict[str, Array],
    outputs: Sequence[str] | None,
    most: int,
    clock: Callable[[], float] = time.perf_counter,
) -> int:
    """How many calls in one run are fastest, by measuring.

    Args:
        engine: Warm.
        feeds: Of one call: arrays whose first axis is 1.
        outputs: Names of the outputs wanted.
        most: Greatest number tried.
        clock: Tells seconds.

    Returns:
        1 where the network takes one image at a time, or more at once are not faster for each.
    """
    if any(port.shape[:1] == (1,) for port in engine.inputs):
        return 1
    times: dict[int, list[float]] = {size: [] for size in range(1, most + 1)}
    for round_ in range(_ROUNDS + 1):
        for size, found in times.items():
            calls = [_Call(feeds, None if outputs is None else tuple(outputs)) for _ in range(size)]
            start = clock()
            if size == 1:
                engine.run(feeds, outputs)
            else:
                run_batch(engine, outputs, calls)
            if round_:  # the first run of a size pays for its memory
                found.append((clock() - start) / size)
    each = {size: statistics.median(found) for size, found in times.items()}
    best = min(each, key=each.__getitem__)
    return best if each[best] < _WORTH * each[1] else 1


def load_shared(
    load: Callable[[], Engine],
    workers: int,
    pairs: int,
    call: Callable[[], tuple[dict[str, Array], Sequence[str] | None]],
) -> Engine:
    """As many engines as run side by side, behind one; where several threads will not call it, the engine itself.

    Args:
        load: Loads a network, and raises as load_engine does; what was loaded before is then freed.
        workers: How many run side by side.
        pairs: How many pairs of cameras there are, each with that many threads.
        call: Asked once the first is loaded: feeds of one call, and the outputs wanted, by which batches are measured.
    """
    engines = [load()]
    try:
        while len(engines) < workers:
            engines.append(load())
        batch = choose_batch(engines[0], *call(), pairs) if pairs > 1 else 1
    except Exception:
        for engine in engines:
            engine.close()
        raise
    return SharedEngine(engines, batch) if workers > 1 or pairs > 1 else engines[0]
