"""The worker thread: takes the newest pair of messages, decodes, processes and hands over; counts what it drops."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from sage_fusion_ros.errors import SageFusionError
from sage_fusion_ros.pipeline.fusion_pipeline import FusionPipeline, Stopwatch, Wants
from sage_fusion_ros.pipeline.image_codec import ImageMessage, as_rgb, as_thermal, decode
from sage_fusion_ros.pipeline.pairing import JUMP_NS, Match, Pairing
from sage_fusion_ros.pipeline.rate import RateLimiter
from sage_fusion_ros.pipeline.slot import NewestSlot
from sage_fusion_ros.pipeline.stats import RateMeter, Rolling
from sage_fusion_ros.pipeline.types import Frame, FramePair, FusionResult, Image

logger = logging.getLogger(__name__)


class Sink(Protocol):
    """Where results go. All of it is called on the worker's thread."""

    def wants(self) -> Wants:
        """What somebody listens to; nothing is computed for the rest."""

    def publish(self, match: Match, result: FusionResult, watch: Stopwatch) -> None:
        """Takes a result over; laps its own stages on the watch."""

    def report(self, camera: str, error: Exception) -> None:
        """Takes note of a pair that could not be fused; camera is "rgb", "thermal" or "pair"."""


class FusionWorker:
    """Pairs frames as they arrive and fuses the newest pair on a thread of its own.

    `offer` is what a subscription calls: it stores and returns. Nothing is ever decoded or fused in it or in a lock.
    """

    def __init__(self, pairing: Pairing, pipeline: FusionPipeline, sink: Sink, max_hz: float = 0.0) -> None:
        self.pipeline = pipeline  # replaced as a whole when the model changes; read once a pair
        self.limiter = RateLimiter(max_hz)
        self.pairing = pairing
        self.lock = threading.Lock()  # guards pairing and limiter
        self.dropped: Counter[str] = Counter()  # pairs, by reason
        self.size: tuple[int, int] | None = None  # height and width of the last pair that could be fused
        self.fused = RateMeter()
        self.pair_dt_ms = Rolling()
        self.stages_ms: dict[str, Rolling] = {}
        self._sink = sink
        self._slot: NewestSlot[Match] = NewestSlot()
        self._last: Match | None = None
        self._thread = threading.Thread(target=self._work, name="fusion_worker", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread after the pair in work; drops what waits, counted as "stopped". May be called twice."""
        if self._slot.close() is not None:
            self.dropped["stopped"] += 1
        self._thread.join()
        with self.lock:
            self.pairing.clear("stopped")

    def offer(self, camera: str, stamp_ns: int, message: ImageMessage) -> None:
        """Takes a frame in: cheap, thread-safe, called from subscriptions."""
        with self.lock:
            now = time.monotonic_ns()
            first = self.pairing.next_deadline_ns() is None
            self._store(self.pairing.add(camera, stamp_ns, now, message), now)
        if first:
            self._slot.wake()  # so that the thread sees the new deadline

    def _store(self, matches: list[Match], now_ns: int) -> None:
        for match in matches:
            if not self.limiter.allows(now_ns):
                self.dropped["rate limit"] += 1
            elif self._slot.put(match) is not None:
                self.dropped["replaced by a newer pair"] += 1

    def _work(self) -> None:
        while not self._slot.closed:
            with self.lock:
                deadline = self.pairing.next_deadline_ns()
            timeout = None if deadline is None else max(0.0, (deadline - time.monotonic_ns()) * 1e-9)
            match = self._slot.take(timeout)
            if match is not None:
                self._fuse(match)
            with self.lock:
                now = time.monotonic_ns()
                self._store(self.pairing.poll(now), now)

    def _fuse(self, match: Match) -> None:
        last = self._last
        if last is not None and match.rgb.epoch == last.rgb.epoch and 0 <= last.stamp_ns - match.stamp_ns < JUMP_NS:
            self.dropped["older than the last one"] += 1  # it had to wait for certainty while a later pair did not
            return
        self._last = match
        wants = self._sink.wants()
        if not wants:
            self.dropped["nobody listens"] += 1
            return
        watch = Stopwatch()
        camera = "pair"
        try:
            camera = "rgb"
            rgb = _frame(match.rgb.payload, match.rgb.stamp_ns, as_rgb)
            camera = "thermal"
            thermal = _frame(match.thermal.payload, match.thermal.stamp_ns, as_thermal)
            camera = "pair"
            watch.lap("decode")
            result = self.pipeline.process(FramePair(rgb, thermal), wants)
            self.size = result.fused.shape[0], result.fused.shape[1]
            watch.skip()
            self._sink.publish(match, result, watch)
        except SageFusionError as error:
            self.dropped[f"unreadable: {camera}"] += 1
            self._sink.report(camera, error)
        except Exception as error:
            # A robot's node outlives whatever one pair does to it; the count and the traceback say what happened.
            logger.exception("a pair could not be fused")
            self.dropped["failed"] += 1
            self._sink.report(camera, error)
        else:
            now = time.monotonic_ns()
            self.fused.tick(now)
            self.pair_dt_ms.add(match.dt_ns / 1e6)
            waited = {"since_arrival": (now - match.arrived_ns) / 1e6}
            for stage, duration in {**watch.laps_ms, **result.timings_ms, **waited}.items():
                self.stages_ms.setdefault(stage, Rolling()).add(duration)


def _frame(message: Any, stamp_ns: int, convert: Callable[[Image], Image]) -> Frame:
    return Frame(stamp_ns, message.header.frame_id, convert(decode(message)))
