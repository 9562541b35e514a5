"""fusion_node and how images travel: compressed cameras and outputs, QoS overrides, hostile messages over real DDS."""

import array
import struct

import cv2
import numpy as np
import pytest
from mock_models import make_model
from node_rig import MS, NodeRig, stamp_of, to_message
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image

from sage_fusion_ros.pipeline.compressed_codec import decode, encode_compressed

RGB = np.full((48, 64, 3), (90, 60, 40), np.uint8)
COUNTS = np.full((48, 64), 29000, np.uint16)
COUNTS[10:20, 10:20] = 31000


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    make_model(folder / "sage_fast", "Max")
    return folder


def pack(image, stamp_ns, frame_id="rgb_optical", lossless=False, **changes):
    """An array as sensor_msgs/CompressedImage; changes overwrite fields."""
    packed = encode_compressed(image, lossless=lossless)
    message = CompressedImage(format=changes.get("format", packed.format), data=changes.get("data", packed.data))
    message.header.frame_id = changes.get("frame_id", frame_id)
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 1_000_000_000)
    return message


class Cameras:
    """Plays compressed cameras, of which either may be hostile."""

    def __init__(self, rig):
        self.rig = rig
        self.publishers = {
            camera: rig.node.create_publisher(CompressedImage, f"/fusion_node/input/{camera}/compressed", 10)
            for camera in ("rgb", "thermal")
        }
        rig.wait(lambda: all(p.get_subscription_count() for p in self.publishers.values()), "the subscriptions")

    def send(self, **hostile):
        rig = self.rig
        rig.index += 1
        stamp = rig.base_ns + rig.index * 33 * MS
        self.publishers["rgb"].publish(pack(RGB, stamp, **hostile))
        self.publishers["thermal"].publish(pack(COUNTS, stamp, "thermal_optical", lossless=True))
        return stamp

    def fuse_one(self):
        first, seen = self.send(), len(self.rig.fused)
        found = []

        def came():
            found[:] = [m for m in self.rig.fused[seen:] if stamp_of(m) >= first]
            return found or not self.send()

        self.rig.wait(came, "a fused pair")
        return found[0]


@pytest.fixture(scope="module")
def rig(models):
    transports = {f"image_transport.{camera}": "compressed" for camera in ("rgb", "thermal")}
    with NodeRig(models, **transports) as rig:
        rig.cameras = Cameras(rig)
        yield rig


def test_compressed_cameras_are_fused_and_all_sixteen_bits_arrive(rig):
    fused = rig.cameras.fuse_one()
    image = decode(fused).astype(int)
    assert fused.header.frame_id == "rgb_optical"
    assert image[15, 15].mean() > 200 > 90 > image[40, 40].mean(), "thermal's counts are normalised, not its high byte"
    assert (image[40, 40, 0] - image[40, 40, 2]) == pytest.approx(50, abs=6), "colours in their order"
    rig.wait(lambda: rig.value("input rgb", "encoding") == "rgb8; jpeg compressed bgr8", "the format in diagnostics")
    assert rig.value("input thermal", "encoding") == "mono16; png compressed"
    assert rig.value("input thermal", "topic") == "/fusion_node/input/thermal/compressed"
    assert rig.value("input rgb", "size") == "64x48"


def test_outputs_are_compressed_for_those_who_ask(rig):
    found = {"fused": [], "thermal_valid": []}
    subscriptions = [
        rig.node.create_subscription(CompressedImage, f"/fusion_node/output/{name}/compressed", messages.append, 10)
        for name, messages in found.items()
    ]
    try:
        rig.wait(lambda: all(found.values()) or not rig.cameras.send(), "both compressed outputs")
    finally:
        for subscription in subscriptions:
            rig.node.destroy_subscription(subscription)
    packed = found["fused"][-1]
    rig.wait(lambda: stamp_of(packed) in {stamp_of(m) for m in rig.fused}, "the raw image of the same stamp")
    raw = next(m for m in rig.fused if stamp_of(m) == stamp_of(packed))
    assert packed.header.frame_id == raw.header.frame_id
    assert packed.format == "rgb8; jpeg compressed bgr8"
    assert np.abs(decode(packed).astype(int) - decode(raw)).mean() < 4
    assert found["thermal_valid"][-1].format == "mono8; png compressed "
    assert (decode(found["thermal_valid"][-1]) == 255).all()
    assert rig.set("output.jpeg_quality", 10) == (True, "")
    assert rig.set("output.jpeg_quality", 0)[0] is False


def test_hostile_files_are_counted_by_reason_and_said_once(rig):
    good = encode_compressed(RGB, lossless=False).data.tobytes()
    png = cv2.imencode(".png", np.zeros((4, 4), np.uint8))[1].tobytes()
    bomb = png[:16] + struct.pack(">II", 60_000, 60_000) + png[24:]
    cases = {
        "damaged": {"data": array.array("B", good[: len(good) // 2])},
        "too large": {"data": array.array("B", bomb)},
        "format": {"data": array.array("B", b"GIF89a" + bytes(100)), "format": "x" * 200 + "\n[ERROR] forged"},
        "frame_id": {"frame_id": "y" * 1_000_000},
    }
    for reason, hostile in cases.items():
        rig.wait(
            lambda reason=reason, hostile=hostile: (
                int(rig.value("input rgb", f"refused: {reason}") or 0) >= 3 or not rig.cameras.send(**hostile)
            ),
            f"three refusals for '{reason}'",
        )
        assert rig.log.count(f"diagnostics count '{reason}'") == 1
    assert "claims 60000x60000 pixels" in rig.log
    assert "(1000000 letters)" in rig.log
    assert "forged" not in rig.log
    assert len(rig.log) < 20_000
    rig.cameras.fuse_one()


def test_the_transport_that_was_not_chosen_is_named(models):
    with NodeRig(models, **{"image_transport.rgb": "compressed"}) as rig:
        hint = "but one on /fusion_node/input/rgb: set image_transport.rgb to raw"
        rig.wait(lambda: hint in rig.message("input rgb"), "the hint in diagnostics")
        rig.wait(lambda: hint in rig.log, "the hint in the log")
        assert "no publisher on /fusion_node/input/rgb/compressed" in rig.message("input rgb")


def test_qos_overrides_hold_and_what_does_not_fit_an_output_is_told(models):
    overrides = {
        "qos_overrides./fusion_node/input/thermal.subscription.depth": 3,
        "qos_overrides./fusion_node/output/fused.publisher.reliability": "best_effort",
        "qos_overrides./fusion_node/output/fuse.publisher.depth": 4,
    }
    with NodeRig(models, **overrides) as rig:
        rig.wait(lambda: rig.value("input thermal", "qos") == "best_effort, volatile, depth 3", "the depth")
        assert rig.value("input rgb", "qos") == "best_effort, volatile, depth 5"
        text = "QoS RELIABILITY of /fusion_node/output/fused does not fit /cameras (reliable, volatile"
        rig.wait(lambda: text in rig.message("outputs"), "the mismatch in diagnostics")
        rig.wait(lambda: text in rig.log, "the mismatch in the log")
        assert "offered is best_effort, volatile, depth 1" in rig.log
        assert rig.log.count("is for no topic of this node") == 1
        assert "/output/fuse.publisher.depth is for no topic" in rig.log
        relaxed = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        rig.node.create_subscription(Image, "/fusion_node/output/fused", rig.fused.append, relaxed)
        rig.wait_for_subscriptions()
        rig.fuse_one()
        successful, reason = rig.set("qos_overrides./fusion_node/input/rgb.subscription.depth", 9)
        assert not successful
        assert reason


def test_an_override_that_is_no_qos_is_refused_by_name(models):
    name = "qos_overrides./fusion_node/input/rgb.subscription.reliability"
    with NodeRig(models, **{name: "often"}) as rig:
        text = f"parameter {name} is 'often'; expected "
        rig.wait(lambda: text in rig.message("engine"), "the reason in diagnostics")
        assert rig.state() == "unconfigured"


def test_messages_that_are_no_messages_leave_the_node_alive(models):
    """What a hostile writer puts on the wire: sizes that overflow, and text that is cut off in the middle."""
    with NodeRig(models) as rig:
        rig.wait_for_subscriptions()
        whole = serialize_message(to_message(RGB, rig.base_ns))
        rig.wait(lambda: rig.value("input rgb", "received") == "0", "diagnostics")
        rig.publishers["rgb"].publish(whole)
        rig.wait(lambda: rig.value("input rgb", "received") == "1", "a message that was sent as bytes")
        lying = bytearray(whole)
        place = whole.rindex(struct.pack("<I", RGB.size))
        lying[place : place + 4] = b"\xff\xff\xff\xff"
        for raw in (bytes(lying), whole[: len(whole) // 2], whole[:9], b"", b"\x00\x01\x00\x00" + b"\xff" * 64):
            try:
                rig.publishers["rgb"].publish(raw)
            except Exception as error:  # some are refused before they leave, which is as good
                print(f"not sent: {error}")
        rig.fuse_one()
