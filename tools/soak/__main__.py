"""Soaks fusion_node: hours at three times overload while cameras die, freeze and return.

    python tools/soak --minutes 60

Writes soak.json, soak.svg and soak.md; exit code 1 where a promise is broken, 2 where the run could not be made.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

import rclpy
from judge import Promise, judge
from plot import draw
from rclpy.signals import SignalHandlerOptions
from soak import Plan, Soak

from sage_fusion_ros.cli.demo_nodes import RunPaths, child_environment
from sage_fusion_ros.cli.processes import Children, Signals
from sage_fusion_ros.errors import SageFusionError


def main() -> int:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument(
        "--output", type=Path, default=Path("soak_output"), help="folder for the results; it is emptied"
    )
    parser.add_argument("--size", type=int, nargs=2, default=(480, 640), help="height and width of the images")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME:=VALUE", help="parameters of fusion_node")
    parser.add_argument("--measure", type=float, default=10.0, help="seconds in which a rate is measured")
    parser.add_argument("--cycle", type=float, default=60.0, help="seconds in which each fault happens once")
    args = parser.parse_args()
    if args.output.exists() and not (args.output / "logs").is_dir() and any(args.output.iterdir()):
        print(f"{args.output} holds something that is no soak's; name another folder", file=sys.stderr)
        return 2
    shutil.rmtree(args.output, ignore_errors=True)
    paths = RunPaths(args.output)
    paths.logs.mkdir(parents=True)
    os.environ.update(child_environment(paths))
    plan = Plan(args.minutes, paths.logs, tuple(args.size), tuple(args.set), args.measure, args.cycle)
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        with Signals() as signals, Children(paths.logs, os.environ, signals) as children:
            record = Soak(plan, children, signals).run()
    except SageFusionError as error:
        print(f"the soak could not be made: {error}", file=sys.stderr)
        return 2
    finally:
        rclpy.shutdown()
    promises = judge(record)
    record["promises"] = [vars(promise) for promise in promises]
    (args.output / "soak.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    draw(record, args.output / "soak.svg")
    (args.output / "soak.md").write_text(table(promises), encoding="utf-8")
    print(table(promises))
    return 1 if any(promise.kept is False for promise in promises) else 0


def table(promises: list[Promise]) -> str:
    """The promises as Markdown."""
    words = {True: "yes", False: "**no**", None: "too short to tell"}
    rows = [f"| {p.name} | {p.promise} | {p.seen} | {words[p.kept]} |" for p in promises]
    return "\n".join(["| | promise | seen | kept |", "|---|---|---|---|", *rows, ""])


if __name__ == "__main__":
    sys.exit(main())
