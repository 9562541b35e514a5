"""The worker: takes the newest pair of messages, decodes, fuses, looks and publishes; counts what it drops."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from sage_fusion_ros.errors import ImageFormatError, SageFusionError
from sage_fusion_ros.pipeline.choice import Chooser
from sage_fusion_ros.pipeline.compressed_codec import decode
from sage_fusion_ros.pipeline.degraded import NEVER_LOST, PAIR, DegradedSettings, Intake, Matcher, Pick
from sage_fusion_ros.pipeline.fusion_pipeline import FusionPipeline, Prepared, Stopwatch, Wants
from sage_fusion_ros.pipeline.image_codec import ImageMessage, as_rgb, as_thermal
from sage_fusion_ros.pipeline.pairing import Arrival
from sage_fusion_ros.pipeline.rate import RateLimiter
from sage_fusion_ros.pipeline.slot import NewestSlot, Order
from sage_fusion_ros.pipeline.stats import RateMeter, Rolling
from sage_fusion_ros.pipeline.types import RGB_VIEW, Frame, FramePair, FusionResult, Image

logger = logging.getLogger(__name__)

_LOOK_NS = 500_000_000  # how often images that nobody wants are looked at, so that diagnostics know the cameras
# No offset between two cameras' stamps is corrected beyond half of this. A step back that is longer, where one camera
# takes over from the other, comes of clocks that have nothing in common; to wait it out would be an outage.
_FOREIGN_CLOCK_NS = 10_000_000_000

WORK = ("decode", "normalise", "register", "fuse", "perceive", "segment", "detect", "tint", "device", "encode")
"""The stages that any program has that does the same to a pair; what else passes until it is published is overhead."""


class Sink(Protocol):
    """Where results go: `wants` and `publish` by one thread at a time, the latter in the order of the pairs."""

    def wants(self) -> Wants:
        """What somebody listens to; nothing is computed for the rest."""

    def publish(self, pick: Pick, result: FusionResult, wants: Wants, watch: Stopwatch) -> None:
        """Takes over a result and what was wanted of it; laps its own stages on the watch."""

    def report(self, camera: str, error: Exception) -> None:
        """Takes note of a pair that could not be fused; camera is "rgb", "thermal" or "pair"."""


@dataclass(frozen=True)
class _Begun:
    """A pair that is ready for the networks, and whose turn it is among those that are."""

    number: int
    pick: Pick
    rgb: Frame | None
    thermal: Frame | None
    prepared: Prepared
    pipeline: FusionPipeline
    wants: Wants
    watch: Stopwatch


class FusionWorker:
    """Pairs frames as they arrive and fuses the newest pair on a thread of its own, or several on several threads.

    `offer` is what a subscription calls: it stores and returns. Nothing is ever decoded or fused in it, or in a lock
    that it takes. Of several threads one at a time takes a pair and readies it for the networks, so that all that looks
    back at earlier pairs sees them in order; the networks run side by side; results go out in order again.

    Args:
        pairing: Makes the pairs.
        pipelines: Work on them, one for each thread; see FusionPipeline.
        sink: Takes the results.
        max_hz: Most pairs begun a second; 0: all.
        degraded: When a camera is lost, and what goes out then.
    """

    def __init__(
        self,
        pairing: Matcher,
        pipelines: Sequence[FusionPipeline],
        sink: Sink,
        max_hz: float = 0.0,
        degraded: DegradedSettings = NEVER_LOST,
    ) -> None:
        self.pipelines = tuple(pipelines)  # replaced as a whole when the model changes; read once a pair
        self.limiter = RateLimiter(max_hz)
        self.pairing = pairing
        self.intake = Intake(pairing, degraded)
        self.chooser = Chooser(degraded)
        self.lock = threading.Lock()  # guards pairing, intake and limiter
        self._traced: set[type[Exception]] = set()
        self.dropped: Counter[str] = Counter()  # pairs, by reason
        self.size: tuple[int, int] | None = None  # height and width of the last pair that could be fused
        self.fused = RateMeter()
        self.modes: Counter[str] = Counter()  # results, by the mode they were made in
        self.pair_dt_ms = Rolling()
        self.stages_ms: dict[str, Rolling] = {}
        self._sink = sink
        self._slot: NewestSlot[Pick] = NewestSlot()
        self._last: Pick | None = None
        self._looked_ns = 0
        self._rgb_frame_id = ""
        self._taking = threading.Lock()  # held by the thread that waits for a pair and readies it
        self._order = Order(2 * len(self.pipelines))
        self._threads = [
            threading.Thread(target=self._work, args=[i], name=f"fusion_worker_{i}", daemon=True)
            for i in range(len(self.pipelines))
        ]

    def start(self) -> None:
        """Starts the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the threads after the pairs in work; drops what waits, counted as "stopped". May be called twice."""
        if self._slot.close() is not None:
            self.dropped["stopped"] += 1
        for thread in self._threads:
            thread.join()
        with self.lock:
            self.pairing.clear("stopped")

    def offer(self, camera: str, stamp_ns: int, message: ImageMessage) -> None:
        """Takes a frame in: cheap, thread-safe, called from subscriptions."""
        unchanged = self.intake.unchanged(camera, message)
        with self.lock:
            now = time.monotonic_ns()
            first = self.pairing.next_deadline_ns() is None
            self._store(self.intake.add(camera, stamp_ns, now, message, unchanged), now)
        if first:
            self._slot.wake()  # so that the thread sees the new deadline

    def adjust(self, degraded: DegradedSettings) -> None:
        """Takes over settings that changed; the caller holds the lock."""
        self.intake.settings = self.chooser.settings = degraded

    def _store(self, picks: list[Pick], now_ns: int) -> None:
        for pick in picks:
            if not self.limiter.allows(now_ns):
                self.dropped["rate limit"] += 1
            elif self._slot.put(pick) is not None:
                self.dropped["replaced by a newer pair"] += 1

    def _work(self, thread: int) -> None:
        while not self._slot.closed:
            with self._taking:
                begun = self._take(thread)
            if begun is not None:
                self._finish(begun)

    def _take(self, thread: int) -> _Begun | None:
        """Waits for a pair and readies it; None: none came, or it is not to be fused."""
        self._order.wait()
        with self.lock:
            deadline = self.pairing.next_deadline_ns()
        timeout = None if deadline is None else max(0.0, (deadline - time.monotonic_ns()) * 1e-9)
        pick = self._slot.take(timeout)
        begun = None if pick is None else self._begin(pick, thread)
        with self.lock:
            now = time.monotonic_ns()
            self._store(self.intake.poll(now), now)
        return begun

    def _begin(self, pick: Pick, thread: int) -> _Begun | None:
        if not self._in_turn(pick):
            return None
        wants = self._sink.wants()
        if not wants:
            self._last = pick
            self.dropped["nobody listens"] += 1
            if time.monotonic_ns() - self._looked_ns < _LOOK_NS:
                return None
        self._looked_ns = time.monotonic_ns()
        watch = Stopwatch()
        camera = "pair"
        try:
            camera = "rgb"
            rgb = self._read(pick.rgb, as_rgb)
            camera = "thermal"
            thermal = self._read(pick.thermal, as_thermal)
            camera = "pair"
            watch.lap("decode")
            choice = self.chooser.choose(pick, rgb, thermal)
            watch.lap("look")
            if not wants:
                return None
            if choice.frames is None:
                self.dropped[choice.reason] += 1
                return None
            # A pair of which one image is no good goes out under the other one's stamp, which may be older.
            if choice.pick.mode != pick.mode and not self._in_turn(choice.pick):
                return None
            pick = self._last = choice.pick
            pipeline = self.pipelines[thread]
            if isinstance(choice.frames, FramePair):
                prepared = pipeline.prepare(choice.frames)
            else:
                prepared = pipeline.prepare_alone(choice.frames, self.size)
        except Exception as error:
            self._last = pick
            self._failed(camera, error, bool(wants))  # counted above where nobody listens
            return None
        return _Begun(self._order.begin(), pick, rgb, thermal, prepared, pipeline, wants, watch)

    def _finish(self, begun: _Begun) -> None:
        """Fuses and looks, and has the result published when it is the pair's turn."""
        outcome: FusionResult | Exception
        try:
            outcome = begun.pipeline.run(begun.prepared, begun.wants)
        except Exception as error:
            outcome = error
        self._order.finish(begun.number, lambda: self._bring_out(begun, outcome))

    def _bring_out(self, begun: _Begun, outcome: FusionResult | Exception) -> None:
        """Publishes, and takes note of how long all of it took."""
        try:
            if isinstance(outcome, Exception):
                raise outcome
            begun.watch.skip()
            pick = self._named(begun, outcome)
            self._sink.publish(pick, outcome, begun.wants, begun.watch)
        except Exception as error:
            self._failed("pair", error, True)
            return
        self._count(pick, {**begun.watch.laps_ms, **outcome.timings_ms})

    def _named(self, begun: _Begun, result: FusionResult) -> Pick:
        """The pick under the frame of the camera whose geometry the result has."""
        if result.view == RGB_VIEW:
            self.size = result.fused.shape[0], result.fused.shape[1]
            if begun.rgb is not None:
                self._rgb_frame_id = begun.rgb.frame_id
            return replace(begun.pick, frame_id=self._rgb_frame_id)
        if begun.thermal is not None:
            return replace(begun.pick, frame_id=begun.thermal.frame_id)
        return begun.pick

    def _count(self, pick: Pick, stages_ms: dict[str, float]) -> None:
        now = time.monotonic_ns()
        self.fused.tick(now)
        self.modes[pick.mode] += 1
        if pick.dt_ns is not None and pick.mode == PAIR:
            self.pair_dt_ms.add(pick.dt_ns / 1e6)
        whole = (now - pick.arrived_ns) / 1e6
        overhead = whole - sum(stages_ms.get(stage, 0.0) for stage in WORK)
        for stage, duration in {**stages_ms, "overhead": overhead, "since_arrival": whole}.items():
            self.stages_ms.setdefault(stage, Rolling()).add(duration)

    def _failed(self, camera: str, error: Exception, counted: bool) -> None:
        """Takes note of a pair that could not be fused: a robot's node outlives whatever one pair does to it."""
        with self.lock:  # several threads may fail at a time
            if isinstance(error, SageFusionError):
                self.dropped[f"unreadable: {camera}"] += counted
            else:
                self.dropped["failed"] += counted
                if type(error) not in self._traced:  # once a kind: thirty a second would bury the log
                    self._traced.add(type(error))
                    logger.error("a pair could not be fused", exc_info=error)
        self._sink.report(camera, error)

    def _read(self, arrival: Arrival | None, convert: Callable[[Image], Image]) -> Frame | None:
        """Decodes a frame; None: there is none, or it is no image and its camera counts as lost with it.

        Raises:
            ImageFormatError: It is no image, and images are not to be judged.
        """
        if arrival is None:
            return None
        try:
            message = arrival.payload
            return Frame(arrival.stamp_ns, message.header.frame_id, convert(decode(message)))
        except ImageFormatError as error:
            if not self.chooser.settings.health.check:
                raise
            self._sink.report(arrival.camera, error)
            self.chooser.unreadable(arrival.camera)
            return None

    def _in_turn(self, pick: Pick) -> bool:
        """Whether a pick is newer than what went before: it may have waited for certainty while a later one did not."""
        last = self._last
        if last is None or pick.epoch != last.epoch or not 0 <= last.stamp_ns - pick.stamp_ns < _FOREIGN_CLOCK_NS:
            return True
        self.dropped["older than the last one"] += 1
        return False
