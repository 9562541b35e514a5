"""replay_node as a process of its own, and a listener on its topics."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

from sage_fusion_ros.resources import fast_dds_profile

SECOND = 1_000_000_000
DOMAIN = 101  # beside that of the test run


def command(**parameters: object) -> list[str]:
    values = [word for name, value in parameters.items() for word in ("-p", f"{name.replace('__', '.')}:={value}")]
    return [sys.executable, "-m", "sage_fusion_ros.nodes.replay_node", "--ros-args", *values]


def start(**parameters: object) -> subprocess.Popen:
    environment = {**os.environ, **fast_dds_profile(os.environ), "ROS_DOMAIN_ID": str(DOMAIN)}
    return subprocess.Popen(command(**parameters), stderr=subprocess.PIPE, text=True, env=environment)


def stamp_of(message: Image | CameraInfo) -> int:
    return message.header.stamp.sec * SECOND + message.header.stamp.nanosec


class Listener:
    """Keeps every message of the four topics, with the time of its arrival."""

    def __init__(self) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=DOMAIN)
        self.node = rclpy.create_node("listener", context=self.context)
        self.images: dict[str, list[Image]] = {"rgb": [], "thermal": []}
        self.infos: dict[str, list[CameraInfo]] = {"rgb": [], "thermal": []}
        self.delays: list[float] = []
        qos = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
        for camera in self.images:
            topic = f"/replay_node/{camera}"
            self.node.create_subscription(Image, f"{topic}/image_raw", lambda m, c=camera: self._take(c, m), qos)
            self.node.create_subscription(CameraInfo, f"{topic}/camera_info", self.infos[camera].append, qos)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.thread = threading.Thread(target=self.executor.spin, daemon=True)
        self.thread.start()

    def _take(self, camera: str, message: Image) -> None:
        self.delays.append((time.time_ns() - stamp_of(message)) / SECOND)
        self.images[camera].append(message)

    def close(self) -> None:
        self.executor.shutdown()
        self.thread.join(10)
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


def replay(listener: Listener, tmp_path: Path, **parameters: object) -> tuple[list[dict], str]:
    """Runs replay_node to its end; its log and what it printed."""
    log = tmp_path / "log" / "replay.jsonl"
    process = start(qos__reliability="reliable", qos__depth=100, wait_for_subscribers=1, log_path=log, **parameters)
    try:
        _, printed = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, printed
    events = [json.loads(line) for line in log.read_text().splitlines()]
    sent = sum(1 for event in events if "camera" in event)
    deadline = time.monotonic() + 10
    while sum(map(len, listener.images.values())) < sent and time.monotonic() < deadline:
        time.sleep(0.01)
    return events, printed


def indices(events: list[dict], camera: str) -> list[tuple[int, int]]:
    return [(event["stamp_ns"], event["index"]) for event in events if event.get("camera") == camera]


def run(**parameters: object) -> tuple[int, str]:
    process = start(**parameters)
    _, printed = process.communicate(timeout=60)
    return process.returncode, printed
