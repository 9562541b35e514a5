"""What one pair costs in fusion_node, stage by stage, and what the node itself adds to decoding, models and encoding.

    python tools/budget.py --engine openvino --precision int8 --rate 10

replay_node sends at a rate that leaves the node idle between two pairs, so nothing waits for what went before. The
figures are the node's own, from /diagnostics: medians over its latest pairs, from the callback of a pair's later image
to the return of the last publish().
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from sage_fusion_ros.cli.bench_runs import LIMIT_S, How, make_stills, new_paths, plan_of
from sage_fusion_ros.cli.demo_nodes import child_environment, fusion_command, replay_command
from sage_fusion_ros.cli.processes import Children, Signals
from sage_fusion_ros.errors import SageFusionError
from sage_fusion_ros.evaluation.machine import processor_name
from sage_fusion_ros.nodes.qos import profile

WHOLE, OVERHEAD = "since_arrival", "overhead"
OUTPUTS = {"fused": Image, "mask": Image, "detections": Detection2DArray}
START_S = 60.0


def main() -> int:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="sage_fast")
    parser.add_argument("--perception", default="perception", help="'' for the fused image alone")
    parser.add_argument("--engine", default="onnxruntime")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--size", default="640x480", metavar="WxH")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rate", type=float, default=10.0, help="pairs a second")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each round")
    parser.add_argument("--workers", type=int, default=1, help="as the node's rate.workers")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    rounds = []
    try:
        with tempfile.TemporaryDirectory() as folder, Signals() as signals:
            stills = make_stills(Path(folder) / "stills", args.size)
            for index in range(args.rounds):
                rounds.append(measure(args, stills, Path(folder) / str(index), signals))
    except SageFusionError as error:
        print(f"the budget could not be measured: {error}", file=sys.stderr)
        return 2
    print(table(rounds))
    print(f"{args.size}, {args.engine} {args.precision}, {args.rate:g} pairs a second, {processor_name()}")
    return 0


def measure(args: argparse.Namespace, stills: Path, folder: Path, signals: Signals) -> dict[str, float]:
    """Medians in milliseconds by stage, once the node has run for the time that was asked for."""
    paths = new_paths(folder)
    how = How(args.size, args.threads, args.seconds, args.engine, args.precision, workers=args.workers)
    plan = plan_of(how, args.model, args.perception, stills, args.rate)
    plan = replace(plan, replay={**plan.replay, "duration": LIMIT_S, "wait_for_subscribers": 1})
    environment = child_environment(paths)
    os.environ.update(environment)
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = Node("budget")
    found: dict[str, float] = {}

    def read(message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == "fusion_node: timing":
                named = {pair.key: pair.value for pair in status.values if pair.key.endswith("_ms_p50")}
                found.update({key.removesuffix("_ms_p50"): float(value) for key, value in named.items()})

    try:
        node.create_subscription(DiagnosticArray, "/diagnostics", read, 10)
        for name, kind in OUTPUTS.items():
            node.create_subscription(kind, f"/fusion_node/output/{name}", lambda _: None, profile("reliable", 1))
        with Children(paths.logs, environment, signals) as children:
            children.start("fusion_node", fusion_command(plan))
            children.start("replay_node", replay_command(plan, paths), may_end=True)
            limit, end = time.monotonic() + START_S, None
            while end is None or time.monotonic() < end:
                rclpy.spin_once(node, timeout_sec=0.1)
                if signals.received:
                    raise KeyboardInterrupt
                if children.dead() or (end is None and time.monotonic() > limit):
                    raise SageFusionError(f"the node fused no pair; see {paths.logs}")
                if end is None and WHOLE in found:
                    end = time.monotonic() + args.seconds
    finally:
        node.destroy_node()
        rclpy.shutdown()
    return found


def table(rounds: list[dict[str, float]]) -> str:
    """Stages in the order in which they run, then the whole and what it is more than the stages of WORK."""
    stages = [stage for stage in rounds[0] if stage not in (WHOLE, OVERHEAD, "latency")]
    rows = [(stage, [each.get(stage, 0.0) for each in rounds]) for stage in stages]
    rows += [("from arrival to publish()", [each[WHOLE] for each in rounds])]
    rows += [("of that the node's own", [each[OVERHEAD] for each in rounds])]
    return "\n".join(
        f"{name:>28}  {statistics.median(values):7.2f} ms  ({min(values):.2f} to {max(values):.2f})"
        for name, values in rows
    )


if __name__ == "__main__":
    sys.exit(main())
