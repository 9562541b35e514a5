"""Bags for the tests of `sage-fusion bag`: small, with a scene that moves, and a command to fuse them."""

import argparse
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np
from source_files import write_bag

from sage_fusion_ros.bags.typestore import typestore
from sage_fusion_ros.cli import bag

START = 1_700_000_000_123_456_789
PERIOD = 33_333_333


def arguments(*words):
    parser = argparse.ArgumentParser()
    bag.add_parser(parser.add_subparsers())
    return parser.parse_args(["bag", *map(str, words)])


def run(*words):
    """Runs `sage-fusion bag` in this process; its exit code."""
    return bag.run(arguments(*words))


def command(*words):
    """The same as a command for another process."""
    return [sys.executable, "-m", "sage_fusion_ros.cli.main", "bag", *map(str, words)]


def start(*words):
    return subprocess.Popen(command(*words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def record(path: Path, pairs: int = 24, storage: str = "mcap", **options) -> Path:
    """A bag of so many pairs at 30 Hz, the thermal stamp 4 ms later; see write_bag."""
    rgb = [START + index * PERIOD for index in range(pairs)]
    return write_bag(path, storage, rgb, [stamp + 4_000_000 for stamp in rgb], **options)


def read_messages(path: Path, topic: str = "") -> list[tuple[str, int, object]]:
    """(topic, time, message) of a bag in the order of time."""
    from rosbags.rosbag2 import Reader

    with Reader(path) as reader:
        chosen = [c for c in reader.connections if topic in ("", c.topic)]
        return [
            (connection.topic, time, typestore().deserialize_cdr(data, connection.msgtype))
            for connection, time, data in reader.messages(chosen)
        ]


def topics_of(path: Path) -> dict[str, int]:
    """How many messages each topic of a bag has."""
    from rosbags.rosbag2 import Reader

    with Reader(path) as reader:
        return {connection.topic: connection.msgcount for connection in reader.connections}


def stamp_of(message) -> int:
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


def pixels_of(message) -> np.ndarray:
    """The pixels of an uncompressed image message."""
    from sage_fusion_ros.pipeline.image_codec import decode

    return decode(message)


def contents(path: Path) -> dict[str, bytes]:
    """Every file of a bag but the report, by name."""
    return {file.name: file.read_bytes() for file in sorted(path.iterdir()) if file.name != "report.json"}


def assert_equal(ours, theirs, kind):
    """Both as they come over the wire, field by field; the bytes between two fields mean nothing."""
    from rclpy.serialization import serialize_message

    wire, store = serialize_message(theirs), typestore()
    data = bytes(store.serialize_cdr(ours, kind))
    assert len(data) == len(wire)
    assert _plain(store.deserialize_cdr(data, kind)) == _plain(store.deserialize_cdr(wire, kind))


def _plain(value):
    """A message as dictionaries and lists."""
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, list) else value
