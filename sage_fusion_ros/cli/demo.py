"""sage-fusion demo: replay_node, fusion_node and a recorder as processes of their own, then a report to look at."""

from __future__ import annotations

import argparse
import importlib.util
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from sage_fusion_ros.cli.demo_nodes import RunPaths, RunPlan
from sage_fusion_ros.cli.demo_report import MONO8_RANGE, report_run, wanted_outputs
from sage_fusion_ros.cli.demo_run import perform
from sage_fusion_ros.cli.processes import Signals
from sage_fusion_ros.errors import ParameterError, SageFusionError
from sage_fusion_ros.evaluation.run_report import is_late
from sage_fusion_ros.sources.base import PairSource
from sage_fusion_ros.sources.open import open_source
from sage_fusion_ros.sources.schedule import STILLS_RATE_HZ, Schedule, ScheduleSettings

SUCCESS, FAILED = 0, 1
SYNTHETIC_S = 15.0
MARK = ".sage_fusion_run"
"""Marks an output folder as one of ours, whose earlier contents may go."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declares the arguments of `sage-fusion demo`."""
    parser = subparsers.add_parser(
        "demo",
        help="replay a source through fusion_node and write a report",
        description="Starts replay_node, fusion_node and a recorder over ROS 2, stops them when the source ends, and "
        "leaves fused images, masks, report.json and index.html. Exit code 0: pairs were fused and every process ended "
        "cleanly (and the check held, with --check).",
    )
    what = parser.add_argument_group("source")
    what.add_argument("--source", default="synthetic", help="synthetic, or a path: folder, video pair or bag")
    what.add_argument("--seed", type=int, default=0, help="seed of the synthetic scene")
    what.add_argument("--duration", type=float, metavar="S", help="seconds to play (default: all; synthetic: 15)")
    speed = what.add_mutually_exclusive_group()
    speed.add_argument("--rate", type=float, metavar="HZ", help="pairs per second (default: the source's; stills: 10)")
    speed.add_argument("--speed", type=float, metavar="FACTOR", help="times the source's own rate")
    what.add_argument("--loop", action="store_true", help="begin again at the end, until --duration")
    what.add_argument("--thermal-encoding", choices=("mono8", "mono16"), help="(default: as the source has it)")
    what.add_argument(
        "--thermal-offset-ms", type=float, default=0.0, metavar="MS", help="let thermal stamps lag by this"
    )
    node = parser.add_argument_group("fusion_node")
    node.add_argument("--model", help="name or folder of a fusion model (default: the node's)")
    node.add_argument(
        "--perception-model",
        metavar="MODEL",
        help="name or folder of one for mask and boxes; '' for none (default: the node's)",
    )
    node.add_argument("--device", choices=("auto", "cuda", "tensorrt", "cpu"), help="(default: the node's)")
    node.add_argument("--compensate-ms", type=float, default=0.0, metavar="MS", help="pairing.thermal_offset_ms")
    node.add_argument("--max-dt-ms", type=float, metavar="MS", help="pairing.max_dt_ms (default: the node's)")
    node.add_argument(
        "--set", action="append", default=[], metavar="NAME:=VALUE", help="any other parameter of fusion_node"
    )
    out = parser.add_argument_group("outcome")
    out.add_argument("--output", type=Path, default=Path("demo_output"), metavar="DIR")
    out.add_argument("--startup-timeout", type=float, default=180.0, metavar="S", help="for fusion_node to be active")
    out.add_argument(
        "--check",
        action="store_true",
        help="fail unless the pairs hold against the source's indexes, each with its mask and detections",
    )
    out.add_argument("--min-share", type=float, default=0.99, help="--check: least share of pairs back (default 0.99)")
    out.add_argument("--max-mixed", type=int, default=0, help="--check: most mixed pairs (default 0)")
    return parser


def run(args: argparse.Namespace) -> int:
    """Runs the demo; returns the exit code."""
    _need_packages()
    source = open_for(args)
    try:
        plan = make_plan(args, source)
        paths = prepare_output(args.output)
        with Signals() as signals:
            outcome = perform(plan, paths, signals)
            if signals.received and not outcome.replayed:
                return 128 + signals.received
            checks = report_run(args, plan, paths, source, outcome)
    finally:
        source.close()
    problems = list(outcome.problems)
    if checks.pairs.matched == 0:
        problems.append("no pair came back fused with equal source index")
    if args.check:
        problems += checks.pairs.failures(args.min_share, args.max_mixed) + checks.outputs
        if outcome.sent_hz is not None and is_late(outcome.sent_hz, plan.rate_hz):
            problems.append(f"the source went out at {outcome.sent_hz:.1f} Hz; {plan.rate_hz:g} Hz was asked for")
    for problem in problems:
        print(f"failed: {problem}")
    if signals.received:
        return 128 + signals.received
    return FAILED if problems else SUCCESS


def make_plan(args: argparse.Namespace, source: PairSource) -> RunPlan:
    """What to start, from the arguments and the source.

    Raises:
        ParameterError: An argument is out of range.
    """
    for name in ("rate", "speed", "duration"):
        value = getattr(args, name)
        if value is not None and value <= 0:
            raise ParameterError(f"--{name} is {value}; expected a number above 0")
    if args.loop and args.duration is None:
        raise ParameterError("--loop has no end by itself; give --duration too")
    duration = args.duration or (SYNTHETIC_S if source.kind == "synthetic" else 0.0)
    rate = args.rate or (source.frame_rate or STILLS_RATE_HZ) * (args.speed or 1.0)
    settings = ScheduleSettings(rate, 0.0, duration, args.loop, thermal_offset_ms=args.thermal_offset_ms)
    pairs = Schedule(source, settings).pairs or 0
    replay = {
        "source": args.source,
        "seed": args.seed,
        "rate": float(rate),
        "loop": args.loop,
        "duration": float(duration),
        "thermal.offset_ms": args.thermal_offset_ms,
        "wait_for_subscribers": 1,
    }
    if args.thermal_encoding is not None:
        replay["thermal.encoding"] = args.thermal_encoding
        replay["thermal.low"], replay["thermal.high"] = MONO8_RANGE
    fusion: dict[str, Any] = {"pairing.thermal_offset_ms": args.compensate_ms}
    optional = (
        ("pairing.max_dt_ms", args.max_dt_ms),
        ("fusion.model", args.model),
        ("perception.model", args.perception_model),
        ("engine.device", args.device),
    )
    fusion.update((name, value) for name, value in optional if value is not None)
    for text in args.set:
        name, separator, value = text.partition(":=")
        if not (separator and name and value):
            raise ParameterError(f"--set {text}: expected NAME:=VALUE, such as engine.threads:=1")
    plan = RunPlan(
        replay=replay,
        fusion=fusion,
        fusion_extra=args.set,
        pairs=pairs,
        rate_hz=rate,
        startup_s=args.startup_timeout,
    )
    return replace(plan, perception=bool(wanted_outputs(plan.settings())))


def prepare_output(folder: Path) -> RunPaths:
    """Makes the output folder, without what an earlier run left in it.

    Raises:
        ParameterError: It is a file, or holds anything but an earlier run.
    """
    if folder.exists() and not folder.is_dir():
        raise ParameterError(f"--output {folder} is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise ParameterError(f"--output {folder} holds other things; name a new or empty folder")
    paths = RunPaths(folder)
    try:
        for left in (paths.images, paths.masks, paths.logs):
            shutil.rmtree(left, ignore_errors=True)
            left.mkdir(parents=True)
        for name in ("report.json", "index.html"):
            (folder / name).unlink(missing_ok=True)
        (folder / MARK).touch()
    except OSError as error:
        raise ParameterError(f"--output {folder} can't be written to: {error.strerror}") from error
    return paths


def open_for(args: argparse.Namespace) -> PairSource:
    """Opens the source as the replay does, so that both read the same images under the same index.

    Raises:
        SourceError: It can't be replayed.
    """
    options = {}
    if args.source.partition(":")[0] == "synthetic" and not args.loop:
        from sage_fusion_ros.sources.synthetic import FRAME_RATE

        # The scene is as long as it is played; at another rate it takes more or fewer of its own seconds.
        speed = args.rate / FRAME_RATE if args.rate else args.speed or 1.0
        options["duration"] = (args.duration or SYNTHETIC_S) * speed
    return open_source(args.source, seed=args.seed, **options)


def _need_packages() -> None:
    """Raises SageFusionError where a package is missing that would only show after the run."""
    if importlib.util.find_spec("rclpy") is None:
        raise SageFusionError(
            "ROS 2 is not to be found: source the setup file of a ROS install, or install this package's extra 'ros'"
        )
    missing = [name for name in ("matplotlib", "jinja2") if importlib.util.find_spec(name) is None]
    if missing:
        raise SageFusionError(f"the report needs {' and '.join(missing)}: install this package's extra 'report'")
