"""The topics that are images: fused, mask and overlay, each raw and compressed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from sage_fusion_ros.nodes.messages import compressed_message, image_message
from sage_fusion_ros.nodes.topic import Topic
from sage_fusion_ros.pipeline.compressed_codec import Packing
from sage_fusion_ros.pipeline.fusion_pipeline import Stopwatch, Wants
from sage_fusion_ros.pipeline.overlay import draw_overlay
from sage_fusion_ros.pipeline.types import FusionResult


class ImageTopic(Topic):
    """An image as sensor_msgs/Image and, on `<topic>/compressed`, as image_transport's subscribers ask for it.

    The second name follows the first where that is remapped. Each is sent only to somebody who listens; the image is
    made once for both.

    Attributes:
        lossless: PNG, for images whose numbers mean something; JPEG otherwise.
        packing: How it is compressed; may change between two images.
    """

    lossless = False

    def __init__(self, node: Node, qos: QoSProfile, root: str = "~") -> None:
        super().__init__(node, Image, qos, root)
        self.packing = Packing()
        self._packed = self._advertise(CompressedImage, f"{node.resolve_topic_name(self.name)}/compressed", qos)

    def heard(self) -> bool:
        """Whether anybody listens now, to either kind."""
        return super().heard() or bool(self._packed.get_subscription_count())

    def image(self, result: FusionResult) -> npt.NDArray[Any]:
        """What is shown: uint8 HxWx3 RGB, or HxW."""
        raise NotImplementedError

    def publish(self, result: FusionResult, header: Header, watch: Stopwatch) -> None:
        """Makes the image and sends it to those who listen; laps its stage, and one more for compressing."""
        image = self.image(result)
        if super().heard():
            self._send(image, header, watch)
        if self._packed.get_subscription_count():
            self._packed.publish(compressed_message(image, header, lossless=self.lossless, packing=self.packing))
            watch.lap(f"{self.name.rpartition('/')[2]}_compressed")

    def close(self) -> None:
        """Destroys both publishers."""
        super().close()
        self._node.destroy_publisher(self._packed)

    def _send(self, image: npt.NDArray[Any], header: Header, watch: Stopwatch) -> None:
        self._publisher.publish(image_message(image, header))
        watch.lap(self.stage)


class FusedTopic(ImageTopic):
    """The fused image: rgb8 in the RGB image's size."""

    name = "~/output/fused"
    needs = Wants(fused=True)

    def image(self, result: FusionResult) -> npt.NDArray[Any]:
        """The image as it is."""
        return result.fused

    def _send(self, image: npt.NDArray[Any], header: Header, watch: Stopwatch) -> None:
        message = image_message(image, header)
        watch.lap("encode")
        self._publisher.publish(message)
        watch.lap("publish")


class MaskTopic(ImageTopic):
    """The semantic mask: mono8 class ids in the fused image's size, 255 where nothing is known."""

    name = "~/output/mask"
    stage = "mask"
    needs = Wants(fused=False, mask=True)
    lossless = True

    def image(self, result: FusionResult) -> npt.NDArray[Any]:
        """The mask as it is."""
        return np.asarray(result.mask)


class ThermalValidTopic(ImageTopic):
    """Where thermal reaches in the fused image: mono8, 255 there, 0 where RGB alone is shown."""

    name = "~/output/thermal_valid"
    stage = "thermal_valid"
    needs = Wants(fused=True)
    lossless = True

    def image(self, result: FusionResult) -> npt.NDArray[Any]:
        """The valid area; all of the image without registration."""
        valid = result.thermal_valid
        return np.full(result.fused.shape[:2], 255, np.uint8) if valid is None else valid


class OverlayTopic(ImageTopic):
    """The fused image with mask and boxes drawn into it, for people.

    Attributes:
        opacity: How strongly the mask covers the image, 0..1.
    """

    name = "~/output/overlay"
    stage = "overlay"
    needs = Wants(fused=True, mask=True, detections=True)

    opacity = 0.5

    def image(self, result: FusionResult) -> npt.NDArray[Any]:
        """Draws what there is; a model without mask or boxes leaves these out."""
        return draw_overlay(
            result.fused, result.mask, result.mask_classes, result.detections, result.detection_classes, self.opacity
        )
