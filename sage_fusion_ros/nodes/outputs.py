"""All topics of a fused pair: published by one of the worker's threads under one header, where somebody listens."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, TimeReference
from std_msgs.msg import Header

from sage_fusion_ros.nodes.annotation_output import AnnotationsTopic
from sage_fusion_ros.nodes.autoware_outputs import AutowareMaps, MaskRunsTopic, ObjectsTopic
from sage_fusion_ros.nodes.camera_input import CameraInput
from sage_fusion_ros.nodes.detection_outputs import DetectionsTopic, LabelInfoTopic
from sage_fusion_ros.nodes.image_outputs import (
    FusedTopic,
    ImageTopic,
    MaskTopic,
    OverlayTopic,
    ThermalValidTopic,
)
from sage_fusion_ros.nodes.messages import ns_to_stamp
from sage_fusion_ros.nodes.qos import Mismatches, advertise, profile
from sage_fusion_ros.nodes.topic import Topic
from sage_fusion_ros.pipeline.camera_info import image_size
from sage_fusion_ros.pipeline.compressed_codec import Packing
from sage_fusion_ros.pipeline.degraded import Pick
from sage_fusion_ros.pipeline.fusion_pipeline import Stopwatch, Wants
from sage_fusion_ros.pipeline.stats import Rolling
from sage_fusion_ros.pipeline.types import FusionResult

try:
    from autoware_internal_debug_msgs.msg import Float64Stamped  # what Autoware's tools read
except ImportError:
    Float64Stamped = None
    from std_msgs.msg import Float64

DEBUG_FLOATS = ("processing_time_ms", "pipeline_latency_ms", "cyclic_time_ms", "pair_dt_ms")


@dataclass(frozen=True)
class Classes:
    """The class names that a perceiver gives: empty where it gives no mask, or no boxes."""

    mask: tuple[str, ...] = ()
    detections: tuple[str, ...] = ()


class Outputs:
    """All publishers of one fused pair. The header is the driving camera's stamp in the RGB camera's frame.

    While one camera is lost it is the other one's stamp, and the frame of the camera whose geometry the image has.

    Args:
        node: The node whose topics these are.
        qos: Profile of the outputs.
        messages: The optional message modules that are installed, by package; see optional_messages.
        maps: What our classes are to Autoware; None where its messages are not installed.
        root: Where the topics lie: "~", or "~/front" for a pair with a name.
    """

    def __init__(
        self,
        node: Node,
        qos: QoSProfile,
        messages: dict[str, ModuleType],
        maps: AutowareMaps | None,
        root: str = "~",
    ) -> None:
        self.latency_ms = Rolling()
        self.inputs: dict[str, CameraInput] = {}
        self._node = node
        self._classes = Classes()
        self._root = root
        self._overlay = OverlayTopic(node, qos, root)
        self._mask = MaskTopic(node, qos, root)
        self._topics: list[Topic] = [
            FusedTopic(node, qos, root),
            self._mask,
            ThermalValidTopic(node, qos, root),
            self._overlay,
        ]
        self._detections: DetectionsTopic | None = None
        self._label_infos: dict[str, LabelInfoTopic] = {}
        if vision := messages.get("vision_msgs"):
            self._detections = DetectionsTopic(node, vision, qos, root)
            self._topics.append(self._detections)
            for topic in (self._mask, self._detections):
                self._label_infos[topic.name] = LabelInfoTopic(node, vision, topic.name)
        if foxglove := messages.get("foxglove_msgs"):
            self._topics.append(AnnotationsTopic(node, foxglove, qos, root))
        if maps is not None:
            tier4, autoware = messages["tier4_perception_msgs"], messages["autoware_perception_msgs"]
            self._topics += [ObjectsTopic(node, tier4, autoware, qos, maps, root), MaskRunsTopic(node, qos, maps, root)]
        self._heard: list[Topic] = []
        own = Mismatches(node)
        self.mismatches = [own, *(topic.mismatches for topic in self._topics)]
        self._camera_info = advertise(node, CameraInfo, f"{root}/output/camera_info", qos, own)
        debug = profile("reliable", 10)
        self._floats = {
            name: node.create_publisher(Float64Stamped or Float64, f"{root}/debug/{name}", debug)
            for name in DEBUG_FLOATS
        }
        self._pair_stamps = node.create_publisher(TimeReference, f"{root}/debug/pair_stamps", debug)
        self._last_published_ns: int | None = None
        self._told_size = False

    def close(self) -> None:
        """Destroys the publishers."""
        for topic in (*self._topics, *self._label_infos.values()):
            topic.close()
        for publisher in (self._camera_info, self._pair_stamps, *self._floats.values()):
            self._node.destroy_publisher(publisher)

    def heard(self) -> list[str]:
        """Names of the topics that the newest pair went out on."""
        return [topic.name.removeprefix(f"{self._root}/output/") for topic in self._heard]

    def configure(self, classes: Classes, values: dict[str, Any]) -> None:
        """Takes over what may change while running; says what the class numbers mean where that is new.

        Args:
            classes: Of the models that serve from now on. Pairs still in work with others are left out of the topics
                that carry class numbers.
            values: All parameters of the node.
        """
        self._classes = classes
        self._overlay.opacity = values["output.overlay_opacity"]
        packing = Packing(values["output.jpeg_quality"], values["output.png_level"])
        for topic in self._topics:
            if isinstance(topic, ImageTopic):
                topic.packing = packing
        if self._detections is not None:
            self._detections.by_name = values["detection.class_id"] == "name"
            self._label_infos[self._mask.name].announce(classes.mask)
            threshold = values["detection.score_threshold"]
            self._label_infos[self._detections.name].announce(classes.detections, threshold)

    def wants(self) -> Wants:
        """What the topics need that somebody listens to now, of what the models can give."""
        classes = self._classes
        can = Wants(fused=True, mask=bool(classes.mask), detections=bool(classes.detections))
        self._heard = [topic for topic in self._topics if topic.needs & can and topic.heard()]
        wants = Wants(fused=False)
        for topic in self._heard:
            wants |= topic.needs & can
        return replace(wants, asked_by=tuple(self._heard))

    def publish(self, pick: Pick, result: FusionResult, wants: Wants, watch: Stopwatch) -> None:
        """Publishes a result on the topics heard when it was begun, and its debug values; laps each topic's stage."""
        header = Header(stamp=ns_to_stamp(pick.stamp_ns), frame_id=pick.frame_id)
        for topic in wants.asked_by:
            if self._fits(topic, result):
                topic.publish(result, header, watch)
        self._publish_camera_info(header, result.view, *result.fused.shape[1::-1])
        self._publish_debug(pick, watch)

    def _fits(self, topic: Topic, result: FusionResult) -> bool:
        """Whether a result can go out on a topic: after a change of models one pair may still be of the old ones."""
        if topic.needs.fused:  # images for people show what there is
            return True
        if topic.needs.mask:
            return result.mask is not None and result.mask_classes == self._classes.mask
        return result.detections is not None and result.detection_classes == self._classes.detections

    def report(self, camera: str, error: Exception) -> None:
        """Hands an error to the camera that caused it; one of the pair as a whole counts as the RGB camera's."""
        source = self.inputs.get(camera) or self.inputs.get("rgb")
        if source is not None:
            source.note_error(error)

    def _publish_camera_info(self, header: Header, camera: str, width: int, height: int) -> None:
        """The calibration of the camera whose geometry and size the fused image has, which is the RGB camera."""
        info = self.inputs[camera].camera_info if camera in self.inputs else None
        if info is None or not self._camera_info.get_subscription_count():
            return
        if image_size(info) != (width, height):
            if not self._told_size:
                self._told_size = True
                size = "x".join(str(side) for side in image_size(info))
                what_to_do = (
                    "~/output/camera_info stays silent; "
                    f"remap ~/input/{camera}_camera_info to the topic of the same image"
                )
                self._node.get_logger().warning(
                    f"the {camera} camera's CameraInfo is for {size}, its images are {width}x{height}: "
                    + what_to_do.replace("~", self._root)
                )
            return
        info = copy.copy(info)
        info.header = header
        self._camera_info.publish(info)

    def _publish_debug(self, pick: Pick, watch: Stopwatch) -> None:
        now = self._node.get_clock().now()
        latency_ms = (now.nanoseconds - pick.stamp_ns) / 1e6
        self.latency_ms.add(latency_ms)
        steady_ns = time.monotonic_ns()
        values = {
            "processing_time_ms": watch.total_ms(),
            "pipeline_latency_ms": latency_ms,
        }
        if pick.dt_ns is not None:
            values["pair_dt_ms"] = pick.dt_ns / 1e6
        if self._last_published_ns is not None:
            values["cyclic_time_ms"] = (steady_ns - self._last_published_ns) / 1e6
        self._last_published_ns = steady_ns
        for name, value in values.items():
            if self._floats[name].get_subscription_count():
                self._floats[name].publish(_float_message(float(value), now.to_msg()))
        if pick.rgb is not None and pick.thermal is not None and self._pair_stamps.get_subscription_count():
            pair = TimeReference(time_ref=ns_to_stamp(pick.thermal.stamp_ns), source="thermal")
            pair.header = Header(stamp=ns_to_stamp(pick.rgb.stamp_ns), frame_id=pick.frame_id)
            self._pair_stamps.publish(pair)


def _float_message(value: float, stamp: Time) -> Any:
    return Float64Stamped(stamp=stamp, data=value) if Float64Stamped else Float64(data=value)
