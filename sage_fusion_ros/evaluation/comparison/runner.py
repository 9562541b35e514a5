"""Does jobs on several processes. Each loads the models once, on one thread; none outlives the run."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import SageFusionError
from sage_fusion_ros.evaluation.comparison.clips import Clip
from sage_fusion_ros.evaluation.comparison.contenders import SOURCES, ContenderSpec, load_contenders
from sage_fusion_ros.evaluation.comparison.masks import MaskResult, measure_masks
from sage_fusion_ros.evaluation.comparison.measures import (
    ClipResult,
    PairResult,
    StillResult,
    measure_clip,
    measure_pair,
    measure_still,
)
from sage_fusion_ros.evaluation.comparison.overlays import OverlayResult, SmokeFrame, draw_overlays
from sage_fusion_ros.evaluation.comparison.perceivers import PerceptionReader, PerceptionSpec
from sage_fusion_ros.evaluation.comparison.pictures import PictureResult, make_pictures
from sage_fusion_ros.evaluation.comparison.sets import Item
from sage_fusion_ros.evaluation.comparison.smoke import SmokePart, SmokeResult, measure_smoke
from sage_fusion_ros.evaluation.detectors import DetectedBoxes, Detector

# Read by the libraries below numpy, scipy and scikit-learn when they are loaded.
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Result = PairResult | StillResult | ClipResult | PictureResult | MaskResult | SmokeResult | OverlayResult


@dataclass(frozen=True)
class Plan:
    """What every process needs to know.

    Attributes:
        contenders: Who is compared.
        luma: Which luma is scored; see load_contenders.
        profile: Of the metrics.
        metrics: Which of them.
        detectors: Files of detectors by name.
        perception: Perception models.
        sigmas: Noise of the still scenes, as shares of the full scale.
        clip_frames: At most so many frames of a clip; 0 takes all.
    """

    contenders: tuple[ContenderSpec, ...]
    luma: str = "saved"
    profile: str = "standard"
    metrics: tuple[str, ...] = ()
    detectors: dict[str, Path] = field(default_factory=dict)
    perception: tuple[PerceptionSpec, ...] = ()
    sigmas: tuple[float, ...] = ()
    clip_frames: int = 0


@dataclass(frozen=True)
class Job:
    """One thing to do.

    Attributes:
        kind: "pair", "still", "picture", "mask" or "overlay" with an item; with a frame of a clip "overlay", with a
            part of one "smoke", with a whole one "clip".
        what: With what.
    """

    kind: str
    what: Item | Clip | SmokePart | SmokeFrame


class Worker:
    """Does the jobs of one process."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._contenders = load_contenders(plan.contenders, plan.luma)
        # Those that can fuse an image nobody has seen before.
        self._able = {spec.name: self._contenders[spec.name] for spec in plan.contenders if spec.kind != "results"}
        self._makers = {name: who for name, who in self._able.items() if name not in SOURCES}
        self._detectors = {name: Detector(path, threads=1) for name, path in plan.detectors.items()}
        self._perception = {spec.name: PerceptionReader(spec) for spec in plan.perception}

    def do(self, job: Job) -> Result:
        """Does one job; what can't be done is named in its result."""
        plan, what = self._plan, job.what
        if isinstance(what, Clip):
            return measure_clip(what, self._makers, plan.clip_frames)
        if isinstance(what, SmokePart):
            return measure_smoke(what, self._able, self._detectors, self._perception)
        if isinstance(what, SmokeFrame):
            return draw_overlays(what, self._able, self._perception)
        if job.kind == "still":
            return measure_still(what, self._makers, plan.sigmas)
        here = {spec.name: self._contenders[spec.name] for spec in plan.contenders if spec.takes_part(what.set_name)}
        if job.kind == "picture":
            return make_pictures(what, here)
        if job.kind == "overlay":
            return draw_overlays(what, here, self._perception)
        if job.kind == "mask":
            return measure_masks(what, here, self._able, self._perception)
        return measure_pair(what, here, self._readers_of(what), plan.profile, plan.metrics)

    def _readers_of(self, item: Item) -> dict[str, Callable[[npt.NDArray[np.uint8]], DetectedBoxes]]:
        """Who looks at a pair: detectors at all with boxes, a perception model at those it may be judged on."""
        readers: dict[str, Callable[[npt.NDArray[np.uint8]], DetectedBoxes]] = {}
        if item.boxed or item.judged:
            readers.update({name: detector.detect for name, detector in self._detectors.items()})
        for spec in self._plan.perception:
            if spec.judges(item) and self._perception[spec.name].detects:
                readers[spec.name] = functools.partial(self._perception[spec.name].boxes, position=item.position)
        return readers


class Crew:
    """Several processes as a context manager; leaving it ends them, at once where an error or Ctrl-C came up.

    Args:
        plan: What every process needs to know.
        processes: How many; with 1 the work is done in this one.
    """

    def __init__(self, plan: Plan, processes: int) -> None:
        self._plan, self._processes = plan, processes
        self._pool: ProcessPoolExecutor | None = None
        self._worker: Worker | None = None
        self._others: set[Any] = set()

    def __enter__(self) -> Crew:
        if self._processes > 1:
            self._others = set(multiprocessing.active_children())
            self._pool = ProcessPoolExecutor(
                self._processes, multiprocessing.get_context("spawn"), initializer=_start, initargs=(self._plan,)
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._pool is None:
            return
        if kind is not None:
            for child in set(multiprocessing.active_children()) - self._others:
                child.terminate()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def do(self, jobs: Sequence[Job]) -> Iterator[Result]:
        """Does jobs and yields their results in the order in which they are done.

        Raises:
            SageFusionError: A process died.
        """
        if self._pool is None:
            self._worker = self._worker or Worker(self._plan)
            yield from map(self._worker.do, jobs)
            return
        with _starting_processes():
            futures = {self._pool.submit(_do, job): job for job in jobs}
        for future in as_completed(futures):
            yield _result_of(future, futures)


def _result_of(future: Future[Result], futures: dict[Future[Result], Job]) -> Result:
    try:
        return future.result()
    except BrokenProcessPool as error:
        names = [_name(job) for other, job in futures.items() if not other.done() or other.exception()]
        raise SageFusionError(
            f"a process died before it was done with one of {', '.join(names[:4])}; the system may have ended it for "
            "want of memory: try fewer --processes"
        ) from error


def _name(job: Job) -> str:
    return job.what.name if isinstance(job.what, Clip) else job.what.key


@contextlib.contextmanager
def _starting_processes() -> Iterator[None]:
    """What a child that starts meanwhile inherits: one thread for each library, and no ear for Ctrl-C.

    In this process Ctrl-C waits until it is over. A child would print a traceback of its own; its parent ends it.
    """
    environment = {name: os.environ.get(name) for name in ONE_THREAD}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in environment.items():
            os.environ.pop(name, None)
            os.environ.update({} if value is None else {name: value})
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


_plan: Plan | None = None
_worker: Worker | None = None


def _start(plan: Plan) -> None:
    global _plan
    _plan = plan
    cv2.setNumThreads(1)


def _do(job: Job) -> Result:
    """Loads the models with the first job, so that what is wrong with them is told like any other error."""
    global _worker
    if _worker is None:
        assert _plan is not None
        _worker = Worker(_plan)
    return _worker.do(job)
