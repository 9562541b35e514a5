"""QoS by name, and events for what does not fit, on every ROS 2 release the package runs on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy

try:  # Jazzy and later
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError


def profile(reliability: str, depth: int) -> QoSProfile:
    """A keep-last, volatile profile; reliability is "best_effort" or "reliable"."""
    policy = {"best_effort": ReliabilityPolicy.BEST_EFFORT, "reliable": ReliabilityPolicy.RELIABLE}[reliability]
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=policy)


def subscribe(
    node: Node,
    message_type: type,
    topic: str,
    callback: Callable[[Any], None],
    qos: QoSProfile,
    *,
    on_mismatch: Callable[[str], None],
    on_lost: Callable[[int], None],
    **options: Any,
) -> Any:
    """Subscribes, and hears of what the middleware would keep to itself.

    Args:
        node: The node that subscribes.
        message_type: Type of the topic.
        topic: Its name.
        callback: Called with each message.
        qos: The profile.
        on_mismatch: Called with the name of the policy in which a publisher does not fit.
        on_lost: Called with the total number of messages the middleware lost.
        **options: Of node.create_subscription.
    """

    def incompatible(event: Any) -> None:
        kind = event.last_policy_kind
        on_mismatch(kind.name if isinstance(kind, QoSPolicyKind) else _policy_name(kind))

    events = SubscriptionEventCallbacks(incompatible_qos=incompatible, message_lost=lambda e: on_lost(e.total_count))
    try:
        return node.create_subscription(message_type, topic, callback, qos, event_callbacks=events, **options)
    except UnsupportedEventTypeError:  # a middleware without such events still brings images
        return node.create_subscription(message_type, topic, callback, qos, **options)


def _policy_name(kind: int) -> str:
    return next((policy.name for policy in QoSPolicyKind if policy.value == kind), str(kind))


def latched() -> QoSProfile:
    """Reliable and transient local: whoever subscribes later still gets the last message."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    )
