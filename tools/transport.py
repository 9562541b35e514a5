"""Measures how images get from one process to another: with and without the Fast DDS profile, raw and compressed.

    python tools/transport.py --size 640x480 --count 60 --rounds 3

A camera process sends, this one receives; the profile counts in the process that sends. Everything of a round is
measured in turn, so that what else the machine does falls on all alike. Latency is from before the message is made to
the callback, so compressing and decoding are not part of it.
"""

from __future__ import annotations

import argparse
import os
import secrets
import statistics
import subprocess
import sys
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from sage_fusion_ros.resources import FAST_DDS_2_PROFILE, FAST_DDS_3_PROFILE, fast_dds_profile

TOPIC = "measured_image"
DISCOVERY_S = 20.0
WAYS = (  # name, transport, reliability, with the profile
    ("raw, best effort, stock", "raw", "best_effort", False),
    ("raw, best effort, profile", "raw", "best_effort", True),
    ("raw, reliable, stock", "raw", "reliable", False),
    ("raw, reliable, profile", "raw", "reliable", True),
    ("compressed, best effort, stock", "compressed", "best_effort", False),
)


@dataclass
class Measured:
    """What arrived: milliseconds of each image, and how many were sent."""

    latencies_ms: list[float] = field(default_factory=list)
    sent: int = 0


def main() -> int:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="640x480", metavar="WxH")
    parser.add_argument("--rate", type=float, default=20.0, help="images a second")
    parser.add_argument("--count", type=int, default=60, help="images of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--send", nargs=2, metavar=("TRANSPORT", "RELIABILITY"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    width, height = (int(side) for side in args.size.split("x"))
    if args.send:
        send(*args.send, width, height, args.rate, args.count)
        return 0
    os.environ.setdefault("ROS_DOMAIN_ID", str(20 + secrets.randbelow(80)))
    if os.environ.get("ROS_DISTRO") == "humble":
        os.environ.setdefault("ROS_LOCALHOST_ONLY", "1")
    else:
        os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    found: defaultdict[str, Measured] = defaultdict(Measured)
    for _ in range(args.rounds):
        for name, transport, reliability, profiled in WAYS:
            receive(found[name], transport, reliability, profiled, args)
    report(found, args)
    return 0


def message_type(transport: str) -> type:
    """The type of the topic."""
    from sensor_msgs.msg import CompressedImage, Image

    return Image if transport == "raw" else CompressedImage


def send(transport: str, reliability: str, width: int, height: int, rate: float, count: int) -> None:
    """The camera: sends so many images once somebody listens, and waits for the end of its input."""
    import rclpy
    from std_msgs.msg import Header

    from sage_fusion_ros.nodes.messages import compressed_message, image_message, ns_to_stamp
    from sage_fusion_ros.nodes.qos import profile
    from sage_fusion_ros.pipeline.compressed_codec import Packing

    scene = np.add.outer(np.arange(height), np.arange(width))[..., None] // np.array([3, 5, 7]) % 256
    image = scene.astype(np.uint8)
    rclpy.init()
    node = rclpy.create_node("measured_camera")
    publisher = node.create_publisher(message_type(transport), TOPIC, profile(reliability, 5))
    end = time.monotonic() + DISCOVERY_S
    while not publisher.get_subscription_count() and time.monotonic() < end:
        time.sleep(0.02)
    time.sleep(0.3)  # a subscriber seen here may see this publisher a moment later
    due = time.monotonic()
    for _ in range(count):
        header = Header(stamp=ns_to_stamp(time.time_ns()))
        if transport == "raw":
            publisher.publish(image_message(image, header))
        else:
            ready = compressed_message(image, header, lossless=False, packing=Packing())
            ready.header.stamp = ns_to_stamp(time.time_ns())
            publisher.publish(ready)
        due += 1 / rate
        time.sleep(max(0.0, due - time.monotonic()))
    print("sent", flush=True)
    sys.stdin.read()
    node.destroy_node()
    rclpy.try_shutdown()


def receive(found: Measured, transport: str, reliability: str, profiled: bool, args: argparse.Namespace) -> None:
    """One measurement: starts the camera and takes what comes."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    from sage_fusion_ros.nodes.qos import profile

    environment = {k: v for k, v in os.environ.items() if k not in (FAST_DDS_2_PROFILE, FAST_DDS_3_PROFILE)}
    environment |= fast_dds_profile({}) if profiled else {}
    command = [sys.executable, __file__, "--send", transport, reliability]
    command += ["--size", args.size, "--rate", str(args.rate), "--count", str(args.count)]
    rclpy.init()
    node = rclpy.create_node("measured_receiver")
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def take(message: object) -> None:
        stamp = message.header.stamp  # type: ignore[attr-defined]
        found.latencies_ms.append((time.time_ns() - stamp.sec * 1_000_000_000 - stamp.nanosec) / 1e6)

    node.create_subscription(message_type(transport), TOPIC, take, profile(reliability, 5))
    camera = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert camera.stdin is not None
    assert camera.stdout is not None
    sent = threading.Thread(target=camera.stdout.readline, daemon=True)
    sent.start()
    before, end = len(found.latencies_ms), time.monotonic() + 30 + args.count / args.rate
    while sent.is_alive() and time.monotonic() < end:
        executor.spin_once(timeout_sec=0.05)
    last = time.monotonic() + 1.0
    while len(found.latencies_ms) - before < args.count and time.monotonic() < last:
        executor.spin_once(timeout_sec=0.05)
    found.sent += args.count
    camera.stdin.close()
    try:
        camera.wait(10)
    except subprocess.TimeoutExpired:
        camera.kill()
        camera.wait()
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown()


def report(found: dict[str, Measured], args: argparse.Namespace) -> None:
    """A line for each way, and how its latency stands to that of the first profiled one."""
    reference = found[WAYS[1][0]].latencies_ms
    print(f"{args.size}, {args.rate:g} images a second, {args.rounds} rounds of {args.count}")
    print("| way | arrived | median ms | 95th percentile ms | median over the first profiled |")
    print("|---|---|---|---|---|")
    for name, measured in found.items():
        times = sorted(measured.latencies_ms)
        share = f"{len(times)} of {measured.sent}"
        if len(times) < 2:
            print(f"| {name} | {share} | | | |")
            continue
        ratio = f"{statistics.median(times) / statistics.median(reference):.1f}" if len(reference) > 1 else ""
        print(f"| {name} | {share} | {statistics.median(times):.1f} | {times[int(len(times) * 0.95)]:.1f} | {ratio} |")


if __name__ == "__main__":
    sys.exit(main())
