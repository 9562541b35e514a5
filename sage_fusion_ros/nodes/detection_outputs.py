"""Boxes as vision_msgs, and what the class numbers of boxes and mask mean."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_msgs.msg import Header

from sage_fusion_ros.nodes.qos import latched
from sage_fusion_ros.nodes.topic import Topic
from sage_fusion_ros.pipeline.fusion_pipeline import Wants
from sage_fusion_ros.pipeline.types import Detections, FusionResult


class DetectionsTopic(Topic):
    """vision_msgs/Detection2DArray, in pixels of the RGB image.

    Attributes:
        by_name: Whether a hypothesis' class_id is the class's name; its number as text otherwise.
    """

    name = "~/output/detections"
    stage = "detections"
    needs = Wants(fused=False, detections=True)

    by_name = True

    def __init__(self, node: Node, messages: ModuleType, qos: QoSProfile, root: str = "~") -> None:
        super().__init__(node, messages.Detection2DArray, qos, root)
        self._boxes = BoxMessages(messages)

    def fill(self, result: FusionResult, header: Header) -> Any:
        """One Detection2D a box; id stays empty, since nothing is tracked."""
        return self._boxes.array(result.detections, result.detection_classes, header, self.by_name)


class BoxMessages:
    """Boxes as vision_msgs/Detection2DArray, in messages that are made once and filled again for every image.

    To make one takes fifteen times as long as to fill it, mostly for a pose that nobody sets.

    Args:
        messages: The module vision_msgs.msg.
    """

    def __init__(self, messages: ModuleType) -> None:
        self._messages = messages
        self._made: list[Any] = []

    def array(self, detections: Detections, classes: Sequence[str], header: Header, by_name: bool) -> Any:
        """Boxes as a message whose detections are good until the next call.

        Args:
            detections: Boxes in image pixels.
            classes: Name of each class id.
            header: Of the array and of each detection.
            by_name: Whether class_id is the class's name; its number as text otherwise.
        """
        count = len(detections.scores)
        while len(self._made) < count:
            result = self._messages.ObjectHypothesisWithPose()
            self._made.append(self._messages.Detection2D(results=[result]))
        array = self._messages.Detection2DArray(header=header, detections=self._made[:count])
        # tolist() gives Python's own numbers, which the message's fields need.
        rows = zip(detections.xyxy.tolist(), detections.scores.tolist(), detections.class_ids.tolist(), strict=True)
        for detection, ((left, top, right, bottom), score, number) in zip(array.detections, rows, strict=True):
            detection.header = header
            box, hypothesis = detection.bbox, detection.results[0].hypothesis
            box.center.position.x, box.center.position.y = (left + right) / 2, (top + bottom) / 2
            box.size_x, box.size_y = right - left, bottom - top
            hypothesis.class_id = classes[number] if by_name else str(number)
            hypothesis.score = score
        return array


class LabelInfoTopic:
    """vision_msgs/LabelInfo beside a topic of class numbers, latched."""

    def __init__(self, node: Node, messages: ModuleType, topic: str) -> None:
        self._node = node
        self._messages = messages
        self._publisher = node.create_publisher(messages.LabelInfo, f"{topic}/label_info", latched())
        self._said: tuple[tuple[str, ...], float] = ((), 0.0)

    def announce(self, classes: tuple[str, ...], threshold: float = 0.0) -> None:
        """Publishes the classes, unless they and the threshold are those said last; no classes are said at first.

        Args:
            classes: Name of each class number.
            threshold: Least score of what is published, 0..1.
        """
        if (classes, threshold) == self._said or not (classes or self._said[0]):
            return
        self._said = (classes, threshold)
        message = self._messages.LabelInfo(threshold=float(threshold))
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.class_map = [
            self._messages.VisionClass(class_id=number, class_name=name) for number, name in enumerate(classes)
        ]
        self._publisher.publish(message)

    def close(self) -> None:
        """Destroys the publisher."""
        self._node.destroy_publisher(self._publisher)
