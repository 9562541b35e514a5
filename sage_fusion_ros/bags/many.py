"""Many bags at a time on one machine: a process for each, so that one that dies takes no other with it."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any

from sage_fusion_ros.bags.fuse import Fused, fuse_bag
from sage_fusion_ros.bags.job import FuseJob
from sage_fusion_ros.errors import SageFusionError

ATTEMPTS = 3
"""How often a bag is tried whose process dies; each goes on where the one before was."""
_GRACE_S = 10.0


@dataclass(frozen=True)
class Result:
    """What became of one job: `fused`, or `error` in words."""

    job: FuseJob
    fused: Fused | None = None
    error: str = ""


def fuse_in_processes(
    jobs: Sequence[FuseJob],
    processes: int,
    progress: Callable[[FuseJob, int, int], None],
    *,
    restart: bool = False,
) -> list[Result]:
    """Fuses bags, several at a time.

    Args:
        jobs: The bags.
        processes: How many at a time.
        progress: Called with a job, its pairs done and its pairs in all.
        restart: As for fuse_bag; a bag whose process died goes on all the same.

    Returns:
        A result for each job, in their order. A bag that can't be fused does not hinder the others.
    """
    waiting = deque((job, 1) for job in jobs)
    running: dict[Any, _Worker] = {}
    results: dict[int, Result] = {}
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                job, attempt = waiting.popleft()
                worker = _Worker(job, attempt, restart and attempt == 1)
                running[worker.pipe] = worker
            for pipe in connection.wait(list(running)):
                worker = running[pipe]
                kind, content = worker.receive()
                if kind == "progress":
                    progress(worker.job, *content)
                    continue
                del running[pipe]
                worker.end()
                if kind == "died" and worker.attempt < ATTEMPTS:
                    waiting.append((worker.job, worker.attempt + 1))
                elif kind == "done":
                    results[id(worker.job)] = Result(worker.job, content)
                else:
                    results[id(worker.job)] = Result(worker.job, error=worker.why(content))
    finally:
        for worker in running.values():
            worker.stop()
    return [results[id(job)] for job in jobs]


class _Worker:
    """A process with one bag."""

    def __init__(self, job: FuseJob, attempt: int, restart: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self.job, self.attempt = job, attempt
        self.pipe, theirs = context.Pipe(duplex=False)
        name = f"fuse {job.bag}"
        self._process = context.Process(target=_work, args=(job, restart, theirs), name=name, daemon=True)
        self._process.start()
        theirs.close()  # so that its end is seen when the process is gone

    def receive(self) -> tuple[str, Any]:
        """What it has to say: ("progress", (done, total)), ("done", Fused), ("failed", text) or ("died", None)."""
        try:
            kind, content = self.pipe.recv()
        except (EOFError, OSError):
            return "died", None
        return kind, content

    def why(self, content: str | None) -> str:
        """Why there is no fused bag."""
        if content is not None:
            return content
        return (
            f"its process died {ATTEMPTS} times, the last time with exit code {self._process.exitcode} (-9: killed, "
            "mostly for want of memory); try fewer --processes"
        )

    def end(self) -> None:
        """Waits for the process, which has said its last word."""
        self.pipe.close()
        self._process.join()

    def stop(self) -> None:
        """Ends the process; what it did so far stays to go on with."""
        self._process.terminate()
        self._process.join(_GRACE_S)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        self.pipe.close()


def _work(job: FuseJob, restart: bool, pipe: Any) -> None:
    """The process: a closed pipe, which means that nobody waits any more, ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the command's, which ends its processes
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        fused = fuse_bag(job, lambda done, total: pipe.send(("progress", (done, total))), restart=restart)
    except SageFusionError as error:
        pipe.send(("failed", str(error)))
    except BrokenPipeError:
        return
    else:
        pipe.send(("done", fused))
