"""One camera of the soak, a process of its own: to be killed, stopped and, by SIGUSR1 and SIGUSR2, frozen and freed.

Frozen, it sends one image again and again under new stamps, as a thermal camera does while its shutter is closed. Every
stamp sent is appended to a file, eight bytes each, so that what was sent is known whatever becomes of the process.
"""

from __future__ import annotations

import argparse
import signal
import struct
import sys
import time
from pathlib import Path

import rclpy
from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from scene import COUNT, images
from sensor_msgs.msg import Image

from sage_fusion_ros.pipeline.image_codec import encode

SECOND = 1_000_000_000
SETTLE_S = 0.3
"""A subscriber seen here may see this publisher a moment later."""


class Camera:
    """Sends until it is told to end."""

    def __init__(self, node: Node, camera: str, size: tuple[int, int], log: Path, reliable: bool) -> None:
        self.frozen = self.ended = False
        reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        qos = QoSProfile(depth=5, reliability=reliability)
        self._publisher = node.create_publisher(Image, f"/fusion_node/input/{camera}", qos)
        self._messages = []
        for image in images(camera, *size):
            encoded = encode(image)
            fields = ("height", "width", "encoding", "is_bigendian", "step", "data")
            self._messages.append(Image(**{name: getattr(encoded, name) for name in fields}))
            self._messages[-1].header.frame_id = f"{camera}_optical"
        self._log = log.open("ab", buffering=0)

    def run(self, rate_hz: float) -> None:
        """Sends at a rate from when somebody listens; what a stop made it miss is not made up for."""
        while not (self.ended or self._publisher.get_subscription_count()):
            time.sleep(0.01)
        time.sleep(SETTLE_S)
        number, due = 0, time.monotonic()
        while not self.ended:
            time.sleep(max(0.0, due - time.monotonic()))
            due = max(due + 1 / rate_hz, time.monotonic() - 1 / rate_hz)
            number = number if self.frozen else (number + 1) % COUNT
            stamp = time.time_ns() // COUNT * COUNT + number
            message = self._messages[number]
            message.header.stamp = Time(sec=stamp // SECOND, nanosec=stamp % SECOND)
            self._log.write(struct.pack("<q", stamp))  # first: a stamp that went out is in the file
            self._publisher.publish(message)


def read_stamps(log: Path) -> list[int]:
    """The stamps in a camera's file, in nanoseconds, in the order in which they were sent."""
    data = log.read_bytes() if log.exists() else b""
    return [stamp for (stamp,) in struct.iter_unpack("<q", data[: len(data) // 8 * 8])]


def main() -> int:
    """Runs one camera until SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("camera", choices=("rgb", "thermal"))
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--size", type=int, nargs=2, required=True, help="height and width")
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--reliable", action="store_true", help="as drivers are that do not use best effort")
    args = parser.parse_args()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node(f"camera_{args.camera}", start_parameter_services=False)
    camera = Camera(node, args.camera, tuple(args.size), args.log, args.reliable)

    def told(number: int, _: object) -> None:
        camera.ended |= number == signal.SIGINT
        camera.frozen = number == signal.SIGUSR1

    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, told)
    camera.run(args.rate)
    node.destroy_node()
    rclpy.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
