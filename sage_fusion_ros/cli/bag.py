"""sage-fusion bag: makes bags of recordings, and fuses bags offline."""

from __future__ import annotations

import argparse
import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from sage_fusion_ros.cli import bag_fuse, bag_make

_PARTS = {"make": bag_make, "fuse": bag_fuse}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declares the arguments of `sage-fusion bag`."""
    parser = subparsers.add_parser("bag", help="make bags of recordings, or fuse bags offline", description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True, metavar="make|fuse")
    for part in _PARTS.values():
        part.add_parser(parts)
    return parser


def run(args: argparse.Namespace) -> int:
    """Runs one of the two; returns the exit code."""
    with _terminated_as_interrupted():
        return _PARTS[args.part].run(args)


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Lets SIGTERM end the command as Ctrl-C does, so that what is half done is cleared away."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
