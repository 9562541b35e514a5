"""QoS by name, overrides, and events for what does not fit, on every ROS 2 release the package runs on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    LivelinessPolicy,
    QoSCompatibility,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)

from sage_fusion_ros.errors import ParameterError

try:  # Jazzy and later
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks, UnsupportedEventTypeError

OVERRIDES = "qos_overrides."
_BY_NAME = {
    "reliability": ReliabilityPolicy,
    "durability": DurabilityPolicy,
    "history": HistoryPolicy,
    "liveliness": LivelinessPolicy,
}
_DURATIONS = ("deadline", "lifespan", "liveliness_lease_duration")  # in nanoseconds
_NO_DEADLINE = 1 << 60  # ns; what ROS calls infinite differs between middlewares and lies above


def profile(reliability: str, depth: int) -> QoSProfile:
    """A keep-last, volatile profile; reliability is "best_effort" or "reliable"."""
    policy = {"best_effort": ReliabilityPolicy.BEST_EFFORT, "reliable": ReliabilityPolicy.RELIABLE}[reliability]
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=policy)


def latched() -> QoSProfile:
    """Reliable and transient local: whoever subscribes later still gets the last message."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    )


def overridden(node: Node, topic: str, kind: str, qos: QoSProfile) -> QoSProfile:
    """A profile with what the node's parameters `qos_overrides.<topic>.<kind>.<policy>` say, as ROS names them.

    Args:
        node: Whose parameters count.
        topic: Full name, after remapping.
        kind: "publisher" or "subscription".
        qos: What holds where no parameter says otherwise; it stays as it is.

    Raises:
        ParameterError: A policy or its value is unknown.
    """
    given = node.get_parameters_by_prefix(f"{OVERRIDES}{topic}.{kind}")
    if not given:
        return qos
    changed = QoSProfile(**{name: getattr(qos, name) for name in ("depth", *_BY_NAME, *_DURATIONS)})
    for policy, parameter in sorted(given.items()):
        name = f"{OVERRIDES}{topic}.{kind}.{policy}"
        setattr(changed, policy, _policy(name, policy, parameter.value))
    return changed


def check_overrides(node: Node) -> None:
    """Holds every override that a node was given to what QoS knows, whichever topic it is for.

    Raises:
        ParameterError: A policy or its value is unknown.
    """
    for rest, parameter in node.get_parameters_by_prefix(OVERRIDES.rstrip(".")).items():
        *_, policy = rest.rpartition(".")
        _policy(f"{OVERRIDES}{rest}", policy, parameter.value)


def unused_overrides(node: Node, subscriptions: Iterable[str]) -> list[str]:
    """Overrides that no topic has taken, which ROS passes over in silence: names of parameters.

    Args:
        node: Whose parameters and publishers count.
        subscriptions: Full names of the topics subscribed to with overrides.
    """
    taken = [f"{topic}.subscription" for topic in (*subscriptions, "/clock", "/parameter_events")]
    taken += [f"{publisher.topic_name}.publisher" for publisher in node.publishers]
    names = node.get_parameters_by_prefix(OVERRIDES.rstrip("."))
    return [f"{OVERRIDES}{rest}" for rest in sorted(names) if rest.rpartition(".")[0] not in taken]


def _policy(name: str, policy: str, value: Any) -> Any:
    if policy in _BY_NAME:
        known = {entry.name.lower(): entry for entry in _BY_NAME[policy] if entry.name.lower() != "unknown"}
        if value not in known:
            raise ParameterError(f"parameter {name} is {value!r}; expected {' | '.join(known)}")
        return known[value]
    if policy == "depth" or policy in _DURATIONS:
        if type(value) is not int or value < 0:
            unit = "messages" if policy == "depth" else "nanoseconds"
            raise ParameterError(f"parameter {name} is {value!r}; expected a whole number of {unit}")
        return value if policy == "depth" else Duration(nanoseconds=value)
    raise ParameterError(
        f"parameter {name} names no policy; the policies are {', '.join(('depth', *_BY_NAME, *_DURATIONS))}"
    )


def describe(qos: QoSProfile) -> str:
    """A profile in the words that decide whether two ends fit: "best_effort, volatile, depth 5"."""
    words = [qos.reliability.name.lower(), qos.durability.name.lower()]
    if 0 < qos.deadline.nanoseconds < _NO_DEADLINE:
        words.append(f"deadline {qos.deadline.nanoseconds / 1e6:g} ms")
    if qos.liveliness in (LivelinessPolicy.MANUAL_BY_TOPIC,):
        words.append("liveliness manual_by_topic")
    if qos.depth:  # which is not told of others
        words.append(f"depth {qos.depth}")
    return ", ".join(words)


def ends(node: Node, topic: str, of: str) -> list[Any]:
    """What is known of a topic's other ends: "publishers" or "subscriptions"."""
    find = node.get_publishers_info_by_topic if of == "publishers" else node.get_subscriptions_info_by_topic
    return list(find(topic))


def unfit(node: Node, topic: str, of: str, qos: QoSProfile) -> str:
    """The other ends of a topic whose QoS does not fit ours, each by its node's name and profile; empty without any."""
    texts = []
    for end in ends(node, topic, of):
        offered, asked = (end.qos_profile, qos) if of == "publishers" else (qos, end.qos_profile)
        if qos_check_compatible(offered, asked)[0] == QoSCompatibility.ERROR:
            name = f"{end.node_namespace.rstrip('/')}/{end.node_name}"
            # A node's name comes a little after its topics.
            texts.append(f"{'a node' if '_UNKNOWN_' in name else name} ({describe(end.qos_profile)})")
    return "; ".join(sorted(set(texts))[:3])


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
    events = SubscriptionEventCallbacks(
        incompatible_qos=lambda e: on_mismatch(_policy_name(e.last_policy_kind)),
        message_lost=lambda e: on_lost(e.total_count),
    )
    try:
        return node.create_subscription(message_type, topic, callback, qos, event_callbacks=events, **options)
    except UnsupportedEventTypeError:  # a middleware without such events still brings images
        return node.create_subscription(message_type, topic, callback, qos, **options)


class Mismatches:
    """Subscriptions that do not fit a node's publishers: noted when ROS tells of them, put in words when asked."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._found: dict[str, tuple[str, QoSProfile]] = {}
        self._told: set[str] = set()

    def note(self, topic: str, policy: str, qos: QoSProfile) -> None:
        """Takes note of a topic (full name), the policy in question and what the publisher offers."""
        self._found[topic] = (policy, qos)

    def texts(self) -> list[str]:
        """What does not fit now, by topic, subscriber and both profiles; who has left is not told any more."""
        texts = []
        for topic, (policy, qos) in list(self._found.items()):
            if who := unfit(self._node, topic, "subscriptions", qos):
                texts.append(f"QoS {policy} of {topic} does not fit {who}; offered is {describe(qos)}")
        return texts

    def tell(self) -> None:
        """Logs each of them once."""
        for text in self.texts():
            if text not in self._told and len(self._told) < 100:
                self._told.add(text)
                self._node.get_logger().warning(f"{text}: set qos.output.reliability, or the subscription's QoS")


def advertise(node: Node, message_type: type, topic: str, qos: QoSProfile, mismatches: Mismatches) -> Any:
    """Makes a publisher, with the node's overrides, that hears of subscriptions that do not fit it.

    Args:
        node: The node that publishes.
        message_type: Type of the topic.
        topic: Its name, before remapping.
        qos: The profile without overrides.
        mismatches: Where they are noted.

    Raises:
        ParameterError: An override is no QoS.
    """
    full = node.resolve_topic_name(topic)
    qos = overridden(node, full, "publisher", qos)

    try:
        events = PublisherEventCallbacks(
            incompatible_qos=lambda e: mismatches.note(full, _policy_name(e.last_policy_kind), qos)
        )
        return node.create_publisher(message_type, topic, qos, event_callbacks=events)
    except UnsupportedEventTypeError:
        return node.create_publisher(message_type, topic, qos)


def _policy_name(kind: Any) -> str:
    if isinstance(kind, QoSPolicyKind):
        return kind.name
    return next((policy.name for policy in QoSPolicyKind if policy.value == kind), str(kind))
