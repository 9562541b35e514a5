"""One run of the demo: starts the three nodes, watches them by the files they write, and stops them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from sage_fusion_ros.cli.demo_nodes import (
    RunPaths,
    RunPlan,
    child_environment,
    fusion_command,
    recorder_command,
    replay_command,
)
from sage_fusion_ros.cli.processes import POLL_S, Child, Children, Signals
from sage_fusion_ros.cli.progress import progress_bar
from sage_fusion_ros.cli.watch import Watch
from sage_fusion_ros.errors import SageFusionError
from sage_fusion_ros.evaluation.machine import peak_memory_mb

STALL_S = 30.0
"""Longest time the replay may be silent before the run is given up."""
DRAIN_S = 5.0
QUIET_S = 0.5
END_S = 3.0
"""Time the replay gets to end by itself once its source has."""


@dataclass
class Outcome:
    """How a run went.

    Attributes:
        settings: What the nodes were started with, for the report.
        problems: What was wrong at the end, in words.
        replayed: False where a signal came before the replay began.
        sent_hz: Pairs a second that the replay really sent; None for a run too short to tell.
        cores: Processor cores each process kept busy while pairs flowed, by its name.
        active_s: Seconds from the start of fusion_node until it was active, its models warm.
        memory_mb: The most main memory each process had, by its name.
    """

    settings: dict[str, Any]
    problems: list[str] = field(default_factory=list)
    replayed: bool = False
    sent_hz: float | None = None
    cores: dict[str, float] = field(default_factory=dict)
    active_s: float = 0.0
    memory_mb: dict[str, float] = field(default_factory=dict)


def perform(plan: RunPlan, paths: RunPaths, signals: Signals) -> Outcome:
    """Runs the plan; every process it started has ended when it returns or raises.

    Raises:
        SageFusionError: A process died or nothing moved; its last lines are in the message.
    """
    environment = child_environment(paths)
    outcome = Outcome(plan.settings())
    watch = Watch(paths.recording, paths.replay_log)
    with Children(paths.logs, environment, signals) as children:
        recorder = children.start("recorder_node", recorder_command(plan, paths))
        fusion = children.start("fusion_node", fusion_command(plan))
        print("starting fusion_node ...", flush=True)
        started = time.monotonic()
        wait_until_ready(watch, children, fusion, plan.startup_s, signals)
        outcome.active_s = time.monotonic() - started
        if not signals.received:
            replay = children.start("replay_node", replay_command(plan, paths), may_end=True)
            outcome.cores = _follow(watch, children, replay, plan, signals)
            _drain(watch, children, signals)
            outcome.replayed = watch.sent > 0
            outcome.sent_hz = watch.sent_hz()
            outcome.memory_mb = {child.name: peak_memory_mb(child.pid) for child in children.all}
            children.wait([replay], END_S)
            children.stop([replay])
        children.stop([fusion, recorder])
        outcome.problems += [problem for child in children.all if (problem := _ended_badly(child))]
    return outcome


def _ended_badly(child: Child) -> str | None:
    if child.exit_code == 0:
        return None
    how = f" after {child.ended_by}" if child.ended_by else ""
    return f"{child.name} ended with code {child.exit_code}{how}; its last lines in {child.log}:\n{child.tail()}"


def wait_until_ready(watch: Watch, children: Children, fusion: Child, limit_s: float, signals: Signals) -> None:
    """Waits until fusion_node is active and the recorder hears it, or a signal has come.

    Raises:
        SageFusionError: A process died, the node can't be configured, or it was not active in time.
    """
    end = time.monotonic() + limit_s
    while not watch.ready and not signals.received:
        watch.update()
        raise_if_dead(children)
        if watch.problem:
            raise SageFusionError(f"fusion_node could not be configured: {watch.problem} (its log: {fusion.log})")
        if time.monotonic() > end:
            raise SageFusionError(
                f"fusion_node was not active after {limit_s:g} s (its state: {watch.state}); a slow "
                f"first engine build may need a longer --startup-timeout. Its last lines:\n{fusion.tail()}"
            )
        time.sleep(POLL_S)


def _follow(watch: Watch, children: Children, replay: Child, plan: RunPlan, signals: Signals) -> dict[str, float]:
    """Shows the progress until the replay has sent everything; returns the cores kept busy since the first pair."""
    watch.sent_at = time.monotonic()
    begin: tuple[float, dict[str, float]] | None = None
    with progress_bar(total=plan.pairs, desc="pairs fused", unit="pair") as bar:
        while not signals.received and not watch.replay_finished:
            ended = replay.exit_code is not None
            watch.update()
            if begin is None and watch.sent:
                begin = time.monotonic(), {child.name: child.cpu_seconds() for child in children.all}
            bar.update(watch.fused - bar.n)
            raise_if_dead(children)
            if ended and not watch.replay_finished:
                raise SageFusionError(f"replay_node ended before its source did. Its last lines:\n{replay.tail()}")
            if time.monotonic() - watch.sent_at > STALL_S + 1 / plan.rate_hz:
                raise SageFusionError(
                    f"replay_node sent nothing for {STALL_S:g} s; {watch.sent} of {plan.pairs} pairs were sent. "
                    f"Its last lines:\n{replay.tail()}"
                )
            time.sleep(POLL_S)
        bar.update(watch.fused - bar.n)
    if begin is None:
        return {}
    elapsed = time.monotonic() - begin[0]
    return {child.name: round((child.cpu_seconds() - begin[1][child.name]) / elapsed, 2) for child in children.all}


def _drain(watch: Watch, children: Children, signals: Signals) -> None:
    """Waits until the last pairs have come through and the counts of the diagnostics include them."""
    end = time.monotonic() + DRAIN_S
    while time.monotonic() < end and not signals.received:
        watch.update()
        raise_if_dead(children)
        if time.monotonic() - watch.fused_at > QUIET_S and watch.diagnosed_at > max(watch.fused_at, watch.sent_at):
            return
        time.sleep(POLL_S)


def raise_if_dead(children: Children) -> None:
    """Raises SageFusionError, with its last lines, where a child has ended that should not have."""
    child = children.dead()
    if child:
        raise SageFusionError(f"{child.name} ended with code {child.exit_code}. Its last lines:\n{child.tail()}")
