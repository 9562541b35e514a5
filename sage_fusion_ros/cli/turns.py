"""The node and a bare loop in turns of less than a second, the same replay beside both.

On a machine that others share, a processor's speed changes by half from one minute to the next. So the two are not
measured one after the other: both are started and warm, and while one has its turn the other is stopped (SIGSTOP). A
replay and a recorder run beside both all the time.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from sage_fusion_ros.cli.bench_runs import LIMIT_S, How, Result, new_paths, plan_of
from sage_fusion_ros.cli.demo_nodes import RunPaths, child_environment, fusion_command, recorder_command, replay_command
from sage_fusion_ros.cli.demo_run import raise_if_dead, wait_until_ready
from sage_fusion_ros.cli.processes import POLL_S, Child, Children, Signals
from sage_fusion_ros.cli.watch import Watch
from sage_fusion_ros.errors import SageFusionError
from sage_fusion_ros.evaluation.machine import peak_memory_mb
from sage_fusion_ros.evaluation.recording import read_recording

TURN_S = 0.8
"""Fast DDS gives up a reader's shared memory that nobody has looked into for a second: a node that was stopped for
twice this time heard nothing more, in one of some twenty runs."""
CATCH_UP_S = 0.25
"""Begins each turn and does not count: the node takes the images that came while it was stopped."""
FLOW_S = 3.0
"""Time from the first image sent to the first turn, for discovery and for what the node learns of its cameras."""
LEAST_TURNS = 4

Window = tuple[int, int]


@dataclass(frozen=True)
class Rates:
    """Pairs a second of both, in turns.

    Attributes:
        loop_hz: The bare loop's.
        node_hz: The node's.
        active_s: Seconds from the node's start until it was active.
        memory_mb: The most main memory the node had.
    """

    loop_hz: float
    node_hz: float
    active_s: float
    memory_mb: float


def node_round(
    how: How, model: str, perception: str, stills: Path, rate_hz: float, folder: Path, signals: Signals
) -> Result:
    """The node against the bare loop; with workers against that loop; and with workers in both.

    With workers: as many as there are threads, of one thread each.

    Args:
        how: How to run the networks; each of the two gets how.seconds in each comparison.
        model: The fusion model.
        perception: The perception model; empty: the fused image alone.
        stills: What is sent, as make_stills makes it.
        rate_hz: Pairs a second that are sent.
        folder: Where the logs go; new.
        signals: Looked at between them.

    Raises:
        SageFusionError: A process died, or one of the two made too little to tell.
        KeyboardInterrupt: A signal came.
    """
    several = replace(how, workers=how.threads, threads=1)

    def compare(name: str, loop: How, node: How) -> Rates:
        return in_turns(loop, node, model, perception, stills, rate_hz, new_paths(folder / name), signals)

    plain = compare("node", how, how)
    workers = compare("workers", how, several)
    both = compare("both", several, several)
    return {
        "sent_hz": rate_hz,
        "bare_hz": plain.loop_hz,
        "node_hz": plain.node_hz,
        "workers_bare_hz": workers.loop_hz,
        "workers_hz": workers.node_hz,
        "both_bare_hz": both.loop_hz,
        "both_hz": both.node_hz,
        "active_s": plain.active_s,
        "memory_mb": plain.memory_mb,
    }


def in_turns(
    loop: How,
    node: How,
    model: str,
    perception: str,
    stills: Path,
    rate_hz: float,
    paths: RunPaths,
    signals: Signals,
) -> Rates:
    """Runs both, one of them at a time; otherwise as node_round."""
    plan = plan_of(node, model, perception, stills, rate_hz)
    plan = replace(plan, replay={**plan.replay, "duration": LIMIT_S, "wait_for_subscribers": 1})
    done = paths.logs / "bare_loop.times"
    command = [*replace(loop, seconds=LIMIT_S).command(model, "pairs", perception), "--log", str(done)]
    watch = Watch(paths.recording, paths.replay_log)
    windows: dict[str, list[Window]] = {"loop": [], "node": []}
    with Children(paths.logs, child_environment(paths), signals) as children:
        children.start("recorder_node", recorder_command(plan, paths))
        fusion = children.start("fusion_node", fusion_command(plan))
        started = time.monotonic()
        wait_until_ready(watch, children, fusion, plan.startup_s, signals)
        active_s = time.monotonic() - started
        bare = children.start("bare_loop", command)
        both = {"loop": bare, "node": fusion}
        try:
            _wait(lambda: done.exists() and done.stat().st_size > 0, children, signals)
            _turn(both, "node")
            children.start("replay_node", replay_command(plan, paths))
            _wait(lambda: _has_fused(watch), children, signals)
            time.sleep(FLOW_S)
            for _ in range(max(LEAST_TURNS, round(node.seconds / (TURN_S - CATCH_UP_S)))):
                for name in windows:
                    windows[name].append(_turn(both, name))
                raise_if_dead(children)
                if signals.received:
                    raise KeyboardInterrupt
            memory_mb = peak_memory_mb(fusion.pid)
        finally:
            for child in both.values():
                child.send(signal.SIGCONT)  # stopped, it would not hear that it is to end
    times = {
        "loop": [int(line) for line in done.read_text(encoding="ascii").split("\n")[:-1]],
        "node": [fused.arrival_ns for fused in read_recording(paths.recording).fused],
    }
    rates = {name: rate_in(windows[name], times[name]) for name in windows}
    for name, ended in times.items():
        if not rate_in(windows[name][-LEAST_TURNS:], ended):
            raise SageFusionError(f"the {name} made no pair in its last turns, after {len(ended)}; see {paths.logs}")
    return Rates(rates["loop"], rates["node"], active_s, memory_mb)


def rate_in(windows: list[Window], times_ns: list[int]) -> float:
    """Events a second within some windows of time (begin and end in nanoseconds)."""
    found = sum(begin <= time_ns < end for begin, end in windows for time_ns in times_ns)
    return found * 1e9 / sum(end - begin for begin, end in windows)


def _turn(children: dict[str, Child], name: str) -> Window:
    """Lets one of the two run and stops the other; when its turn counted, by the clock that events are written by."""
    for other, child in children.items():
        if other != name:
            child.send(signal.SIGSTOP)
    children[name].send(signal.SIGCONT)
    time.sleep(CATCH_UP_S)
    begin = time.time_ns()
    time.sleep(TURN_S - CATCH_UP_S)
    return begin, time.time_ns()


def _has_fused(watch: Watch) -> bool:
    watch.update()
    return watch.fused > 0


def _wait(condition: Callable[[], bool], children: Children, signals: Signals) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        raise_if_dead(children)
        if signals.received:
            raise KeyboardInterrupt
        if time.monotonic() > end:
            raise SageFusionError("the bare loop or the node made no pair")
        time.sleep(POLL_S)
