"""Boxes as Foxglove's image annotations, which its image panel draws over the fused image itself."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_msgs.msg import Header

from sage_fusion_ros.nodes.topic import Topic
from sage_fusion_ros.pipeline.fusion_pipeline import Wants
from sage_fusion_ros.pipeline.overlay import colour_of_class
from sage_fusion_ros.pipeline.types import Detections, FusionResult

THICKNESS = 2.0  # pixels
FONT_SIZE = 14.0  # pixels


class AnnotationsTopic(Topic):
    """foxglove_msgs/ImageAnnotations: a rectangle and a word for each box, in the overlay's colours."""

    name = "~/output/annotations"
    stage = "annotations"
    needs = Wants(fused=False, detections=True)

    def __init__(self, node: Node, messages: ModuleType, qos: QoSProfile, root: str = "~") -> None:
        super().__init__(node, messages.ImageAnnotations, qos, root)
        self._messages = messages

    def fill(self, result: FusionResult, header: Header) -> Any:
        """Annotations of the result's boxes."""
        return image_annotations(self._messages, result.detections, result.detection_classes, header)


def image_annotations(messages: ModuleType, detections: Detections, classes: Sequence[str], header: Header) -> Any:
    """Boxes as foxglove_msgs/ImageAnnotations.

    Args:
        messages: The module foxglove_msgs.msg.
        detections: Boxes in image pixels.
        classes: Name of each class id.
        header: Its stamp is what ties the annotations to their image; the type has no frame.
    """
    annotations = messages.ImageAnnotations()
    if hasattr(annotations, "timestamp"):  # newer releases; without boxes it is the only stamp
        annotations.timestamp = header.stamp
    dark = messages.Color(r=0.0, g=0.0, b=0.0, a=0.6)
    rows = zip(detections.xyxy.tolist(), detections.scores.tolist(), detections.class_ids.tolist(), strict=True)
    for (left, top, right, bottom), score, number in rows:
        red, green, blue = (float(value) / 255 for value in colour_of_class(classes[number]))
        colour = messages.Color(r=red, g=green, b=blue, a=1.0)
        corners = ((left, top), (right, top), (right, bottom), (left, bottom))
        annotations.points.append(
            messages.PointsAnnotation(
                timestamp=header.stamp,
                type=messages.PointsAnnotation.LINE_LOOP,
                points=[messages.Point2(x=x, y=y) for x, y in corners],
                outline_color=colour,
                thickness=THICKNESS,
            )
        )
        annotations.texts.append(
            messages.TextAnnotation(
                timestamp=header.stamp,
                position=messages.Point2(x=left, y=top),
                text=f"{classes[number]} {score:.2f}",
                font_size=FONT_SIZE,
                text_color=colour,
                background_color=dark,
            )
        )
    return annotations
