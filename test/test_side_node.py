"""The node that only listens: what it takes, what it survives, and that it ends."""

import threading
import time
from types import SimpleNamespace

import pytest
import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import String

from sage_fusion_ros.nodes import camera_input
from sage_fusion_ros.nodes.camera_input import CameraInput
from sage_fusion_ros.nodes.qos import subscribe
from sage_fusion_ros.nodes.side_node import SideNode


@pytest.fixture
def main_node():
    context = rclpy.Context()
    rclpy.init(context=context)
    node = Node("main", namespace="robot", context=context)
    yield node
    node.destroy_node()
    if context.ok():
        rclpy.shutdown(context=context)


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def send_until(publisher, data, arrived):
    """Sends again and again: what goes out before discovery is over reaches nobody."""

    def sent():
        publisher.publish(String(data=data))
        return arrived()

    wait_until(sent)


def test_each_topic_reaches_its_own_callback(main_node):
    side = SideNode(main_node, "inputs")
    heard = {"a": set(), "b": set()}
    for name, found in heard.items():
        side.node.create_subscription(String, f"/{name}", lambda message, found=found: found.add(message.data), 10)
    side.start()
    try:
        for name, found in heard.items():
            publisher = main_node.create_publisher(String, f"/{name}", 10)
            send_until(publisher, f"for {name}", lambda found=found: found)
        assert heard == {"a": {"for a"}, "b": {"for b"}}
        assert side.node.get_fully_qualified_name() == "/robot/main_inputs"
        assert not list(side.node.services), "nobody would answer them"
    finally:
        side.close()


def test_every_message_of_a_deep_queue_is_taken_in_order(main_node):
    side = SideNode(main_node, "inputs")
    heard, gate = [], threading.Event()

    def slow(message):
        gate.wait(20)
        heard.append(message.data)

    side.node.create_subscription(String, "/a", slow, 100)
    side.start()
    try:
        publisher = main_node.create_publisher(String, "/a", 100)
        wait_until(lambda: publisher.get_subscription_count())
        for i in range(50):  # all of them wait behind the first
            publisher.publish(String(data=str(i)))
        gate.set()
        wait_until(lambda: len(heard) >= 50)
        assert heard == [str(i) for i in range(50)]
    finally:
        gate.set()
        side.close()


def test_a_callback_that_fails_makes_the_node_deaf_to_nothing(main_node, caplog):
    side = SideNode(main_node, "inputs")
    heard = []

    def fail(message):
        heard.append(message.data)
        raise ValueError(message.data)

    side.node.create_subscription(String, "/a", fail, 10)
    side.start()
    try:
        publisher = main_node.create_publisher(String, "/a", 10)
        send_until(publisher, "bad", lambda: "bad" in heard)
        send_until(publisher, "next", lambda: "next" in heard)
        assert "a message to main_inputs could not be taken" in caplog.text
    finally:
        side.close()


def test_a_publisher_whose_qos_does_not_fit_is_told_of(main_node):
    side = SideNode(main_node, "inputs")
    told = []
    reliable, best_effort = (
        QoSProfile(depth=1, reliability=each) for each in (ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT)
    )
    subscribe(
        side.node, String, "/a", lambda message: None, reliable, on_mismatch=told.append, on_lost=lambda total: None
    )
    side.start()
    try:
        main_node.create_publisher(String, "/a", best_effort)
        wait_until(lambda: told)
        assert told == ["RELIABILITY"]
    finally:
        side.close()


def test_closing_ends_the_thread_also_where_nothing_comes_or_nothing_was_started(main_node):
    for started in (True, False):
        side = SideNode(main_node, "inputs")
        side.node.create_subscription(String, "/a", lambda message: None, 10)
        if started:
            side.start()
        side.close()
        assert "inputs" not in [thread.name for thread in threading.enumerate()]


def test_the_end_of_ros_ends_the_thread(main_node):
    side = SideNode(main_node, "inputs")
    side.start()
    rclpy.shutdown(context=main_node.context)
    wait_until(lambda: "inputs" not in [thread.name for thread in threading.enumerate()])
    side.close()


def test_a_camera_info_is_read_only_where_it_says_something_new(main_node, monkeypatch):
    side = SideNode(main_node, "inputs")
    camera = CameraInput(main_node, side.node, "rgb", "raw", QoSProfile(depth=1), lambda *_: None)
    read = []
    original = camera_input.deserialize_message
    monkeypatch.setattr(camera_input, "deserialize_message", lambda *a: read.append(1) or original(*a))

    def give(width, seconds):
        info = CameraInfo(width=width, height=48)
        info.header.frame_id, info.header.stamp.sec = "rgb_optical", seconds
        camera._on_camera_info(serialize_message(info))
        return SimpleNamespace(width=camera.camera_info.width, error=camera.health.info_error, times=len(read))

    assert give(64, 1) == SimpleNamespace(width=64, error="", times=1)
    assert give(64, 2).times == 1  # its stamp alone is another
    assert give(32, 3) == SimpleNamespace(width=32, error="", times=2)
    refused = give(0, 4)
    assert refused.width == 32
    assert "size is 0x48" in refused.error  # the last good one goes on serving
    assert give(32, 5) == SimpleNamespace(width=32, error="", times=4)  # and what was wrong is over
    side.close()
