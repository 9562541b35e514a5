"""The topics of a fused pair: messages filled and published on the worker's thread, only where somebody listens."""

from __future__ import annotations

import copy
import time
from typing import Any

from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image, TimeReference

from sage_fusion_ros.nodes.camera_input import CameraInput
from sage_fusion_ros.nodes.qos import profile
from sage_fusion_ros.pipeline.fusion_pipeline import Stopwatch
from sage_fusion_ros.pipeline.image_codec import encode
from sage_fusion_ros.pipeline.pairing import Match
from sage_fusion_ros.pipeline.stats import Rolling
from sage_fusion_ros.pipeline.types import FusionResult

try:
    from autoware_internal_debug_msgs.msg import Float64Stamped  # what Autoware's tools read
except ImportError:
    Float64Stamped = None
    from std_msgs.msg import Float64

DEBUG_FLOATS = ("processing_time_ms", "pipeline_latency_ms", "cyclic_time_ms", "pair_dt_ms")


def ns_to_stamp(stamp_ns: int) -> Time:
    """Nanoseconds to builtin_interfaces/Time."""
    return Time(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)


class Outputs:
    """All publishers of one fused pair. The header is the driving camera's stamp in the RGB camera's frame."""

    def __init__(self, node: Node, qos: QoSProfile) -> None:
        self.latency_ms = Rolling()
        self.inputs: dict[str, CameraInput] = {}
        self._node = node
        self._fused = node.create_publisher(Image, "~/output/fused", qos)
        self._camera_info = node.create_publisher(CameraInfo, "~/output/camera_info", qos)
        debug = profile("reliable", 10)
        self._floats = {
            name: node.create_publisher(Float64Stamped or Float64, f"~/debug/{name}", debug) for name in DEBUG_FLOATS
        }
        self._pair_stamps = node.create_publisher(TimeReference, "~/debug/pair_stamps", debug)
        self._last_published_ns: int | None = None
        self._told_size = False

    def close(self) -> None:
        """Destroys the publishers."""
        for publisher in (self._fused, self._camera_info, self._pair_stamps, *self._floats.values()):
            self._node.destroy_publisher(publisher)

    def wanted(self) -> bool:
        """Whether anybody listens to the fused image."""
        return bool(self._fused.get_subscription_count())

    def publish(self, match: Match, result: FusionResult, watch: Stopwatch) -> None:
        """Publishes a result and its debug values; laps "encode" and "publish"."""
        frame_id = match.rgb.payload.header.frame_id
        message = Image()
        message.header.stamp = stamp = ns_to_stamp(match.stamp_ns)
        message.header.frame_id = frame_id
        encoded = encode(result.fused)
        message.height, message.width, message.step = encoded.height, encoded.width, encoded.step
        message.encoding, message.is_bigendian, message.data = encoded.encoding, encoded.is_bigendian, encoded.data
        watch.lap("encode")
        self._fused.publish(message)
        watch.lap("publish")
        self._publish_camera_info(stamp, frame_id, encoded.width, encoded.height)
        self._publish_debug(match, watch)

    def report(self, camera: str, error: Exception) -> None:
        """Hands an error to the camera that caused it; one of the pair as a whole counts as the RGB camera's."""
        source = self.inputs.get(camera) or self.inputs.get("rgb")
        if source is not None:
            source.note_error(error)

    def _publish_camera_info(self, stamp: Time, frame_id: str, width: int, height: int) -> None:
        """The RGB camera's calibration holds for the fused image, which has its geometry and its size."""
        info = self.inputs["rgb"].camera_info if "rgb" in self.inputs else None
        if info is None or not self._camera_info.get_subscription_count():
            return
        if (info.width, info.height) != (width, height):
            if not self._told_size:
                self._told_size = True
                self._node.get_logger().warning(
                    f"the RGB camera's CameraInfo is for {info.width}x{info.height}, its images are {width}x{height}: "
                    "~/output/camera_info stays silent; remap ~/input/rgb_camera_info to the topic of the same image"
                )
            return
        info = copy.copy(info)
        info.header = copy.copy(info.header)
        info.header.stamp, info.header.frame_id = stamp, frame_id
        self._camera_info.publish(info)

    def _publish_debug(self, match: Match, watch: Stopwatch) -> None:
        now = self._node.get_clock().now()
        latency_ms = (now.nanoseconds - match.stamp_ns) / 1e6
        self.latency_ms.add(latency_ms)
        steady_ns = time.monotonic_ns()
        values = {
            "processing_time_ms": watch.total_ms(),
            "pipeline_latency_ms": latency_ms,
            "pair_dt_ms": match.dt_ns / 1e6,
        }
        if self._last_published_ns is not None:
            values["cyclic_time_ms"] = (steady_ns - self._last_published_ns) / 1e6
        self._last_published_ns = steady_ns
        for name, value in values.items():
            if self._floats[name].get_subscription_count():
                self._floats[name].publish(_float_message(float(value), now.to_msg()))
        if self._pair_stamps.get_subscription_count():
            pair = TimeReference(time_ref=ns_to_stamp(match.thermal.stamp_ns), source="thermal")
            pair.header.stamp = ns_to_stamp(match.rgb.stamp_ns)
            pair.header.frame_id = match.rgb.payload.header.frame_id
            self._pair_stamps.publish(pair)


def _float_message(value: float, stamp: Time) -> Any:
    return Float64Stamped(stamp=stamp, data=value) if Float64Stamped else Float64(data=value)
