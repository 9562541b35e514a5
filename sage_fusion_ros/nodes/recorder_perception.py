"""What recorder_node writes down of masks and detections: every header, every box, and some of the masks."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from sage_fusion_ros.nodes.record_writer import RecordWriter

try:
    from vision_msgs.msg import Detection2DArray, LabelInfo
except ImportError:
    Detection2DArray = LabelInfo = None

FRAME_EVENT, MASK_EVENT = "frame", "mask_file"
"""Kinds of images, and the events that tell of them."""
RECENT_MASKS = 8
"""Masks held back in memory, since a fused image that is kept may arrive after its mask."""
EACH = QoSProfile(depth=32, reliability=ReliabilityPolicy.RELIABLE)
"""Deep and reliable: what is lost here would be counted as lost by the node."""


class Spacing:
    """Chooses among a stream of stamps: at most `count`, no two nearer than `period_ns`.

    By stamps, so that a source which falls behind its own time is still seen from end to end; either way, since the
    stamps of a looped bag jump back.
    """

    def __init__(self, count: int, period_ns: int) -> None:
        self._left, self._period_ns = count, period_ns
        self._kept_ns: int | None = None

    def due(self, stamp_ns: int) -> bool:
        """Whether this one is to be kept; the first always is."""
        far = self._kept_ns is None or abs(stamp_ns - self._kept_ns) >= self._period_ns
        return far and self._left > 0

    def keep(self, stamp_ns: int) -> None:
        """Notes that this one was kept."""
        self._left -= 1
        self._kept_ns = stamp_ns


class PerceptionRecorder:
    """Subscribes to masks, detections and their class names.

    Of a mask the header and the size are written, and the mask itself only where it is due or belongs to a fused image
    that is kept: masks of neighbours differ little, and thirty PNGs a second would cost what the networks need.

    Args:
        node: The recorder.
        target: Full name of the node to record.
        writer: Takes events and images.
        masks: Which masks are due.
    """

    def __init__(self, node: Node, target: str, writer: RecordWriter, masks: Spacing) -> None:
        self.counts = {"mask": 0, "detections": 0}
        self._writer = writer
        self._due = masks
        self._recent: deque[tuple[int, Image]] = deque(maxlen=RECENT_MASKS)
        self._shown: deque[int] = deque(maxlen=RECENT_MASKS)
        latched = QoSProfile(
            depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
        )
        node.create_subscription(Image, f"{target}/output/mask", self._on_mask, EACH)
        if LabelInfo is None:
            writer.event("unavailable", output="detections", reason="the recorder has no vision_msgs")
            return
        node.create_subscription(Detection2DArray, f"{target}/output/detections", self._on_detections, EACH)
        for output in self.counts:
            node.create_subscription(
                LabelInfo,
                f"{target}/output/{output}/label_info",
                lambda message, output=output: self._on_classes(output, message),
                latched,
            )

    def keep(self, stamp_ns: int) -> None:
        """Keeps the mask under this stamp, whether it is here already or still to come."""
        for stamp, message in self._recent:
            if stamp == stamp_ns:
                self._save(stamp, message)
                return
        self._shown.append(stamp_ns)

    def _on_mask(self, message: Image) -> None:
        stamp = to_ns(message.header.stamp)
        self.counts["mask"] += 1
        size = [message.width, message.height]
        self._writer.event("mask", stamp_ns=stamp, frame_id=message.header.frame_id, size=size)
        if self._due.due(stamp):
            if self._save(stamp, message):
                self._due.keep(stamp)
        elif stamp in self._shown:
            self._save(stamp, message)
        else:
            self._recent.append((stamp, message))

    def _save(self, stamp: int, message: Image) -> bool:
        return self._writer.image(MASK_EVENT, stamp, pixels(message, 1)[..., 0])

    def _on_detections(self, message: Any) -> None:
        self.counts["detections"] += 1
        boxes = []
        for detection in message.detections:
            if not detection.results:
                continue
            best = max((result.hypothesis for result in detection.results), key=lambda one: one.score)
            x, y = detection.bbox.center.position.x, detection.bbox.center.position.y
            half_x, half_y = detection.bbox.size_x / 2, detection.bbox.size_y / 2
            corners = (x - half_x, y - half_y, x + half_x, y + half_y)
            boxes.append([*(round(value, 2) for value in corners), round(best.score, 4), best.class_id])
        self._writer.event(
            "detections", stamp_ns=to_ns(message.header.stamp), frame_id=message.header.frame_id, boxes=boxes
        )

    def _on_classes(self, output: str, message: Any) -> None:
        names = {one.class_id: one.class_name for one in message.class_map}
        self._writer.event("classes", output=output, names=names, threshold=round(message.threshold, 4))


def hear_perception(node: Node, target: str) -> None:
    """Subscribes to masks and detections, so that they are computed and sent, and lets them pass unread."""
    for output, kind in (("mask", Image), ("detections", Detection2DArray)):
        if kind is not None:
            node.create_subscription(kind, f"{target}/output/{output}", lambda _: None, EACH, raw=True)


def pixels(message: Image, channels: int) -> np.ndarray:
    """The pixels of an 8-bit image message without the padding of its rows: uint8 HxWxC."""
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    return rows[:, : message.width * channels].reshape(message.height, message.width, channels)


def to_ns(stamp: Any) -> int:
    """Nanoseconds of a builtin_interfaces Time."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
