"""One output topic: what it needs of the pipeline, whether anybody listens, and how its message is filled."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_msgs.msg import Header

from sage_fusion_ros.nodes.qos import Mismatches, advertise
from sage_fusion_ros.pipeline.fusion_pipeline import Stopwatch, Wants
from sage_fusion_ros.pipeline.types import FusionResult


class Topic:
    """A publisher. Subclasses say what they need and fill the message; `needs`, `name` and `stage` are theirs.

    Attributes:
        name: The topic's name; of an instance, that below its root.
        stage: Name of its time in diagnostics.
        needs: What of a result it is filled from.
        mismatches: Subscriptions that do not fit in QoS.
    """

    name = ""
    stage = ""
    needs = Wants(fused=False)

    def __init__(self, node: Node, message_type: type, qos: QoSProfile, root: str = "~") -> None:
        self._node = node
        self.name = self.name.replace("~", root, 1)  # the topics of a pair with a name lie below it
        self.mismatches = Mismatches(node)
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
        return advertise(self._node, message_type, name, qos, self.mismatches)
