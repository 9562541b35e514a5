"""QoS by name, and events for what does not fit, on every ROS 2 release the package runs on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.qos import HistoryPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy

try:  # Jazzy and later
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks


def profile(reliability: str, depth: int) -> QoSProfile:
    """A keep-last, volatile profile; reliability is "best_effort" or "reliable"."""
    policy = {"best_effort": ReliabilityPolicy.BEST_EFFORT, "reliable": ReliabilityPolicy.RELIABLE}[reliability]
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=policy)


def subscription_events(on_mismatch: Callable[[str], None], on_lost: Callable[[int], None]) -> Any:
    """Event callbacks of a subscription.

    Args:
        on_mismatch: Called with the name of the policy in which a publisher does not fit.
        on_lost: Called with the total number of messages the middleware lost.
    """

    def incompatible(event: Any) -> None:
        kind = event.last_policy_kind
        on_mismatch(kind.name if isinstance(kind, QoSPolicyKind) else _policy_name(kind))

    return SubscriptionEventCallbacks(incompatible_qos=incompatible, message_lost=lambda e: on_lost(e.total_count))


def _policy_name(kind: int) -> str:
    return next((policy.name for policy in QoSPolicyKind if policy.value == kind), str(kind))
