"""A second node beside the main one that only listens, on a thread and a wait set of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from rclpy.impl.implementation_singleton import rclpy_implementation as rclpy_c
from rclpy.node import Node
from rclpy.parameter import Parameter

logger = logging.getLogger(__name__)

_LOOK_NS = 250_000_000  # how often QoS events are looked at, and whether ROS has been shut down


class SideNode:
    """A node that listens for another one: to subscriptions that were made before it starts, and their QoS events.

    rclpy's executors collect all entities of all nodes anew before each message, make it a task, and wake themselves
    twice for each. Here the entities never change, so they are collected once (docs/architecture.md has the figures).
    The calls are those that executors make, and the same from Humble to Lyrical.

    Attributes:
        node: Where subscriptions are made, before start. Callbacks take the message alone.

    Args:
        beside: The main node; this one is called as it is, with the suffix, in its namespace.
        suffix: What this one is for, such as "inputs".
    """

    def __init__(self, beside: Node, suffix: str) -> None:
        # Not the global arguments: a remapped node name would make the two nodes namesakes. And no services of its
        # own, which nobody would answer.
        self.node = Node(
            f"{beside.get_name()}_{suffix}",
            namespace=beside.get_namespace(),
            context=beside.context,
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
            parameter_overrides=[Parameter("start_type_description_service", value=False)],
        )
        self._wake = self.node.create_guard_condition(lambda: None)
        self._closed = False
        self._thread = threading.Thread(target=self._listen, name=suffix, daemon=True)

    def start(self) -> None:
        """Begins to listen."""
        self._thread.start()

    def close(self) -> None:
        """Stops listening."""
        self._closed = True
        self._wake.trigger()
        if self._thread.ident is not None:
            self._thread.join()
        self.node.destroy_node()

    def _listen(self) -> None:
        """Takes messages until it is closed, or ROS is shut down."""
        subscriptions, events = list(self.node.subscriptions), list(self.node.waitables)
        context = self.node.context
        with ExitStack() as in_use:  # so that nothing is freed that is being waited for
            for used in (context.handle, self._wake.handle, *(each.handle for each in subscriptions), *events):
                in_use.enter_context(used)
            messages = rclpy_c.WaitSet(len(subscriptions), 1, 0, 0, 0, 0, context.handle)
            count = sum(event.get_num_entities().num_events for event in events)
            happened = rclpy_c.WaitSet(0, 0, 0, 0, 0, count, context.handle)
            look_ns = 0
            while not self._closed and context.ok():
                # Apart, and seldom: there are three times as many events as topics, and each would be added anew for
                # every message.
                if time.monotonic_ns() >= look_ns:
                    self._tell_events(happened, events)
                    look_ns = time.monotonic_ns() + _LOOK_NS
                self._take_messages(messages, subscriptions)

    def _take_messages(self, wait_set: Any, subscriptions: Sequence[Any]) -> None:
        """Waits for messages, for so long at most as events may, and has one of each topic that has any taken."""
        wait_set.clear_entities()
        wait_set.add_guard_condition(self._wake.handle)
        for subscription in subscriptions:
            wait_set.add_subscription(subscription.handle)
        wait_set.wait(_LOOK_NS)
        ready = wait_set.get_ready_entities("subscription")
        for subscription in subscriptions:
            if subscription.handle.pointer in ready:
                self._guarded(_take, subscription)

    def _tell_events(self, wait_set: Any, events: Sequence[Any]) -> None:
        """Has every event that has happened since the last time told."""
        wait_set.clear_entities()
        for event in events:
            event.add_to_wait_set(wait_set)
        wait_set.wait(0)
        for event in events:
            if event.is_ready(wait_set):
                self._guarded(_tell, event)

    def _guarded(self, work: Callable[[Any], None], entity: Any) -> None:
        """A message that makes its callback fail must not make the node deaf to others."""
        try:
            work(entity)
        except Exception:
            logger.exception("a message to %s could not be taken", self.node.get_name())


def _take(subscription: Any) -> None:
    taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
    if taken is not None:
        subscription.callback(taken[0])


def _tell(event: Any) -> None:
    """Runs an event's coroutine, which waits for nothing, to its end."""
    coroutine = event.execute(event.take_data())
    try:
        while True:
            coroutine.send(None)
    except StopIteration:
        pass
