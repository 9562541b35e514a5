"""sage-fusion bench: times models against each other, or the node against a bare loop, side by side in one run.

`make bench` measures all of it, over engines, precisions and sizes, and writes a report.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sage_fusion_ros.cli.bench_runs import (
    OFFERED,
    How,
    fused_rate,
    make_stills,
    measure,
    new_paths,
    node_run,
)
from sage_fusion_ros.cli.processes import Signals
from sage_fusion_ros.cli.turns import node_round
from sage_fusion_ros.engines.options import DEVICES, ENGINES, PRECISIONS
from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.evaluation.machine import processor_name

WHAT = "the networks alone; the whole node; or the node with mask and boxes against a model in a bare loop"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declares the arguments of `sage-fusion bench`."""
    parser = subparsers.add_parser("bench", help="time models, or the node against a bare loop", description=__doc__)
    parser.add_argument("what", choices=("models", "node", "outputs"), help=WHAT)
    parser.add_argument("--models", nargs="+", default=["sage", "sage_fast"], help="the first one is the reference")
    parser.add_argument("--perception", default="perception", help="outputs: the model that looks at the fused image")
    parser.add_argument("--size", default="640x480", metavar="WxH")
    parser.add_argument("--engine", choices=ENGINES, default="onnxruntime", help="library that runs the networks")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="as the node's engine.precision")
    parser.add_argument("--device", choices=DEVICES, default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads inside an operator")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="the measurements alternate for so many rounds")
    parser.add_argument(
        "--rate",
        type=float,
        metavar="HZ",
        help=f"node: pairs a second that are sent (default: {OFFERED} times what the bare loop makes)",
    )
    parser.add_argument("--workers", type=int, default=1, help="outputs: as the node's rate.workers")
    parser.add_argument("--spinning", action="store_true", help="models: idle threads spin")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write all figures as JSON")
    return parser


def run(args: argparse.Namespace) -> int:
    """Measures, prints a table and writes the figures."""
    if args.rounds < 1 or args.seconds <= 0 or (args.rate is not None and args.rate <= 0):
        raise ParameterError("--rounds, --seconds and --rate need numbers above 0")
    how = How(
        args.size,
        args.threads,
        args.seconds,
        args.engine,
        args.precision,
        args.device,
        spinning=args.spinning,
        workers=args.workers,
    )
    with tempfile.TemporaryDirectory() as folder, Signals() as signals:
        bench = {"models": bench_models, "node": bench_node, "outputs": bench_outputs}[args.what]
        rows = bench(args, how, Path(folder), signals)
    print(f"{how.size}, {how.threads} threads, {how.engine} {how.precision}, {processor_name()}")
    report = {"processor": processor_name(), "arguments": {k: str(v) for k, v in vars(args).items()}, "rows": rows}
    if args.output:
        args.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def bench_models(args: argparse.Namespace, how: How, folder: Path, signals: Signals) -> list[dict[str, Any]]:
    """Times each network alone in a process of its own, in turn; ratios are of one round, so drift cancels."""
    rounds = [
        {model: measure(how, model, "network", signals)["p50_ms"] for model in args.models} for _ in range(args.rounds)
    ]
    rows = []
    for model in args.models:
        times = [r[model] for r in rounds]
        ratios = [r[args.models[0]] / r[model] for r in rounds]
        rows.append({"model": model, "p50_ms": times, "reference_over_model": ratios})
        print(
            f"{model:>16}  {np.median(times):8.2f} ms   {args.models[0]} takes {np.median(ratios):6.2f} times as long "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )
    return rows


def bench_node(args: argparse.Namespace, how: How, folder: Path, signals: Signals) -> list[dict[str, Any]]:
    """For each model in turn, node_round; the replay sends more pairs than the bare loop makes alone."""
    rows = []
    stills = make_stills(folder / "stills", how.size)
    for model in args.models:
        rate = args.rate or OFFERED * measure(how, model, "pairs", signals)["rate_hz"]
        rounds = [
            node_round(how, model, "", stills, rate, folder / f"{model}-{i}", signals) for i in range(args.rounds)
        ]
        keys = ("bare_hz", "node_hz", "workers_bare_hz", "workers_hz", "both_bare_hz", "both_hz")
        columns = {key: [r[key] for r in rounds] for key in keys}
        rows.append({"model": model, "sent_hz": rate, **columns})
        node, several = (np.median(columns[key]) for key in ("node_hz", "workers_hz"))
        print(f"{model}: {rate:.0f} pairs a second sent; the node fuses {node:.1f}, with rate.workers {several:.1f}")
        for what, key, rates in (
            ("as they are", "bare_hz", "node_hz"),
            ("node with workers", "workers_bare_hz", "workers_hz"),
            ("both with workers", "both_bare_hz", "both_hz"),
        ):
            ratios = [n / b for n, b in zip(columns[rates], columns[key], strict=True)]
            print(
                f"    {what:>17}: bare loop {np.median(columns[key]):6.1f} Hz, node/bare {np.median(ratios):.3f} "
                f"({min(ratios):.3f} to {max(ratios):.3f})"
            )
    return rows


def bench_outputs(args: argparse.Namespace, how: How, folder: Path, signals: Signals) -> list[dict[str, Any]]:
    """The first model alone in a bare loop against the node that makes all three outputs with each of the others.

    Everything of a round is measured in turn: the networks alone, the bare loop with all three outputs, and the node
    with the replay and the recorder beside it on the same cores. The replay sends more pairs than that bare loop
    makes.
    """
    reference, *others = args.models
    rows = []
    stills = make_stills(folder / "stills", how.size)
    for model in others:
        rounds = []
        for i in range(args.rounds):
            names = (reference, model, args.perception)
            alone = {name: measure(how, name, "network", signals)["p50_ms"] for name in names}
            bare = measure(how, model, "pairs", signals, args.perception)["rate_hz"]
            paths = new_paths(folder / f"{model}-{i}")
            node_run(how, model, args.perception, stills, args.rate or OFFERED * bare, paths, signals)
            rounds.append({"network_ms": alone, "bare_hz": bare, "node_hz": fused_rate(paths)})
        rows.append({"model": model, "reference": reference, "rounds": rounds})
        _print_outputs(model, reference, args.perception, rounds)
    return rows


def _print_outputs(model: str, reference: str, perception: str, rounds: Sequence[dict[str, Any]]) -> None:
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
