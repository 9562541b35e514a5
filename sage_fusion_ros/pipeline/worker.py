"""The worker: takes the newest pair of messages, decodes, fuses, looks and hands over; counts what it drops."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from sage_fusion_ros.errors import ImageFormatError, SageFusionError
from sage_fusion_ros.pipeline.choice import Chooser
from sage_fusion_ros.pipeline.compressed_codec import decode
from sage_fusion_ros.pipeline.degraded import NEVER_LOST, PAIR, DegradedSettings, Intake, Matcher, Pick
from sage_fusion_ros.pipeline.fusion_pipeline import Fused, FusionPipeline, Stopwatch, Wants
from sage_fusion_ros.pipeline.image_codec import ImageMessage, as_rgb, as_thermal
from sage_fusion_ros.pipeline.pairing import Arrival
from sage_fusion_ros.pipeline.rate import RateLimiter
from sage_fusion_ros.pipeline.slot import Handover, NewestSlot
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
    """Where results go. Called by the worker's threads, `wants` by one and `publish` by one."""

    def wants(self) -> Wants:
        """What somebody listens to; nothing is computed for the rest."""

    def publish(self, pick: Pick, result: FusionResult, wants: Wants, watch: Stopwatch) -> None:
        """Takes over a result and what was wanted of it; laps its own stages on the watch."""

    def report(self, camera: str, error: Exception) -> None:
        """Takes note of a pair that could not be fused; camera is "rgb", "thermal" or "pair"."""


@dataclass(frozen=True)
class _Half:
    """A pick whose image is fused: what its second half needs."""

    pick: Pick
    rgb: Frame | None
    thermal: Frame | None
    pipeline: FusionPipeline
    fused: Fused
    watch: Stopwatch


class FusionWorker:
    """Pairs frames as they arrive and fuses the newest pair on a thread of its own.

    `offer` is what a subscription calls: it stores and returns. Nothing is ever decoded or fused in it or in a lock.

    Args:
        pairing: Makes the pairs.
        pipeline: Works on them.
        sink: Takes the results.
        max_hz: Most pairs begun a second; 0: all.
        degraded: When a camera is lost, and what goes out then.
        overlap: Whether a second thread looks at a fused image and publishes while the first fuses the next pair.
    """

    def __init__(
        self,
        pairing: Matcher,
        pipeline: FusionPipeline,
        sink: Sink,
        max_hz: float = 0.0,
        degraded: DegradedSettings = NEVER_LOST,
        overlap: bool = False,
    ) -> None:
        self.pipeline = pipeline  # replaced as a whole when the model changes; read once a pair
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
        self._thread = threading.Thread(target=self._work, name="fusion_worker", daemon=True)
        self._handover: Handover[_Half] = Handover()
        self._finisher = threading.Thread(target=self._finish_each, name="finisher", daemon=True) if overlap else None

    def start(self) -> None:
        """Starts the threads."""
        self._thread.start()
        if self._finisher is not None:
            self._finisher.start()

    def stop(self) -> None:
        """Ends the threads after the pairs in work; drops what waits, counted as "stopped". May be called twice."""
        if self._slot.close() is not None:
            self.dropped["stopped"] += 1
        self._thread.join()
        if self._finisher is not None:
            self._handover.close()
            self._finisher.join()
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

    def _work(self) -> None:
        while not self._slot.closed:
            with self.lock:
                deadline = self.pairing.next_deadline_ns()
            timeout = None if deadline is None else max(0.0, (deadline - time.monotonic_ns()) * 1e-9)
            pick = self._slot.take(timeout)
            if pick is not None:
                self._fuse(pick)
            with self.lock:
                now = time.monotonic_ns()
                self._store(self.intake.poll(now), now)

    def _fuse(self, pick: Pick) -> None:
        if not self._in_turn(pick):
            return
        wants = self._sink.wants()
        if not wants:
            self._last = pick
            self.dropped["nobody listens"] += 1
            if time.monotonic_ns() - self._looked_ns < _LOOK_NS:
                return
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
                return
            if choice.frames is None:
                self.dropped[choice.reason] += 1
                return
            # A pair of which one image is no good goes out under the other one's stamp, which may be older.
            if choice.pick.mode != pick.mode and not self._in_turn(choice.pick):
                return
            pick = self._last = choice.pick
            pipeline = self.pipeline
            if isinstance(choice.frames, FramePair):
                fused = pipeline.fuse(choice.frames, wants)
            else:
                fused = pipeline.fuse_alone(choice.frames, self.size, wants)
        except Exception as error:
            self._last = pick
            self._failed(camera, error, bool(wants))  # counted above where nobody listens
            return
        half = _Half(pick, rgb, thermal, pipeline, fused, watch)
        if self._finisher is None:
            self._finish(half)
        else:
            self._handover.give(half)

    def _finish_each(self) -> None:
        while (half := self._handover.take()) is not None:
            self._finish(half)

    def _finish(self, half: _Half) -> None:
        """Looks at a fused image, publishes, and takes note of how long all of it took."""
        pick = half.pick
        try:
            result = half.pipeline.finish(half.fused)
            if result.view == RGB_VIEW:
                self.size = result.fused.shape[0], result.fused.shape[1]
                if half.rgb is not None:
                    self._rgb_frame_id = half.rgb.frame_id
                pick = replace(pick, frame_id=self._rgb_frame_id)
            elif half.thermal is not None:
                pick = replace(pick, frame_id=half.thermal.frame_id)
            half.watch.skip()
            self._sink.publish(pick, result, half.fused.wants, half.watch)
        except Exception as error:
            self._failed("pair", error, True)
            return
        now = time.monotonic_ns()
        self.fused.tick(now)
        self.modes[pick.mode] += 1
        if pick.dt_ns is not None and pick.mode == PAIR:
            self.pair_dt_ms.add(pick.dt_ns / 1e6)
        stages = {**half.watch.laps_ms, **result.timings_ms}
        whole = (now - pick.arrived_ns) / 1e6
        stages["overhead"] = whole - sum(stages.get(stage, 0.0) for stage in WORK)
        stages["since_arrival"] = whole
        for stage, duration in stages.items():
            self.stages_ms.setdefault(stage, Rolling()).add(duration)

    def _failed(self, camera: str, error: Exception, counted: bool) -> None:
        """Takes note of a pair that could not be fused: a robot's node outlives whatever one pair does to it."""
        with self.lock:  # both threads may fail at a time
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
