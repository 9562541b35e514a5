"""recorder_node: writes down one run of fusion_node, for `sage-fusion demo` and for tests that need proof.

It subscribes to what fusion_node publishes and writes JSON lines, one event each, to a file, and a limited number of
fused images, spread over the run, as PNG to a folder. The executor only takes times and puts events into a queue; one
thread writes them, so that a slow disk or a PNG never shows in the measured latency.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import GetState
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, TimeReference

from sage_fusion_ros.errors import ParameterError, SageFusionError
from sage_fusion_ros.nodes import outputs
from sage_fusion_ros.nodes.process import run_node

STATE_PERIOD_S = 0.25
FLUSH_PERIOD_S = 0.2
WAITING_IMAGES = 4
"""Images that may wait for the disk; further ones are left out, and memory stays bounded."""


class RecordWriter:
    """One thread that appends events to a file and writes images; `close` writes what is left and ends it."""

    def __init__(self, log: Path, images: Path) -> None:
        self._folder = images
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._images: queue.Queue[tuple[int, str, np.ndarray]] = queue.Queue(WAITING_IMAGES)
        self.error: OSError | None = None
        """Why the thread gave up, as on a full disk."""
        try:
            for folder in (log.parent, images):
                folder.mkdir(parents=True, exist_ok=True)
            self._file = log.open("w", encoding="utf-8")
        except OSError as error:
            raise ParameterError(f"log_path {log} or images.path {images} can't be written: {error}") from error
        self._thread = threading.Thread(target=self._run, name="recorder-writer")
        self._thread.start()

    def event(self, kind: str, **fields: Any) -> None:
        """Queues one event; never blocks."""
        self._events.put({"event": kind, **fields})

    def image(self, stamp_ns: int, name: str, rgb: np.ndarray) -> bool:
        """Queues an image, uint8 HxWx3 RGB. False where too many are waiting already: it is then left out."""
        try:
            self._images.put_nowait((stamp_ns, name, rgb))
        except queue.Full:
            return False
        return True

    def close(self) -> None:
        """Writes everything queued and closes the file."""
        self._events.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            with self._file:
                self._write_all()
        except OSError as error:
            self.error = error

    def _write_all(self) -> None:
        open_ = True
        while open_:
            try:
                event = self._events.get(timeout=FLUSH_PERIOD_S)
                while event is not None:
                    self._file.write(json.dumps(event) + "\n")
                    event = self._events.get_nowait()
                open_ = False
            except queue.Empty:
                pass
            self._save_images()
            self._file.flush()

    def _save_images(self) -> None:
        while not self._images.empty():
            stamp_ns, name, rgb = self._images.get()
            if cv2.imwrite(str(self._folder / name), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)):
                self._file.write(json.dumps({"event": "frame", "stamp_ns": stamp_ns, "file": name}) + "\n")


class RecorderNode(Node):
    """Takes times and stamps of everything fusion_node sends.

    Parameters:
        log_path: File of events to write.
        images.path: Folder for the fused images; made where it is missing.
        fusion_node: Full name of the node to record.
        debug: Whether to record the debug topics too.
        images.count: Fused images to keep at most.
        images.period_s: Seconds of stamps between two kept images; the first fused image is always kept.
    """

    def __init__(self) -> None:
        self._writer: RecordWriter | None = None  # before rclpy can call destroy_node
        super().__init__("recorder_node")
        log = Path(self.declare_parameter("log_path", "recording.jsonl").value)
        folder = Path(self.declare_parameter("images.path", "fused").value)
        target = self.declare_parameter("fusion_node", "/fusion_node").value
        debug = self.declare_parameter("debug", True).value
        self._images_left = int(self.declare_parameter("images.count", 24).value)
        self._image_period_ns = int(float(self.declare_parameter("images.period_s", 0.5).value) * 1e9)
        self._kept_ns: int | None = None
        self._writer = RecordWriter(log, folder)
        self._state = ""
        self._ready = False
        self._counts = {"fused": 0, "pair": 0}

        # Deep and reliable: what is lost here would be counted as lost by the node.
        images = QoSProfile(depth=16, reliability=ReliabilityPolicy.RELIABLE)
        values = QoSProfile(depth=256, reliability=ReliabilityPolicy.RELIABLE)
        self._fused_topic = f"{target}/output/fused"
        self.create_subscription(Image, self._fused_topic, self._on_fused, images)
        if debug:
            self.create_subscription(TimeReference, f"{target}/debug/pair_stamps", self._on_pair, values)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, values)
        value_type = outputs.Float64Stamped or outputs.Float64
        for name in outputs.DEBUG_FLOATS if debug else ():
            self.create_subscription(
                value_type, f"{target}/debug/{name}", lambda message, name=name: self._on_value(name, message), values
            )
        self._get_state = self.create_client(GetState, f"{target}/get_state")
        self._asked: Any = None
        self._ask = self.create_timer(STATE_PERIOD_S, self._ask_state)

    def is_over(self) -> bool:
        """Whether nothing more can be written; destroy_node then says why."""
        return self._writer is not None and self._writer.error is not None

    def destroy_node(self) -> None:
        """Writes the last event and ends the writing thread.

        Raises:
            SageFusionError: Something could not be written.
        """
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.event("finished", **self._counts)
            writer.close()
        super().destroy_node()
        if writer is not None and writer.error is not None:
            raise SageFusionError(f"the recording is not complete: {writer.error}")

    def _on_fused(self, message: Image) -> None:
        arrival, stamp = time.time_ns(), to_ns(message.header.stamp)
        self._counts["fused"] += 1
        self._writer.event("fused", stamp_ns=stamp, arrival_ns=arrival)
        # By stamps, so that a source which falls behind its own time is still seen from end to end; either way, since
        # the stamps of a looped bag jump back.
        due = self._kept_ns is None or abs(stamp - self._kept_ns) >= self._image_period_ns
        if due and self._images_left > 0:
            rgb = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
            rgb = rgb[:, : message.width * 3].reshape(message.height, message.width, 3)
            if self._writer.image(stamp, f"{stamp}.png", rgb):
                self._images_left -= 1
                self._kept_ns = stamp

    def _on_pair(self, message: TimeReference) -> None:
        self._counts["pair"] += 1
        self._writer.event("pair", rgb_ns=to_ns(message.header.stamp), thermal_ns=to_ns(message.time_ref))

    def _on_value(self, name: str, message: Any) -> None:
        self._writer.event("value", name=name, value=message.data, arrival_ns=time.time_ns())

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        statuses = [
            {
                "name": status.name,
                "level": status.level[0],
                "message": status.message,
                "values": {pair.key: pair.value for pair in status.values},
            }
            for status in message.status
        ]
        self._writer.event("diagnostics", arrival_ns=time.time_ns(), statuses=statuses)

    def _ask_state(self) -> None:
        if self._state == "active" and not self._ready and self.count_publishers(self._fused_topic):
            self._ready = True
            self._writer.event("ready", arrival_ns=time.time_ns())
            self._ask.cancel()
        elif self._asked is None and self._get_state.service_is_ready():
            self._asked = self._get_state.call_async(GetState.Request())
            self._asked.add_done_callback(self._on_state)

    def _on_state(self, future: Any) -> None:
        self._asked = None
        state = future.result().current_state.label
        if state != self._state:
            self._state = state
            self._writer.event("state", state=state, arrival_ns=time.time_ns())


def to_ns(stamp: Any) -> int:
    """Nanoseconds of a builtin_interfaces Time."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def main(args: list[str] | None = None) -> int:
    """Records until SIGINT or SIGTERM, of which a second one changes nothing; 2 where it can't write its files."""
    return run_node("recorder_node", RecorderNode, SingleThreadedExecutor, args, RecorderNode.is_over)


if __name__ == "__main__":
    sys.exit(main())
