"""sage-fusion bench: times models against each other, or the node against a bare loop, side by side in one run."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sage_fusion_ros.cli.demo_nodes import RunPaths, RunPlan, child_environment, fusion_command, replay_command
from sage_fusion_ros.cli.demo_run import perform
from sage_fusion_ros.cli.processes import Children, Signals
from sage_fusion_ros.errors import ParameterError, SageFusionError
from sage_fusion_ros.evaluation.machine import processor_name
from sage_fusion_ros.evaluation.recording import read_recording
from sage_fusion_ros.sources.open import open_source

WHAT = "the networks alone; the whole node; or the node with mask and boxes against a model in a bare loop"
STILLS = 8
SETTLE_S = 3.0


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declares the arguments of `sage-fusion bench`."""
    parser = subparsers.add_parser("bench", help="time models, or the node against a bare loop", description=__doc__)
    parser.add_argument("what", choices=("models", "node", "outputs"), help=WHAT)
    parser.add_argument("--models", nargs="+", default=["sage", "sage_fast"], help="the first one is the reference")
    parser.add_argument("--perception", default="perception", help="outputs: the model that looks at the fused image")
    parser.add_argument("--size", default="640x480", metavar="WxH")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads inside an operator")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="the measurements alternate for so many rounds")
    parser.add_argument(
        "--rate",
        type=float,
        metavar="HZ",
        help="node: pairs a second that are sent (default: what the bare loop makes)",
    )
    parser.add_argument("--spinning", action="store_true", help="models: idle threads spin")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write all figures as JSON")
    return parser


def run(args: argparse.Namespace) -> int:
    """Measures, prints a table and writes the figures."""
    if args.rounds < 1 or args.seconds <= 0 or (args.rate is not None and args.rate <= 0):
        raise ParameterError("--rounds, --seconds and --rate need numbers above 0")
    rows = {"models": bench_models, "node": bench_node, "outputs": bench_outputs}[args.what](args)
    report = {"processor": processor_name(), "arguments": {k: str(v) for k, v in vars(args).items()}, "rows": rows}
    if args.output:
        args.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def bench_models(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Times each network alone in a process of its own, in turn; ratios are of one round, so drift cancels."""
    rounds = [{model: measure(args, model, "network")["p50_ms"] for model in args.models} for _ in range(args.rounds)]
    rows = []
    for model in args.models:
        times = [r[model] for r in rounds]
        ratios = [r[args.models[0]] / r[model] for r in rounds]
        rows.append({"model": model, "p50_ms": times, "reference_over_model": ratios})
        print(
            f"{model:>16}  {np.median(times):8.2f} ms   {args.models[0]} takes {np.median(ratios):6.2f} times as long "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )
    print(f"{args.size}, {args.threads} threads, {processor_name()}")
    return rows


def bench_node(args: argparse.Namespace) -> list[dict[str, Any]]:
    """For each model in turn: the bare loop beside a replay that nobody reads, beside one that is read, and the node.

    The replay sends as many pairs as the bare loop makes alone, so that none waits for images or drowns in them. The
    reader is a second fusion_node whose output nobody wants: it receives and pairs all images, and fuses none. So the
    first ratio holds everything against the node, the second only what it does beyond receiving.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder, Signals() as signals:
        stills = make_stills(Path(folder) / "stills", args.size)
        for model in args.models:
            bare, beside_reader, node = [], [], []
            rate = args.rate or measure(args, model, "pairs")["rate_hz"]
            for i in range(args.rounds):
                paths = _paths(Path(folder) / f"{model}-{i}")
                plan = _plan(args, model, stills, rate)
                with Children(paths.logs, child_environment(paths), signals) as children:
                    children.start("replay_node", replay_command(plan, paths))
                    bare.append(measure(args, model, "pairs")["rate_hz"])
                with Children(paths.logs, child_environment(paths), signals) as children:
                    children.start("reader", fusion_command(plan))
                    children.start("replay_node", replay_command(plan, paths))
                    beside_reader.append(measure(args, model, "pairs")["rate_hz"])
                perform(plan, paths, signals)
                node.append(fused_rate(paths))
                if signals.received:
                    raise KeyboardInterrupt
            rows.append(
                {
                    "model": model,
                    "sent_hz": rate,
                    "bare_hz": bare,
                    "bare_beside_reader_hz": beside_reader,
                    "node_hz": node,
                }
            )
            print(f"{model}: {rate:.0f} pairs a second sent; the node fuses {np.median(node):.1f}")
            for what, loops in (("replay unread", bare), ("replay read", beside_reader)):
                ratios = [n / b for n, b in zip(node, loops, strict=True)]
                print(
                    f"    bare loop, {what:>13}: {np.median(loops):6.1f} Hz, node/bare {np.median(ratios):.3f} "
                    f"({min(ratios):.3f} to {max(ratios):.3f})"
                )
    print(f"{args.size}, {args.threads} threads, {processor_name()}")
    return rows


def bench_outputs(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The first model alone in a bare loop against the node that makes all three outputs with each of the others.

    Everything of a round is measured in turn: the networks alone, the bare loop with all three outputs, and the node
    with the replay and the recorder beside it on the same cores. The replay sends as many pairs as that bare loop
    makes.
    """
    reference, *others = args.models
    rows = []
    with tempfile.TemporaryDirectory() as folder, Signals() as signals:
        stills = make_stills(Path(folder) / "stills", args.size)
        for model in others:
            rounds = []
            for i in range(args.rounds):
                alone = {name: measure(args, name, "network")["p50_ms"] for name in (reference, model, args.perception)}
                bare = measure(args, model, "pairs", args.perception)["rate_hz"]
                paths = _paths(Path(folder) / f"{model}-{i}")
                perform(_plan(args, model, stills, args.rate or bare, args.perception), paths, signals)
                node = fused_rate(paths)
                if signals.received:
                    raise KeyboardInterrupt
                rounds.append({"network_ms": alone, "bare_hz": bare, "node_hz": node})
            rows.append({"model": model, "reference": reference, "rounds": rounds})
            _print_outputs(model, reference, args.perception, rounds)
    print(f"{args.size}, {args.threads} threads, {processor_name()}")
    return rows


def _print_outputs(model: str, reference: str, perception: str, rounds: list[dict[str, Any]]) -> None:
    def line(what: str, values: list[float], unit: str) -> None:
        print(f"    {what}: {np.median(values):.2f}{unit} ({min(values):.2f} to {max(values):.2f})")

    print(f"{model} with {perception}, all three outputs, against {reference} alone:")
    for name in (reference, model, perception):
        line(f"network {name}", [r["network_ms"][name] for r in rounds], " ms")
    line("bare loop, all three outputs", [r["bare_hz"] for r in rounds], " pairs a second")
    line("node, all three outputs", [r["node_hz"] for r in rounds], " pairs a second")
    line(
        f"{reference} over {perception}", [r["network_ms"][reference] / r["network_ms"][perception] for r in rounds], ""
    )
    line(f"node's rate over {reference}'s", [r["node_hz"] * r["network_ms"][reference] / 1e3 for r in rounds], "")


def measure(args: argparse.Namespace, model: str, what: str, perception: str = "") -> dict[str, Any]:
    """One measurement in a fresh process."""
    command = [sys.executable, "-m", "sage_fusion_ros.evaluation.bare_loop", "--model", model, "--what", what]
    command += ["--size", args.size, "--threads", str(args.threads), "--seconds", str(args.seconds)]
    command += ["--spinning"] if args.spinning else []
    command += ["--perception", perception] if perception else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SageFusionError(f"measuring {model} failed: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


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


def _plan(args: argparse.Namespace, model: str, stills: Path, rate: float, perception: str = "") -> RunPlan:
    seconds = args.seconds + SETTLE_S
    replay = {"source": str(stills), "rate": rate, "loop": True, "duration": seconds, "wait_for_subscribers": 0}
    fusion = {
        "fusion.model": model,
        "perception.model": perception,
        "engine.threads": args.threads,
        "engine.device": "cpu",
    }
    pairs = round(seconds * rate)
    return RunPlan(
        replay,
        fusion,
        [],
        pairs,
        rate_hz=rate,
        startup_s=60.0,
        debug=False,
        images=0,
        perception=bool(perception),
        masks=0,
    )


def _paths(folder: Path) -> RunPaths:
    paths = RunPaths(folder)
    paths.logs.mkdir(parents=True)
    paths.images.mkdir()
    return paths
