"""A second node beside the main one, with an executor and a thread of its own (docs/architecture.md says why)."""

from __future__ import annotations

import logging
import threading

from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

logger = logging.getLogger(__name__)


class SideNode:
    """A node that listens for another one.

    Attributes:
        node: Where subscriptions are made, before start.

    Args:
        beside: The main node; this one is called as it is, with the suffix, in its namespace.
        suffix: What this one is for, such as "inputs".
    """

    def __init__(self, beside: Node, suffix: str) -> None:
        # Not the global arguments: a remapped node name would make the two nodes namesakes.
        self.node = Node(
            f"{beside.get_name()}_{suffix}",
            namespace=beside.get_namespace(),
            context=beside.context,
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )
        self._executor = SingleThreadedExecutor(context=beside.context)
        self._closed = False
        self._thread = threading.Thread(target=self._spin, name=suffix, daemon=True)

    def start(self) -> None:
        """Begins to listen."""
        self._executor.add_node(self.node)
        self._thread.start()

    def close(self) -> None:
        """Stops listening."""
        self._closed = True
        self._executor.shutdown()
        self._thread.join()
        self.node.destroy_node()

    def _spin(self) -> None:
        """Listens until it is closed: a message that makes its callback fail must not make the node deaf to others."""
        while not self._closed:
            try:
                self._executor.spin()
                return
            except ExternalShutdownException:
                return
            except Exception:
                logger.exception("a message to %s could not be taken", self.node.get_name())
