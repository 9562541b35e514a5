"""One output topic: what it needs of the pipeline, whether anybody listens, and how its message is filled."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_msgs.msg import Header

from sage_fusion_ros.nodes.qos import advertise
from sage_fusion_ros.pipeline.fusion_pipeline import Stopwatch, Wants
from sage_fusion_ros.pipeline.types import FusionResult


class Topic:
    """A publisher. Subclasses say what they need and fill the message; `needs`, `name` and `stage` are theirs.

    Attributes:
        name: The topic's name.
        stage: Name of its time in diagnostics.
        needs: What of a result it is filled from.
        mismatches: By full topic, whose subscription does not fit in QoS; see qos.advertise.
    """

    name = ""
    stage = ""
    needs = Wants(fused=False)

    def __init__(self, node: Node, message_type: type, qos: QoSProfile) -> None:
        self._node = node
        self.mismatches: dict[str, str] = {}
        self._publisher = self._advertise(message_type, self.name, qos)

    def heard(self) -> bool:
        """Whether anybody listens now."""
        return bool(self._publisher.get_subscription_count())

    def fill(self, result: FusionResult, header: Header) -> Any:
        """The message for a result that has what the topic needs."""
        raise NotImplementedError

    def publish(self, result: FusionResult, header: Header, watch: Stopwatch) -> None:
        """Fills the message, sends it and laps its stage."""
        self._publisher.publish(self.fill(result, header))
        watch.lap(self.stage)

    def close(self) -> None:
        """Destroys the publisher."""
        self._node.destroy_publisher(self._publisher)

    def _advertise(self, message_type: type, name: str, qos: QoSProfile) -> Any:
        return advertise(self._node, message_type, name, qos, on_mismatch=self._on_mismatch)

    def _on_mismatch(self, topic: str, text: str) -> None:
        """Takes note of a subscription that gets nothing; logged once a topic."""
        if topic not in self.mismatches:
            self._node.get_logger().warning(f"{text}: set qos.output.reliability, or the subscription's QoS")
        self.mismatches[topic] = text
