"""Why nothing comes on an input: by topic, by node and by both profiles, since ROS 2 itself says nothing of it."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.qos import QoSProfile

from sage_fusion_ros.nodes.qos import describe, ends, unfit

COMPRESSED = "/compressed"
TYPES = {"raw": "sensor_msgs/msg/Image", "compressed": "sensor_msgs/msg/CompressedImage"}


def image_topic(base: str, transport: str) -> str:
    """The topic that carries an image, by image_transport's rule; a base that has the ending already keeps it.

    Args:
        base: Full name of the topic, after remapping.
        transport: "raw" or "compressed".
    """
    return base if transport == "raw" or base.endswith(COMPRESSED) else base + COMPRESSED


def publisher_profiles(node: Node, topic: str) -> str:
    """What the publishers of a topic offer, each profile once."""
    return "; ".join(sorted({describe(end.qos_profile) for end in ends(node, topic, "publishers")})[:3])


def why_nothing_comes(node: Node, camera: str, topic: str, transport: str, qos: QoSProfile) -> str:
    """What keeps images from coming, as far as the graph shows it.

    Args:
        node: Any node of the process.
        camera: "rgb" or "thermal".
        topic: What is subscribed to.
        transport: "raw" or "compressed".
        qos: Of the subscription.

    Returns:
        The cause and what to do; empty where the graph shows a publisher that fits.
    """
    other = "compressed" if transport == "raw" else "raw"
    hint = f"set image_transport.{camera} to {other}"
    there = ends(node, topic, "publishers")
    if not there:
        elsewhere = topic.removesuffix(COMPRESSED) if transport == "compressed" else topic + COMPRESSED
        if any(end.topic_type == TYPES[other] for end in ends(node, elsewhere, "publishers")):
            return f"no publisher on {topic}, but one on {elsewhere}: {hint}"
        return f"no publisher on {topic}: is the camera running, is the topic remapped?"
    kinds = sorted({end.topic_type for end in there})
    if TYPES[transport] not in kinds:
        what = hint if TYPES[other] in kinds else "remap it to a topic of images"
        return f"{topic} carries {', '.join(kinds)}, not {TYPES[transport]}: {what}"
    if others := unfit(node, topic, "publishers", qos):
        return f"QoS of {topic} does not fit {others}; asked for is {describe(qos)}: see qos.input.reliability"
    return ""
