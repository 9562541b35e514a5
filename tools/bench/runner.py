"""Measures one cell, each in processes of its own, and how busy others kept the machine meanwhile."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matrix import CAMERAS, EAGER, MACHINE, NODE_SECONDS, Cell

from sage_fusion_ros.cli.bench_runs import (
    OFFERED,
    fused_rate,
    make_stills,
    measure,
    new_paths,
    node_run,
    run_alone,
    run_together,
)
from sage_fusion_ros.cli.processes import Signals
from sage_fusion_ros.cli.turns import node_round
from sage_fusion_ros.errors import SageFusionError

HERE = Path(__file__).parent
POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Result = dict[str, Any]


class Runner:
    """Measures cells.

    Args:
        seconds: Length of each measurement.
        folder: Where the node's logs go, and the images that are sent to it.
        signals: A signal ends the measurement under way with KeyboardInterrupt.
        probes: Operations of each of the machine's probes, by file.
    """

    def __init__(self, seconds: float, folder: Path, signals: Signals, probes: Mapping[str, float]) -> None:
        self._seconds = seconds
        self._folder = folder
        self._signals = signals
        self._probes = probes

    def run(self, cell: Cell) -> Result:
        """A cell's figures, or "refused" and "reason"; beside the figures "others", cores that others kept busy."""
        others = Others()
        try:
            result = self._run(cell)
        except SageFusionError as error:
            result = {"refused": type(error).__name__, "reason": str(error)}
        return result if "refused" in result else {**result, "others": others.cores()}

    def _run(self, cell: Cell) -> Result:
        how = cell.how(self._seconds)
        if cell.part == MACHINE:
            return self._machine(cell)
        if cell.what == EAGER:
            command = [sys.executable, str(HERE / "eager.py"), cell.model, "--size", cell.size]
            command += ["--threads", str(cell.threads), "--seconds", str(self._seconds)]
            return run_alone([*command, *_since()], self._signals)
        if cell.what == "node":
            return self._node(cell)
        command = how.command(cell.model, cell.what, cell.perception)
        if cell.part != CAMERAS:
            return run_alone([*command, *_since()], self._signals)
        results = run_together([command] * cell.cameras, self._signals)
        refused = [result for result in results if "refused" in result]
        if refused:
            return refused[0]
        return {
            "rate_hz": sum(result["rate_hz"] for result in results),
            "p50_ms": float(np.median([result["p50_ms"] for result in results])),
            "memory_mb": sum(result["memory_mb"] for result in results),
        }

    def _machine(self, cell: Cell) -> Result:
        if cell.what == "probe":
            result = run_alone(cell.how(self._seconds).command(cell.model, "network"), self._signals)
            if "refused" not in result:
                result["operations_s"] = self._probes[cell.model] / result["p10_ms"] * 1e3
            return result
        command = [sys.executable, str(HERE / "unit.py"), cell.what, "--device", cell.config.device]
        command += ["--precision", cell.config.precision, "--threads", str(cell.threads)]
        pools = dict.fromkeys(POOLS, str(cell.threads))
        return run_alone([*command, "--seconds", str(self._seconds)], self._signals, {**os.environ, **pools})

    def _node(self, cell: Cell) -> Result:
        """The node, for one pair of cameras beside the bare loops; what its processes print goes to a file."""
        how = cell.how(max(self._seconds, NODE_SECONDS))
        stills = self._folder / f"stills_{cell.size}"
        if not stills.exists():
            with tempfile.TemporaryDirectory(dir=self._folder) as partial:
                make_stills(Path(partial) / "stills", cell.size).rename(stills)
        rate = measure(how, cell.model, "pairs", self._signals, cell.perception)["rate_hz"]
        folder = Path(tempfile.mkdtemp(prefix="node_", dir=self._folder))
        log = (folder / "progress.log").open("w", encoding="utf-8")
        with log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            if cell.part != CAMERAS:
                result = node_round(how, cell.model, cell.perception, stills, OFFERED * rate, folder, self._signals)
            else:
                sent, paths = OFFERED * rate / cell.cameras, new_paths(folder)
                outcome = node_run(how, cell.model, cell.perception, stills, sent, paths, self._signals, cell.cameras)
                result = {"rate_hz": fused_rate(paths), "memory_mb": outcome.memory_mb["fusion_node"]}
        return {"alone_hz": rate, **result}


class Others:
    """Processor time that others use from now on: of the whole machine, less this process's and its children's."""

    def __init__(self) -> None:
        self._begin = self._now()

    def cores(self) -> float | None:
        """Cores that others have kept busy, on average; None where the system does not tell."""
        (wall, busy, own), (wall_now, busy_now, own_now) = self._begin, self._now()
        if busy is None or busy_now is None:
            return None
        return round(max(0.0, busy_now - busy - (own_now - own)) / max(wall_now - wall, 1e-3), 2)

    @staticmethod
    def _now() -> tuple[float, float | None, float]:
        own = sum(
            usage.ru_utime + usage.ru_stime
            for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        )
        try:
            fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
        except OSError:
            return time.monotonic(), None, own
        user, nice, system, _idle, _waiting, irq, softirq, *_ = map(int, fields)
        return time.monotonic(), (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK"), own


def _since() -> list[str]:
    return ["--since", str(time.monotonic_ns())]
