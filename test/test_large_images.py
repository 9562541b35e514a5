"""config/fastdds_large_images.xml: colour images between processes arrive, all of them."""

import os
import subprocess
import sys
import time

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from sage_fusion_ros.resources import fast_dds_profile

COUNT = 20

# Without the profile about one of forty such images arrives.
CAMERA = f"""
import array, time
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

rclpy.init()
node = rclpy.create_node("camera")
quality = QoSProfile(depth={COUNT}, reliability=ReliabilityPolicy.BEST_EFFORT)
publisher = node.create_publisher(Image, "large_image", quality)
while publisher.get_subscription_count() == 0:
    time.sleep(0.05)
image = Image(height=480, width=640, step=1920, encoding="rgb8", data=array.array("B", bytes(480 * 1920)))
for index in range({COUNT}):
    image.header.frame_id = str(index)
    publisher.publish(image)
    time.sleep(0.05)
input()
node.destroy_node()
rclpy.try_shutdown()
"""


@pytest.fixture
def receiver():
    """A node that keeps the indices of the images it gets, and the executor to spin it."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("receiver", context=context)
    received = []
    quality = QoSProfile(depth=COUNT, reliability=ReliabilityPolicy.BEST_EFFORT)
    node.create_subscription(Image, "large_image", lambda image: received.append(int(image.header.frame_id)), quality)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    yield executor, received
    executor.shutdown()
    node.destroy_node()
    context.shutdown()


def test_no_large_image_is_lost(receiver):
    executor, received = receiver
    camera = subprocess.Popen(
        [sys.executable, "-c", CAMERA], env=os.environ | fast_dds_profile({}), stdin=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 30
    while COUNT - 1 not in received and camera.poll() is None and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.1)
    camera.communicate("\n", timeout=30)
    assert camera.returncode == 0
    assert received == list(range(COUNT))
