"""The topics that are images: fused, mask and overlay."""

from __future__ import annotations

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from sage_fusion_ros.nodes.messages import image_message
from sage_fusion_ros.nodes.topic import Topic
from sage_fusion_ros.pipeline.fusion_pipeline import Stopwatch, Wants
from sage_fusion_ros.pipeline.overlay import draw_overlay
from sage_fusion_ros.pipeline.types import FusionResult


class FusedTopic(Topic):
    """The fused image: rgb8 in the RGB image's size."""

    name = "~/output/fused"
    needs = Wants(fused=True)

    def __init__(self, node: Node, qos: QoSProfile) -> None:
        super().__init__(node, Image, qos)

    def publish(self, result: FusionResult, header: Header, watch: Stopwatch) -> None:
        """Sends the image; laps "encode" and "publish"."""
        message = image_message(result.fused, header)
        watch.lap("encode")
        self._publisher.publish(message)
        watch.lap("publish")


class MaskTopic(Topic):
    """The semantic mask: mono8 class ids in the fused image's size, 255 where nothing is known."""

    name = "~/output/mask"
    stage = "mask"
    needs = Wants(fused=False, mask=True)

    def __init__(self, node: Node, qos: QoSProfile) -> None:
        super().__init__(node, Image, qos)

    def fill(self, result: FusionResult, header: Header) -> Image:
        """The mask as it is."""
        return image_message(result.mask, header)


class ThermalValidTopic(Topic):
    """Where thermal reaches in the fused image: mono8, 255 there, 0 where RGB alone is shown."""

    name = "~/output/thermal_valid"
    stage = "thermal_valid"
    needs = Wants(fused=True)

    def __init__(self, node: Node, qos: QoSProfile) -> None:
        super().__init__(node, Image, qos)

    def fill(self, result: FusionResult, header: Header) -> Image:
        """The valid area; all of the image without registration."""
        valid = result.thermal_valid
        return image_message(np.full(result.fused.shape[:2], 255, np.uint8) if valid is None else valid, header)


class OverlayTopic(Topic):
    """The fused image with mask and boxes drawn into it, for people.

    Attributes:
        opacity: How strongly the mask covers the image, 0..1.
    """

    name = "~/output/overlay"
    stage = "overlay"
    needs = Wants(fused=True, mask=True, detections=True)

    opacity = 0.5

    def __init__(self, node: Node, qos: QoSProfile) -> None:
        super().__init__(node, Image, qos)

    def fill(self, result: FusionResult, header: Header) -> Image:
        """Draws what there is; a model without mask or boxes leaves these out."""
        drawn = draw_overlay(
            result.fused, result.mask, result.mask_classes, result.detections, result.detection_classes, self.opacity
        )
        return image_message(drawn, header)
