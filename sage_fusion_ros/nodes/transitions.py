"""Lifecycle transitions that do not fail in silence."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import Any

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

Transition = Callable[[Any, LifecycleState], TransitionCallbackReturn]


def told(transition: Transition) -> Transition:
    """Logs what a transition raises, which rclpy turns into an error state without a word."""

    @functools.wraps(transition)
    def wrapped(node: LifecycleNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except Exception as error:
            node.get_logger().error(f"{transition.__name__} failed: {error!r}\n{traceback.format_exc()}")
            raise

    return wrapped
