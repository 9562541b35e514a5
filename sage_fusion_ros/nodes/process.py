"""How every node of the package starts and stops as a process."""

from __future__ import annotations

import ctypes
import logging
import signal
import sys
import threading
from collections.abc import Callable

import cv2
import rclpy
from rclpy.executors import Executor, ExternalShutdownException
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from sage_fusion_ros.errors import SageFusionError

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def keep_freed_memory() -> None:
    """Keeps freed image buffers in the process; without glibc it does nothing.

    By default glibc hands every large buffer back to the kernel and gets it anew, zeroed page by page: over half of
    the processor time it takes to receive an image (docs/architecture.md). Memory then stays at its highest mark, so
    there must be few places that keep it: glibc would give each of some thirty threads a heap of its own, up to eight
    for each core, and what one thread's heap has freed no other thread gets.
    """
    trim_threshold, top_pad, mmap_threshold, arena_max = -1, -2, -3, -8
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(mmap_threshold, 32 << 20)  # the most it takes; larger ones are no camera's
        mallopt(trim_threshold, 1 << 30)
        mallopt(top_pad, 16 << 20)
        mallopt(arena_max, 2)


def catch_signals() -> threading.Event:
    """An event that SIGINT and SIGTERM set."""
    stopped = threading.Event()
    for number in SIGNALS:
        signal.signal(number, lambda *_: stopped.set())
    return stopped


def ignore_signals() -> None:
    """For the end of a process: Python restores the default handlers while it exits, and a signal would still kill."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def run_node(
    name: str,
    make_node: Callable[[], Node],
    make_executor: Callable[[], Executor],
    args: list[str] | None = None,
    finished: Callable[[Node], bool] = lambda node: False,
) -> int:
    """Runs a node until SIGINT, SIGTERM or its own end.

    A signal only sets an event and further ones (ros2 launch sends a second) are ignored, so that nothing interrupts
    the clean-up, and the node is taken down in the one order that never aborts: executor, node, ROS.

    Returns:
        0 after a clean stop; 2, with one line on stderr, after an error the user can act on, raised by make_node,
        by finished or by the node's destroy_node.
    """
    keep_freed_memory()
    stopped = catch_signals()
    logging.basicConfig(level=logging.WARNING, format="[%(levelname)s] [%(name)s]: %(message)s")
    cv2.setNumThreads(1)  # the inference engine owns the cores; OpenCV's pool would only fight it
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    try:
        _run(name, make_node, make_executor, finished, stopped)
    except SageFusionError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    return 0


def _run(
    name: str,
    make_node: Callable[[], Node],
    make_executor: Callable[[], Executor],
    finished: Callable[[Node], bool],
    stopped: threading.Event,
) -> None:
    node, executor = None, None
    try:
        node = make_node()
        executor = make_executor()
        executor.add_node(node)
        while not stopped.is_set() and not finished(node):
            try:
                executor.spin_once(timeout_sec=0.2)
            except ExternalShutdownException:
                break
            except Exception:  # one callback that fails must not take the others with it
                logger.exception("a callback of %s failed", name)
    finally:
        ignore_signals()
        try:
            if executor is not None:
                executor.shutdown()
            if node is not None:
                node.destroy_node()
        finally:
            rclpy.try_shutdown()
