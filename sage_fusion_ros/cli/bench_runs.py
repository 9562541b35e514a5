"""The measurements that `sage-fusion bench` and `make bench` consist of, each in processes of its own."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sage_fusion_ros.cli.demo_nodes import RunPaths, RunPlan
from sage_fusion_ros.cli.demo_run import Outcome, perform
from sage_fusion_ros.cli.processes import POLL_S, Child, Children, Signals
from sage_fusion_ros.errors import SageFusionError
from sage_fusion_ros.evaluation.recording import read_recording
from sage_fusion_ros.sources.open import open_source

STILLS = 8
SETTLE_S = 3.0
OFFERED = 1.25
"""Pairs sent to a node for each that a bare loop makes: with fewer the source, not the node, would be measured."""
MOST_HZ = 1000.0
"""replay_node's greatest rate."""
LIMIT_S = 900.0
"""A measurement that takes longer is given up; long enough for TensorRT to build an engine."""

Result = dict[str, Any]


@dataclass(frozen=True)
class How:
    """How networks are run and for how long they are measured.

    Attributes:
        size: Of the cameras' images, "WIDTHxHEIGHT".
        threads: CPU threads inside an operator.
        seconds: Length of a measurement.
        engine: As the node's engine.name.
        precision: As engine.precision.
        device: As engine.device.
        spinning: Idle threads spin.
        workers: As the node's rate.workers; a bare loop makes as many pairs side by side.
    """

    size: str = "640x480"
    threads: int = 2
    seconds: float = 6.0
    engine: str = "onnxruntime"
    precision: str = "fp32"
    device: str = "cpu"
    spinning: bool = False
    workers: int = 1

    def command(self, model: str, what: str, perception: str = "") -> list[str]:
        """The bare loop of a model: `what` is "network" or "pairs", for which a perception model may be named."""
        command = [sys.executable, "-m", "sage_fusion_ros.evaluation.bare_loop", "--model", model, "--what", what]
        command += ["--size", self.size, "--threads", str(self.threads), "--seconds", str(self.seconds)]
        command += ["--engine", self.engine, "--precision", self.precision, "--device", self.device]
        command += ["--workers", str(self.workers)] if what == "pairs" else []
        command += ["--spinning"] if self.spinning else []
        return command + (["--perception", perception] if perception else [])


def run_alone(
    command: Sequence[str], signals: Signals, environment: Mapping[str, str] | None = None, limit_s: float = LIMIT_S
) -> Result:
    """What a process that ends with one line of JSON says.

    Returns:
        That; of one that says nothing "refused", a word, and "reason", its last lines.

    Raises:
        KeyboardInterrupt: A signal came; the process has ended.
    """
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder)
        with Children(logs, os.environ if environment is None else environment, signals) as children:
            child = children.start("measurement", command, may_end=True)
            _wait([child], signals, limit_s)
            return _answer(child, limit_s)


def run_together(commands: Sequence[Sequence[str]], signals: Signals, limit_s: float = LIMIT_S) -> list[Result]:
    """What several bare loops say that begin at the same moment, each after it is warm; otherwise as run_alone."""
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder)
        with Children(logs, os.environ, signals) as children:
            started = [
                children.start(f"measurement_{i}", [*command, "--barrier", folder], may_end=True)
                for i, command in enumerate(commands)
            ]
            end = time.monotonic() + limit_s
            while len(list(logs.glob("ready-*"))) < len(started) and children.dead() is None:
                if signals.received:
                    raise KeyboardInterrupt
                if time.monotonic() > end:
                    break
                time.sleep(POLL_S)
            (logs / "go").touch()
            _wait(started, signals, limit_s)
            return [_answer(child, limit_s) for child in started]


def measure(how: How, model: str, what: str, signals: Signals, perception: str = "") -> Result:
    """One measurement in a fresh process.

    Raises:
        SageFusionError: It could not be made.
        KeyboardInterrupt: A signal came.
    """
    result = run_alone(how.command(model, what, perception), signals)
    if "refused" in result:
        raise SageFusionError(f"measuring {model} failed: {result['reason']}")
    return result


def node_run(
    how: How,
    model: str,
    perception: str,
    stills: Path,
    rate_hz: float,
    paths: RunPaths,
    signals: Signals,
    cameras: int = 1,
) -> Outcome:
    """The replay, the node and the recorder; errors as for node_round.

    Args:
        how: How to run the networks.
        model: The fusion model.
        perception: The perception model; empty: the fused image alone.
        stills: What is sent.
        rate_hz: Pairs a second that are sent, to each of the pairs of cameras.
        paths: Where the logs go.
        signals: Looked at while it runs.
        cameras: Pairs of cameras that the node serves.
    """
    plan = plan_of(how, model, perception, stills, rate_hz)
    # Without waiting, discovery among so many images takes seconds of those that are counted.
    plan = replace(plan, cameras=cameras, replay={**plan.replay, "wait_for_subscribers": cameras})
    outcome = perform(plan, paths, signals)
    if signals.received:
        raise KeyboardInterrupt
    return outcome


def make_stills(folder: Path, size: str) -> Path:
    """A few pairs of the synthetic scene as BMP, which costs the replay next to nothing to read."""
    width, height = (int(side) for side in size.split("x"))
    source = open_source("synthetic", size=(width, height))
    for camera in ("rgb", "thermal"):
        (folder / camera).mkdir(parents=True)
    for i in range(STILLS):
        pair = source.read(i)
        cv2.imwrite(str(folder / "rgb" / f"{i}.bmp"), cv2.cvtColor(pair.rgb, cv2.COLOR_RGB2BGR))
        thermal = np.clip((pair.thermal.astype(np.float32) - 26315) / 6000 * 255, 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / "thermal" / f"{i}.bmp"), thermal)
    source.close()
    return folder


def fused_rate(paths: RunPaths) -> float:
    """Fused images a second as the recorder saw them, the first seconds left out."""
    arrivals = [frame.arrival_ns for frame in read_recording(paths.recording).fused]
    steady = [t for t in arrivals if t - arrivals[0] > SETTLE_S * 1e9]
    if len(steady) < 2:
        raise SageFusionError(f"the node fused {len(arrivals)} pairs, too few to time; see {paths.logs}")
    return (len(steady) - 1) * 1e9 / (steady[-1] - steady[0])


def _wait(children: Sequence[Child], signals: Signals, limit_s: float) -> None:
    end = time.monotonic() + limit_s
    while any(child.exit_code is None for child in children) and time.monotonic() < end:
        if signals.received:
            raise KeyboardInterrupt
        time.sleep(POLL_S)


def _answer(child: Child, limit_s: float) -> Result:
    if child.exit_code is None:
        return {"refused": "time", "reason": f"had not ended after {limit_s:g} s; its last line: {child.tail(1)}"}
    for line in reversed(child.log.read_text(encoding="utf-8", errors="replace").splitlines()):
        if line.startswith("{"):
            try:
                return dict(json.loads(line))
            except ValueError:
                continue
    return {"refused": "crash", "reason": f"ended with code {child.exit_code}; its last line: {child.tail(1)}"}


def plan_of(how: How, model: str, perception: str, stills: Path, rate_hz: float) -> RunPlan:
    """A run of the node for so long, of which the first seconds are to be left out.

    Args:
        how: How the networks are run, and for how long.
        model: The fusion model.
        perception: The perception model; empty: the fused image alone.
        stills: What make_stills gave.
        rate_hz: Pairs a second, as far as the replay can send them.
    """
    rate_hz = min(rate_hz, MOST_HZ)
    seconds = how.seconds + SETTLE_S
    replay = {"source": str(stills), "rate": rate_hz, "loop": True, "duration": seconds, "wait_for_subscribers": 0}
    fusion = {
        "fusion.model": model,
        "perception.model": perception,
        "rate.workers": how.workers,
        "engine.name": how.engine,
        "engine.precision": how.precision,
        "engine.threads": how.threads,
        "engine.device": how.device,
    }
    return RunPlan(
        replay,
        fusion,
        [],
        round(seconds * rate_hz),
        rate_hz=rate_hz,
        startup_s=LIMIT_S if how.device == "tensorrt" else 60.0,
        debug=False,
        images=0,
        perception=bool(perception),
        masks=0,
        contents=False,
    )


def new_paths(folder: Path) -> RunPaths:
    """The folders of one run of the nodes, made anew."""
    paths = RunPaths(folder)
    paths.logs.mkdir(parents=True)
    paths.images.mkdir()
    return paths
