"""Lifecycle transitions that do not fail in silence."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import Any

from lifecycle_msgs.srv import ChangeState
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


def answer_refused_transitions(node: LifecycleNode) -> None:
    """Makes change_state answer a transition that does not fit the state with success = false.

    Humble's and Jazzy's rclpy raise there instead: the caller waits for ever and the executor ends.
    """
    service = node._service_change_state
    change_state = service.callback

    def answered(request: ChangeState.Request, response: ChangeState.Response) -> ChangeState.Response:
        try:
            return change_state(request, response)
        except RuntimeError as error:  # rclpy's RCLError is one
            node.get_logger().error(f"transition refused: {error}")
            response.success = False
            return response

    service.callback = answered
