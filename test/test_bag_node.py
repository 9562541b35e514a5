"""A bag from `bag make`, played into fusion_node as it is: what comes out is what `bag fuse` writes."""

import json
import time

import numpy as np
import pytest
from bag_files import assert_equal, read_messages, run, stamp_of
from message_packages import messages_of
from mock_models import make_model
from mock_perception import make_perception
from source_files import write_pair

pytest.importorskip("rosbags")
pytest.importorskip("rclpy")
PAIRS = 5
KINDS = ("fused", "mask", "detections", "overlay", "thermal_valid")


def play(bag, rig, arrived):
    """Publishes a bag's messages as bytes, under the recorded names and QoS; a pair at a time."""
    from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
    from rosbags.rosbag2 import Reader
    from sensor_msgs.msg import CameraInfo, CompressedImage, Image

    types = {f"sensor_msgs/msg/{kind.__name__}": kind for kind in (Image, CompressedImage, CameraInfo)}
    with Reader(bag) as reader:
        publishers = {}
        for connection in reader.connections:
            (qos,) = connection.ext.offered_qos_profiles
            profile = QoSProfile(
                history=HistoryPolicy(qos.history.value),
                depth=qos.depth,
                reliability=ReliabilityPolicy(qos.reliability.value),
                durability=DurabilityPolicy(qos.durability.value),
            )
            publishers[connection.topic] = rig.node.create_publisher(
                types[connection.msgtype], connection.topic, profile
            )
        rig.wait(lambda: all(p.get_subscription_count() for p in publishers.values()), "the node's subscriptions")
        messages = list(reader.messages())
        for index in range(PAIRS):
            # Sent again where it does not come: the node may see a publisher a moment later than that sees the node.
            for _ in range(10):
                for connection, _, data in messages[index * 4 : index * 4 + 4]:
                    publishers[connection.topic].publish(bytes(data))
                end = time.monotonic() + 3
                while not arrived(index + 1) and time.monotonic() < end:
                    time.sleep(0.01)
                if arrived(index + 1):
                    break
            rig.wait(lambda count=index + 1: arrived(count), f"pair {index}")


def test_the_node_gives_what_the_fused_bag_holds(tmp_path):
    from node_rig import NodeRig
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import Image

    from sage_fusion_ros.bags.typestore import DETECTIONS, IMAGE, LABEL_INFO
    from sage_fusion_ros.nodes.qos import latched
    from sage_fusion_ros.pipeline.pixel_maps import HomographyMap
    from sage_fusion_ros.sources.calibration_file import Calibration, write_calibration

    models = tmp_path / "models"
    make_model(models / "brighter", "Max")
    make_perception(models / "looker", input_side=64)
    for index in range(PAIRS):
        write_pair(tmp_path / "set", f"{index}", index=index * 6)
    assert run("make", tmp_path / "set", "--output", tmp_path / "bag") == 0
    write_calibration(
        tmp_path / "half.yaml", Calibration(HomographyMap((1, 0, -20, 0, 1, 3, 0, 0, 1), (64, 48), (64, 48)))
    )
    parameters = {
        "fusion.model": "brighter",
        "perception.model": "looker",
        "output.thermal_tint": 0.5,
        "registration.method": "homography",
        "registration.file": tmp_path / "half.yaml",
    }
    words = [word for name, value in parameters.items() for word in ("--set", f"{name}:={value}")]
    places = json.dumps([str(models)])
    outputs = ("--outputs", *KINDS)
    assert (
        run("fuse", tmp_path / "bag", "--output", tmp_path / "out", "--set", f"models.path:={places}", *words, *outputs)
        == 0
    )

    vision = messages_of("vision_msgs")
    kinds = {kind: (vision.Detection2DArray, DETECTIONS) if kind == "detections" else (Image, IMAGE) for kind in KINDS}
    heard = {kind: [] for kind in KINDS}

    def of_the_bag(kind):
        """What was heard but for the pairs of today, which came before."""
        return [message for message in heard[kind] if message.header.stamp.sec < 1000]

    labels = {"mask": [], "detections": []}
    with NodeRig(models, **parameters) as rig:
        for kind, (message_type, _) in kinds.items():
            topic = f"/fusion_node/output/{kind}"
            rig.node.create_subscription(message_type, topic, heard[kind].append, QoSProfile(depth=10))
            rig.wait(lambda topic=topic: rig.node.count_publishers(topic), f"the publisher of {topic}")
        for kind, found in labels.items():
            topic = f"/fusion_node/output/{kind}/label_info"
            rig.node.create_subscription(vision.LabelInfo, topic, found.append, latched())
        rig.wait(lambda: all(labels.values()), "the labels")
        rig.wait_for_subscriptions()
        for _ in range(100):  # until the node knows of every subscription
            rig.fuse_one()
            if all(heard.values()):
                break
        last = rig.send()  # once it is back, nothing of today is on its way any more
        rig.wait(lambda: stamp_of(rig.fused[-1]) == last, "the last pair of today")
        play(tmp_path / "bag", rig, lambda count: all(len(of_the_bag(kind)) == count for kind in KINDS))
    for kind, (_, name) in kinds.items():
        ours = [message for _, _, message in read_messages(tmp_path / "out/bag", f"/fusion_node/output/{kind}")]
        for written, published in zip(ours, of_the_bag(kind), strict=True):
            assert_equal(written, published, name)
    for kind, found in labels.items():
        ((_, _, ours),) = read_messages(tmp_path / "out/bag", f"/fusion_node/output/{kind}/label_info")
        ours.header.stamp.sec, ours.header.stamp.nanosec = found[0].header.stamp.sec, found[0].header.stamp.nanosec
        assert_equal(ours, found[0], LABEL_INFO)  # but for the time at which it was said
    assert 0 < np.mean(heard["thermal_valid"][0].data) < 255, "thermal reaches a part of the image"
    assert np.ptp([image.data[0] for image in of_the_bag("fused")]) > 0, "the pairs differ"


def test_a_compressed_bag_plays_into_the_node_as_it_is(tmp_path):
    from node_rig import NodeRig

    make_model(tmp_path / "models" / "sage_fast", "Max")
    for index in range(PAIRS):
        write_pair(tmp_path / "set", f"{index}", index=index * 6)
    assert run("make", tmp_path / "set", "--output", tmp_path / "bag", "--images", "compressed") == 0
    sent = [stamp_of(m) for _, _, m in read_messages(tmp_path / "bag", "/fusion_node/input/rgb/compressed")]
    transports = {"image_transport.rgb": "compressed", "image_transport.thermal": "compressed"}
    with NodeRig(tmp_path / "models", **transports) as rig:
        rig.wait(lambda: rig.node.count_publishers("/fusion_node/output/fused"), "the node's publisher")
        play(tmp_path / "bag", rig, lambda count: len(rig.fused) == count)
        assert [stamp_of(message) for message in rig.fused] == sent
        rig.wait(lambda: rig.value("input rgb", "received") == str(PAIRS), "all of them in diagnostics")
        assert rig.value("input rgb", "unreadable") == rig.value("input thermal", "unreadable") == "0"
        assert rig.value("input rgb", "encoding") == "rgb8; jpeg compressed bgr8"
        assert "png compressed" in rig.value("input thermal", "encoding")
