"""The soak's ears: what fusion_node publishes, as it arrives, and what it says of itself in /diagnostics."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

import numpy as np
import numpy.typing as npt
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image, TimeReference
from vision_msgs.msg import Detection2DArray

SECOND = 1_000_000_000
_IMAGES_KEPT = 32
_NODE = "/fusion_node"


class Listener:
    """Subscribes to the outputs in a thread of its own.

    Attributes:
        fused: Stamp and arrival, both in nanoseconds of the system's clock, of every fused image.
        pairs: The stamps of both frames of every fused pair, RGB and thermal.
        diagnostics: The newest values of each part of the node, by the part's name.
    """

    def __init__(self) -> None:
        self.fused: list[tuple[int, int]] = []
        self.pairs: list[tuple[int, int]] = []
        self.diagnostics: dict[str, dict[str, str]] = {}
        self._images: OrderedDict[int, Image] = OrderedDict()
        self._node = rclpy.create_node("soak", start_parameter_services=False)
        qos = QoSProfile(depth=50)
        listen = self._node.create_subscription
        listen(Image, f"{_NODE}/output/fused", self._on_fused, qos)
        listen(TimeReference, f"{_NODE}/debug/pair_stamps", self._on_pair, qos)
        listen(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos)
        # Heard, so that they are computed.
        listen(Image, f"{_NODE}/output/mask", lambda _: None, qos)
        listen(Detection2DArray, f"{_NODE}/output/detections", lambda _: None, qos)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="listener")
        self._thread.start()

    def close(self) -> None:
        """Stops listening."""
        self._executor.shutdown()
        self._thread.join()
        self._node.destroy_node()

    def image(self, stamp_ns: int) -> npt.NDArray[np.uint8] | None:
        """The fused image of a stamp, where it is one of the newest: uint8 HxWx3 RGB."""
        message = self._images.get(stamp_ns)
        if message is None:
            return None
        return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)

    def number(self, part: str, key: str) -> float:
        """A value of the newest diagnostics; 0 where it is not there."""
        try:
            return float(self.diagnostics.get(part, {}).get(key, 0))
        except ValueError:
            return 0.0

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return

    def _on_fused(self, message: Image) -> None:
        stamp = _ns(message.header.stamp)
        self.fused.append((stamp, time.time_ns()))
        self._images[stamp] = message
        if len(self._images) > _IMAGES_KEPT:
            self._images.popitem(last=False)

    def _on_pair(self, message: TimeReference) -> None:
        self.pairs.append((_ns(message.header.stamp), _ns(message.time_ref)))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            name, _, part = status.name.partition(": ")
            if name == "fusion_node":
                self.diagnostics[part] = {pair.key: pair.value for pair in status.values}


def _ns(stamp: object) -> int:
    return stamp.sec * SECOND + stamp.nanosec
