"""The messages of a bag are those of the node: its own builders fill the same fields with the same values."""

import numpy as np
import pytest
from bag_files import assert_equal
from message_packages import messages_of

from sage_fusion_ros.bags import messages
from sage_fusion_ros.bags.typestore import CAMERA_INFO, DETECTIONS, IMAGE, LABEL_INFO, TIME_REFERENCE, typestore
from sage_fusion_ros.pipeline.types import Detections

pytest.importorskip("rosbags")
pytest.importorskip("rclpy.serialization")
STAMP = 1_700_000_000_987_654_321
NO_BOXES = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
CLASSES = ("car", "person", "bicycle")
BOXES = Detections(
    np.float32([[1.5, 2.25, 30.125, 40.0625], [0, 0, 1e-3, 1e3]]), np.float32([0.9, 0.1]), np.array([1, 2], np.int64)
)


def ros_header(frame_id="camera"):
    from std_msgs.msg import Header

    from sage_fusion_ros.nodes.messages import ns_to_stamp

    return Header(stamp=ns_to_stamp(STAMP), frame_id=frame_id)


@pytest.mark.parametrize(
    "pixels",
    [
        np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3),
        np.arange(5 * 7, dtype=np.uint8).reshape(5, 7),
        np.arange(5 * 7, dtype=np.uint16).reshape(5, 7) * 999,
        np.linspace(-1, 1, 35, dtype=np.float32).reshape(5, 7),
        np.arange(200, dtype=np.uint8).reshape(10, 20)[::2, ::2],
    ],
    ids=["rgb8", "mono8", "mono16", "32FC1", "strided"],
)
def test_images(pixels):
    from sage_fusion_ros.nodes.messages import image_message

    ours = messages.image(pixels, messages.header(STAMP, "camera"))
    assert_equal(ours, image_message(pixels, ros_header()), IMAGE)


@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize("boxes", [BOXES, NO_BOXES], ids=["two", "none"])
def test_detections(boxes, by_name):
    from sage_fusion_ros.nodes.detection_outputs import BoxMessages

    theirs = BoxMessages(messages_of("vision_msgs")).array(boxes, CLASSES, ros_header(), by_name)
    ours = messages.detection_array(boxes, CLASSES, messages.header(STAMP, "camera"), by_name)
    assert_equal(ours, theirs, DETECTIONS)


def test_label_infos():
    from sage_fusion_ros.nodes.detection_outputs import LabelInfoTopic

    vision = messages_of("vision_msgs")
    said = []

    class Node:
        """Takes what is published, and knows the time."""

        def create_publisher(self, *_):
            return type("Publisher", (), {"publish": lambda _, message: said.append(message)})()

        def get_clock(self):
            return self

        def now(self):
            return self

        def to_msg(self):
            return ros_header().stamp

    LabelInfoTopic(Node(), vision, "~/output/detections").announce(CLASSES, 0.3)
    assert_equal(messages.label_info(CLASSES, messages.header(STAMP), 0.3), said[0], LABEL_INFO)


def test_calibrations_and_pair_stamps():
    from sensor_msgs.msg import CameraInfo, TimeReference

    from sage_fusion_ros.nodes.messages import ns_to_stamp

    unknown = CameraInfo(header=ros_header(), width=640, height=480)
    assert_equal(messages.camera_info(640, 480, messages.header(STAMP, "camera"), None), unknown, CAMERA_INFO)
    reference = TimeReference(header=ros_header(), time_ref=ns_to_stamp(STAMP + 5), source="thermal")
    ours = messages.time_reference(messages.header(STAMP, "camera"), STAMP + 5, "thermal")
    assert_equal(ours, reference, TIME_REFERENCE)


def test_types_are_those_that_the_node_publishes():
    """A subscription is made by the type's hash as well as by its name."""
    for name, module in ((DETECTIONS, "vision_msgs"), (LABEL_INFO, "vision_msgs")):
        theirs = getattr(messages_of(module), name.rpartition("/")[2])
        hashed = getattr(theirs, "_TYPE_HASH", None) or _hash_from_share(name)
        assert typestore().hash_rihs01(name) == hashed


def _hash_from_share(name):
    """The hash in the JSON description that the message generators install."""
    import json
    import os
    from pathlib import Path

    package, _, kind = name.split("/")
    for prefix in os.environ["AMENT_PREFIX_PATH"].split(os.pathsep):
        file = Path(prefix) / "share" / package / "msg" / f"{kind}.json"
        if file.is_file():
            found = json.loads(file.read_text())
            return next(entry["hash_string"] for entry in found["type_hashes"] if entry["type_name"] == name)
    pytest.skip("no type description of this ROS install")
    return None
