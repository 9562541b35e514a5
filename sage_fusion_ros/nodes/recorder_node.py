"""recorder_node: writes down one run of fusion_node, for `sage-fusion demo` and for tests that need proof.

It subscribes to what fusion_node publishes and writes JSON lines, one event each, to a file, and a limited number of
fused images and masks, spread over the run, as PNG to a folder each. The executor only takes times and puts events into
a queue; one thread writes them, so that a slow disk or a PNG never shows in the measured latency.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import GetState
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image, TimeReference
from std_msgs.msg import Header

from sage_fusion_ros.errors import SageFusionError
from sage_fusion_ros.nodes import outputs
from sage_fusion_ros.nodes.process import run_node
from sage_fusion_ros.nodes.record_writer import RecordWriter
from sage_fusion_ros.nodes.recorder_perception import (
    FRAME_EVENT,
    MASK_EVENT,
    PerceptionRecorder,
    Spacing,
    hear_perception,
    pixels,
    to_ns,
)

STATE_PERIOD_S = 0.25
LONGEST_HEADER = 1024
"""Bytes; the frame's name is the only part of a header whose length is not known."""
ASK_AGAIN_S = 2.0
"""A service's answer can be lost where its server had not yet discovered the one who asked."""


class RecorderNode(Node):
    """Takes times and stamps of everything fusion_node sends.

    Parameters:
        log_path: File of events to write.
        images.path: Folder for the fused images; made where it is missing.
        fusion_node: Full name of the node to record.
        debug: Whether to record the debug topics too.
        perception: Whether to record masks and detections too, which makes fusion_node compute them.
        contents: Whether to look at what comes. If not, images and boxes are taken as bytes, and of the fused images
            alone the times and stamps are written: for benchmarks, on whose cores the recorder runs too.
        images.count: Fused images to keep at most.
        images.period_s: Seconds of stamps between two kept images; the first fused image is always kept.
        masks.path: Folder for the masks; made where it is missing.
        masks.count: Masks to keep at most, beside those of the fused images that are kept.
        masks.period_s: Seconds of stamps between two of them.
    """

    def __init__(self) -> None:
        self._writer: RecordWriter | None = None  # before rclpy can call destroy_node
        super().__init__("recorder_node")
        log = Path(self.declare_parameter("log_path", "recording.jsonl").value)
        folders = {
            FRAME_EVENT: Path(self.declare_parameter("images.path", "fused").value),
            MASK_EVENT: Path(self.declare_parameter("masks.path", "masks").value),
        }
        target = self.declare_parameter("fusion_node", "/fusion_node").value
        debug = self.declare_parameter("debug", True).value
        perception = self.declare_parameter("perception", True).value
        contents = self.declare_parameter("contents", True).value
        self._images = self._declare_spacing("images", 24, 0.5)
        masks = self._declare_spacing("masks", 120, 0.1)
        self._writer = RecordWriter(log, folders)
        self._perception: PerceptionRecorder | None = None
        self._state = ""
        self._ready = False
        self._counts = {"fused": 0, "pair": 0}

        # Deep and reliable: what is lost here would be counted as lost by the node.
        images = QoSProfile(depth=16, reliability=ReliabilityPolicy.RELIABLE)
        values = QoSProfile(depth=256, reliability=ReliabilityPolicy.RELIABLE)
        self._fused_topic = f"{target}/output/fused"
        on_fused = self._on_fused if contents else self._on_fused_bytes
        self.create_subscription(Image, self._fused_topic, on_fused, images, raw=not contents)
        if perception and contents:
            self._perception = PerceptionRecorder(self, target, self._writer, masks)
        elif perception:
            hear_perception(self, target)
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
        self._asked_at = 0.0
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
            writer.event("finished", **self._counts, **(self._perception.counts if self._perception else {}))
            writer.close()
        super().destroy_node()
        if writer is not None and writer.error is not None:
            raise SageFusionError(f"the recording is not complete: {writer.error}")

    def _declare_spacing(self, what: str, count: int, period_s: float) -> Spacing:
        count = int(self.declare_parameter(f"{what}.count", count).value)
        return Spacing(count, int(float(self.declare_parameter(f"{what}.period_s", period_s).value) * 1e9))

    def _on_fused(self, message: Image) -> None:
        arrival, stamp = time.time_ns(), to_ns(message.header.stamp)
        self._counts["fused"] += 1
        size = [message.width, message.height]
        self._writer.event("fused", stamp_ns=stamp, arrival_ns=arrival, frame_id=message.header.frame_id, size=size)
        if self._images.due(stamp) and self._writer.image(FRAME_EVENT, stamp, pixels(message, 3)):
            self._images.keep(stamp)
            if self._perception:
                self._perception.keep(stamp)

    def _on_fused_bytes(self, message: bytes) -> None:
        arrival = time.time_ns()
        # An image begins with its header, so its first bytes are enough to read that.
        header = deserialize_message(message[:LONGEST_HEADER], Header)
        self._counts["fused"] += 1
        stamp = to_ns(header.stamp)
        self._writer.event("fused", stamp_ns=stamp, arrival_ns=arrival, frame_id=header.frame_id, size=[0, 0])

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
            return
        if self._asked is not None and time.monotonic() - self._asked_at > ASK_AGAIN_S:
            self._get_state.remove_pending_request(self._asked)
            self._asked = None
        if self._asked is None and self._get_state.service_is_ready():
            self._asked, self._asked_at = self._get_state.call_async(GetState.Request()), time.monotonic()
            self._asked.add_done_callback(self._on_state)

    def _on_state(self, future: Any) -> None:
        self._asked = None
        state = future.result().current_state.label
        if state != self._state:
            self._state = state
            self._writer.event("state", state=state, arrival_ns=time.time_ns())


def main(args: list[str] | None = None) -> int:
    """Records until SIGINT or SIGTERM, of which a second one changes nothing; 2 where it can't write its files."""
    return run_node("recorder_node", RecorderNode, SingleThreadedExecutor, args, RecorderNode.is_over)


if __name__ == "__main__":
    sys.exit(main())
