"""sage-fusion bag make: folders of pairs and videos into rosbag2."""

from __future__ import annotations

import argparse
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sage_fusion_ros.bags.make import DEFAULT_TOPICS, FORMATS, MakeSettings, make_bag
from sage_fusion_ros.bags.writer import STORAGES
from sage_fusion_ros.cli.progress import progress_bar
from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.sources.open import open_source

ALL_DONE, SOME_SKIPPED = 0, 1
TOLD = 10


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declares the arguments of `sage-fusion bag make`."""
    parser = subparsers.add_parser(
        "make",
        help="a folder of pairs or two videos into a rosbag2",
        description="Writes a rosbag2 that `ros2 bag play` plays into fusion_node. Exit code 0: every pair is in it; "
        "1: some were left out, each named; 2: no bag. An existing bag is never overwritten, and an interrupted one "
        "leaves nothing.",
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a folder of pairs (rgb/ + thermal/, LLVIP, M3FD, MSRS, RoadScene), 'rgb.mp4,thermal.mp4', a folder of "
        "videos (with the clip's name behind it where there are several), or synthetic",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="BAG", help="the bag's folder; must not exist")
    parser.add_argument("--storage", choices=STORAGES, default="mcap", help="(default: %(default)s)")
    parser.add_argument(
        "--images",
        choices=FORMATS,
        default="raw",
        help="compressed: RGB as JPEG, thermal as PNG (default: %(default)s)",
    )
    parser.add_argument(
        "--rate", type=float, metavar="HZ", help="pairs a second (default: the videos' frame times; stills: 10)"
    )
    parser.add_argument(
        "--start",
        default="1",
        metavar="TIME",
        help="stamp of the first pair: 2024-05-01T12:00:00Z, or seconds since 1970 (default: %(default)s, which says "
        "that nobody knows when it was)",
    )
    for camera, topic in DEFAULT_TOPICS.items():
        parser.add_argument(f"--{camera}-topic", default=topic, metavar="TOPIC", help="(default: %(default)s)")
    for camera in DEFAULT_TOPICS:
        parser.add_argument(
            f"--{camera}-frame-id", default=f"{camera}_camera", metavar="ID", help="(default: %(default)s)"
        )
    parser.add_argument("--duration", type=float, metavar="S", help="synthetic: seconds (default: 15)")
    parser.add_argument("--seed", type=int, default=0, help="of the synthetic scene")
    return parser


def run(args: argparse.Namespace) -> int:
    """Makes the bag; returns the exit code."""
    if args.rate is not None and not args.rate > 0:
        raise ParameterError(f"--rate is {args.rate}; expected a number above 0")
    settings = MakeSettings(
        storage=args.storage,
        images=args.images,
        rate_hz=args.rate or 0.0,
        start_ns=read_time(args.start),
        topics={"rgb": args.rgb_topic, "thermal": args.thermal_topic},
        frame_ids={"rgb": args.rgb_frame_id, "thermal": args.thermal_frame_id},
    )
    synthetic = args.source.partition(":")[0] == "synthetic"
    options: dict[str, Any] = {"duration": args.duration or 15.0} if synthetic else {}
    if args.duration is not None and not (synthetic and args.duration > 0):
        raise ParameterError("--duration is for the synthetic source, in seconds above 0")
    source = open_source(args.source, seed=args.seed, **options)
    try:
        with progress_bar(desc="make", unit="pair", total=len(source)) as bar:
            made = make_bag(source, args.output, settings, bar.update)
    finally:
        source.close()
    for name, reason in made.skipped[:TOLD]:
        print(f"left out {name}: {reason}", file=sys.stderr)
    if len(made.skipped) > TOLD:
        print(f"left out {len(made.skipped) - TOLD} more", file=sys.stderr)
    print(f"{made.pairs} pairs in {args.output}, {len(made.skipped)} left out")
    print(f"stamps: {made.stamps}")
    return SOME_SKIPPED if made.skipped else ALL_DONE


def read_time(text: str) -> int:
    """A time as nanoseconds since 1970.

    Args:
        text: Seconds since 1970, or a date and time in ISO 8601; one without a zone is in UTC.

    Raises:
        ParameterError: It is neither.
    """
    try:
        return round(float(text) * 1e9)
    except (ValueError, OverflowError):
        pass
    try:
        time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise ParameterError(
            f"--start is '{text}'; expected seconds since 1970 or a time such as 2024-05-01T12:00:00Z"
        ) from error
    return round((time if time.tzinfo else time.replace(tzinfo=timezone.utc)).timestamp() * 1e9)
