"""One engine for several pairs of cameras: threads take turns, and go in one batch where that is faster."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from sage_fusion_ros.engines.base import Array, Engine
from sage_fusion_ros.engines.device_pair import DevicePair, Floats, Limits, Looking, Pixels, Seen, join

_USUAL = Limits()
_ROUNDS = 5
_WORTH = 0.95  # of the time of single runs: a smaller gain is noise, and a batch makes the first one wait


class SharedEngine:
    """An engine that several threads may call at once.

    Attributes:
        info, inputs, outputs: The engine's.
        batch: Most calls that go in one run; 1: each goes alone.

    Args:
        engine: Runs the network; its results must stay as they are when it runs again.
        batch: See above.
    """

    def __init__(self, engine: Engine, batch: int = 1) -> None:
        self.info, self.inputs, self.outputs = engine.info, engine.inputs, engine.outputs
        self.batch = batch
        self._engine = engine
        self._turn = threading.Lock()  # held while the network runs
        self._lock = threading.Lock()  # guards the list
        self._waiting: list[_Call] = []

    def run(self, feeds: dict[str, Array], outputs: Sequence[str] | None = None) -> list[Array]:
        """Runs the network once for this call, alone or with others that wait; as Engine.run.

        An error of a batch reaches every call that was in it.
        """
        call = _Call(feeds, None if outputs is None else tuple(outputs))
        with self._lock:
            self._waiting.append(call)
        with self._turn:
            if not call.done:
                self._serve(self._take(call))
        if call.error is not None:
            raise call.error
        return call.results

    def joined(self, perception: Engine | None, size_multiple: int) -> DevicePair | None:
        """See device_pair.join; its pairs take turns too, one after the other."""
        inner = perception._engine if isinstance(perception, SharedEngine) else perception
        pair = join(self._engine, inner, size_multiple)
        return None if pair is None else _InTurn(pair, self._turn)

    def close(self) -> None:
        """Frees the network, after the run in work."""
        with self._turn:
            self._engine.close()

    def _take(self, call: _Call) -> list[_Call]:
        """A call, and those that wait and are like it, as many as go in one run; they wait no longer."""
        with self._lock:
            alike = [other for other in self._waiting if other is not call and other.kind == call.kind]
            taken = [call, *alike[: self.batch - 1]]
            self._waiting = [other for other in self._waiting if other not in taken]
        return taken

    def _serve(self, calls: list[_Call]) -> None:
        try:
            if len(calls) == 1:
                calls[0].results = self._engine.run(calls[0].feeds, calls[0].outputs)
            else:
                for call, results in zip(calls, run_batch(self._engine, calls[0].outputs, calls), strict=True):
                    call.results = results
        except Exception as error:
            for call in calls:
                call.error = error
        for call in calls:
            call.done = True


class _InTurn:
    """Two joined networks that several threads may call at once."""

    def __init__(self, pair: DevicePair, turn: threading.Lock) -> None:
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
        with self._turn:
            seen = self._pair.start(rgb, thermal, seam, looking, limits)()
        return lambda: seen


class _Call:
    """One thread's call. Compared by identity: its arrays have no single truth value."""

    def __init__(self, feeds: dict[str, Array], outputs: tuple[str, ...] | None = None) -> None:
        self.feeds, self.outputs = feeds, outputs
        self.kind = (outputs, tuple((name, array.shape) for name, array in sorted(feeds.items())))
        self.results: list[Array] = []
        self.error: Exception | None = None
        self.done = False


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
