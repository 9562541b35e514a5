"""fusion_node over real DDS while a camera dies, freezes or goes blind, and while clocks jump, stop and are missing."""

import itertools
import time

import numpy as np
import pytest
from message_packages import messages_of
from mock_models import make_model
from mock_perception import make_perception
from node_rig import MS, NodeRig, stamp_of
from perception_node_rig import SIDE, Heard, PerceptionRig, pair_with_block
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image

from sage_fusion_ros.pipeline.image_codec import decode

JUDGED = {
    "degraded.frozen_ms": 250.0,
    "degraded.timeout_ms": 250.0,
    "degraded.check_images": "true",
    "degraded.hold_ms": 60000.0,
}
RGB_GREY, THERMAL_GREY = 60, 150
FLAT = np.full((24, 32), 7, np.uint8)
WHITE = np.full((48, 64, 3), 255, np.uint8)
HOT = np.full((24, 32), 255, np.uint8)
HOT[:4] = np.arange(32, dtype=np.uint8)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    make_model(folder / "sage_fast", "Max")
    return folder


class Cameras:
    """Two live cameras: every image has noise of its own. An image given instead is sent again and again."""

    def __init__(self, rig):
        self.rig = rig
        self.rng = np.random.default_rng(0)
        self.sent = {"rgb": set(), "thermal": set()}

    def step(self, **given):
        """One image of each camera, or what is given, or False for none."""
        images = {
            "rgb": self.rng.integers(RGB_GREY - 8, RGB_GREY + 9, (48, 64, 3), np.uint8),
            "thermal": self.rng.integers(THERMAL_GREY - 8, THERMAL_GREY + 9, (24, 32), np.uint8),
        }
        # Each camera stamps by itself, so that a result says whose stamp it has.
        self.rig.index += 1
        for shift, camera in enumerate(images):
            image = given.get(camera, images[camera])
            if image is not False:
                stamp = self.rig.base_ns + self.rig.index * 33 * MS + shift * MS
                self.sent[camera].add(stamp)
                other = {"rgb": "thermal", "thermal": "rgb"}[camera]
                self.rig.send(**{camera: image, other: False}, stamp_ns=stamp)
        time.sleep(0.015)

    def until(self, condition, what, **given):
        """Sends until a condition holds of the results from now on; returns the newest."""
        seen = len(self.rig.fused)

        def met():
            self.step(**given)
            return len(self.rig.fused) > seen and condition(self.rig.fused[-1])

        self.rig.wait(met, what)
        return self.rig.fused[-1]

    def pairs(self):
        """Until pairs come and diagnostics say that all is well."""
        return self.until(
            lambda m: is_pair(m) and self.rig.message("health") == "both cameras are well", "pairs of two good cameras"
        )


def grey(message):
    return decode(message).mean()


def is_pair(message):
    return message.width == 64 and abs(grey(message) - THERMAL_GREY) < 15


def is_rgb(message):
    return message.width == 64 and abs(grey(message) - RGB_GREY) < 15


def is_thermal(message):
    return message.width == 32 and abs(grey(message) - THERMAL_GREY) < 15


def in_order(rig):
    """Whether stamps ran forwards all the time, none twice."""
    stamps = [stamp_of(m) for m in rig.fused]
    return all(a < b for a, b in itertools.pairwise(stamps))


@pytest.fixture(scope="module")
def cameras(models):
    with NodeRig(models, **JUDGED) as rig:
        rig.wait_for_subscriptions()
        yield Cameras(rig)


LOSSES = {
    "thermal dies": ({"thermal": False}, is_rgb, "the thermal camera is lost: silent; goes out: rgb_only"),
    "rgb dies": ({"rgb": False}, is_thermal, "the rgb camera is lost: silent; goes out: thermal_only"),
    "thermal is flat": ({"thermal": FLAT}, is_rgb, "the thermal camera is lost: flat"),
    "thermal saturates": ({"thermal": HOT}, is_rgb, "the thermal camera is lost: saturated"),
    "rgb is over-exposed": ({"rgb": WHITE}, is_thermal, "the rgb camera is lost: over-exposed"),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_one_camera_is_lost_and_returns(cameras, loss):
    rig = cameras.rig
    given, shown, text = LOSSES[loss]
    cameras.pairs()
    alone = cameras.until(lambda m: shown(m) and text in rig.message("health"), f"'{text}'", **given)
    lives = "rgb" if "thermal" in given else "thermal"
    assert stamp_of(alone) in cameras.sent[lives], "the stamp of the camera that lives"
    assert alone.header.frame_id == f"{lives}_optical"
    assert rig.statuses["health"][0].level == b"\x01"
    mode = "rgb_only" if lives == "rgb" else "thermal_only"
    assert rig.value("health", "goes_out") == mode
    pair = cameras.pairs()
    assert stamp_of(pair) in cameras.sent["rgb"]
    assert pair.header.frame_id == "rgb_optical"
    assert int(rig.value("health", f"sent: {mode}")) > 0
    assert in_order(rig), "no stamp twice, and none before the last"
    camera = {"rgb": "thermal", "thermal": "rgb"}[lives]
    assert f"the {camera} camera is lost" in rig.log
    rig.wait(lambda: f"the {camera} camera is back" in rig.log, "a word about the return")


@pytest.mark.parametrize(("camera", "shown"), [("thermal", is_rgb), ("rgb", is_thermal)])
def test_a_frozen_camera_is_lost_and_returns(cameras, camera, shown):
    rig = cameras.rig
    cameras.pairs()
    shape = {"thermal": (24, 32), "rgb": (48, 64, 3)}[camera]
    still = np.random.default_rng(1).integers(100, 140, shape, np.uint8)
    text = f"the {camera} camera is lost: frozen"
    cameras.until(lambda m: shown(m) and text in rig.message("health"), f"'{text}'", **{camera: still})
    assert int(rig.value("pairing", f"dropped: {camera}: frozen")) > 0
    seen = len(rig.fused)
    for _ in range(10):
        cameras.step(**{camera: still})
    cameras.until(shown, "more of the camera that lives", **{camera: still})
    assert all(shown(m) for m in rig.fused[seen:]), "a frozen image is never paired"
    cameras.pairs()
    assert in_order(rig)


def test_policies_change_while_streaming(cameras):
    rig = cameras.rig
    cameras.pairs()
    assert rig.set("degraded.thermal_lost", "hold") == (True, "")
    held = cameras.until(
        lambda m: is_pair(m) and "goes out: hold" in rig.message("health"), "the held thermal image", thermal=False
    )
    assert stamp_of(held) in cameras.sent["rgb"]
    assert rig.set("degraded.hold_ms", 0.0)[0]
    cameras.until(is_rgb, "RGB alone when the held image is too old", thermal=False)
    assert rig.set("degraded.thermal_lost", "stop")[0]
    rig.wait(
        lambda: cameras.step(thermal=False) or "goes out: nothing" in rig.message("health"), "the stop in diagnostics"
    )
    assert rig.statuses["health"][0].level == b"\x02"
    before = int(rig.value("pairing", "dropped: rgb: thermal lost") or 0)
    rig.wait(
        lambda: (
            cameras.step(thermal=False) or int(rig.value("pairing", "dropped: rgb: thermal lost") or 0) > before + 5
        ),
        "the images that policy drops",
    )
    for name, value in (("degraded.thermal_lost", "rgb_only"), ("degraded.hold_ms", 60000.0)):
        assert rig.set(name, value)[0]
    cameras.pairs()
    assert in_order(rig)


def test_values_of_both_cameras_are_told(cameras):
    rig = cameras.rig
    cameras.pairs()
    assert float(rig.value("health", "rgb_mean")) == pytest.approx(RGB_GREY, abs=2)
    assert float(rig.value("health", "thermal_low")) == pytest.approx(THERMAL_GREY - 8, abs=2)
    assert float(rig.value("health", "thermal_high")) == pytest.approx(THERMAL_GREY + 8, abs=2)
    assert float(rig.value("health", "thermal_saturated_share")) == 0
    assert rig.value("health", "thermal_stuck_columns") == "0"
    cameras.until(lambda _: rig.value("time", "offset_ms"), "the offset")
    assert float(rig.value("time", "offset_ms")) == pytest.approx(1, abs=0.5), "thermal stamps 1 ms later"
    assert rig.value("time", "offset_from") == "stamps"
    assert float(rig.value("time", "rgb_interval_ms")) == pytest.approx(33, abs=1)


def test_thermal_alone_has_the_calibration_of_its_camera(cameras):
    rig = cameras.rig
    info = CameraInfo(width=32, height=24, distortion_model="plumb_bob")
    info.k = [50.0, 0.0, 16.0, 0.0, 50.0, 12.0, 0.0, 0.0, 1.0]
    publisher = rig.node.create_publisher(CameraInfo, "/fusion_node/input/thermal_camera_info", QoSProfile(depth=1))

    def came(_):
        publisher.publish(info)
        return any(i.width == 32 for i in rig.infos)

    cameras.until(came, "the thermal camera's calibration", rgb=False)
    assert rig.infos[-1].header.frame_id == "thermal_optical"
    rig.node.destroy_publisher(publisher)
    cameras.pairs()


def test_a_bag_that_loops_goes_on_with_pairs_and_is_said_once(models):
    with NodeRig(models, **{**JUDGED, "degraded.timeout_ms": 1000.0}) as rig:
        rig.wait_for_subscriptions()
        cameras = Cameras(rig)
        for lap in range(3):
            rig.index = 0
            cameras.until(lambda m: is_pair(m) and rig.index > 30, "the lap's pairs")
            seen = len(rig.fused)
            assert stamp_of(rig.fused[seen - 1]) < rig.base_ns + 10_000 * MS, f"lap {lap}"
        rig.wait(lambda: rig.value("time", "rgb_jumps_back") == "2", "the jumps in diagnostics")
        assert rig.value("time", "thermal_jumps_back") == "2"
        assert rig.log.count("jumped back") == 1
        assert rig.value("health", "sent: rgb_only") == ""


def test_a_camera_without_stamps_is_told_and_paired(models):
    with NodeRig(models, **{"pairing.max_dt_ms": 200.0}) as rig:
        rig.wait_for_subscriptions()
        rig.wait(lambda: rig.send(stamp_ns=0) == 0 and int(rig.value("time", "rgb_zero_stamps") or 0) > 3, "the count")
        rig.wait(lambda: rig.send(stamp_ns=0) == 0 and rig.fused, "a pair")
        assert int(rig.value("time", "thermal_zero_stamps")) > 3


def test_a_paused_recording_is_no_lost_camera(models):
    """Simulated time, at twice the speed of the wall, then standing still, then at a tenth."""
    parameters = {**JUDGED, "use_sim_time": "true", "diagnostics.stale_ms": 300.0}
    with NodeRig(models, **parameters) as rig:
        rig.wait_for_subscriptions()
        cameras = Cameras(rig)
        publisher = rig.node.create_publisher(Clock, "/clock", 10)
        rig.wait(lambda: "nothing has come on /clock" in rig.message("time"), "a word about the missing clock")

        def tick():
            clock = Clock()
            seconds, rest = divmod(rig.base_ns + (rig.index + 1) * 33 * MS, 1_000_000_000)
            clock.clock.sec, clock.clock.nanosec = seconds, rest
            publisher.publish(clock)

        cameras.until(lambda m: tick() or (is_pair(m) and rig.value("time", "rgb_interval_ms")), "pairs")
        rig.wait(lambda: rig.value("time", "clock") == "simulated, paused", "the pause in diagnostics")
        rig.statuses.clear()
        time.sleep(0.6)  # longer than the timeout and what counts as stale
        rig.wait(lambda: rig.message("health") and rig.message("input rgb"), "diagnostics in the pause")
        assert rig.message("health") == "both cameras are well"
        assert "silent" not in rig.message("input rgb")
        for _ in range(4):
            tick()
            cameras.step()
            time.sleep(0.3)
        rig.wait(lambda: rig.message("health") == "both cameras are well", "no loss at a tenth of the speed")
        cameras.until(lambda m: tick() or is_pair(m), "pairs again")
        assert rig.value("health", "sent: rgb_only") == rig.value("health", "sent: thermal_only") == ""


def test_mask_and_boxes_of_one_camera_alone_come_under_its_header(tmp_path):
    vision = messages_of("vision_msgs")
    make_model(tmp_path / "sage_fast", "Max")
    make_perception(tmp_path / "perception", input_side=SIDE)
    rgb, thermal = pair_with_block(120, 160, (32, 32, 64, 64))
    with (
        PerceptionRig(tmp_path, **{"degraded.timeout_ms": 250.0}) as rig,
        Heard(rig, Image, "mask") as masks,
        Heard(rig, vision.Detection2DArray, "detections") as boxes,
    ):
        rig.wait_for_subscriptions()
        for pair, camera in (((rgb, False), "rgb"), ((False, 255 - rgb[..., 0]), "thermal")):
            text = f"goes out: {camera}_only"
            rig.until(lambda text=text: text in rig.message("health"), text, pair)
            mask = rig.new(masks, pair)
            frame = f"{camera}_optical"
            assert mask.header.frame_id == frame
            stamp = stamp_of(mask)
            rig.wait(lambda stamp=stamp: stamp in boxes.by_stamp, "the boxes of that stamp")
            rig.wait(lambda stamp=stamp: stamp in {stamp_of(m) for m in rig.fused}, "the image of that stamp")
            assert boxes.by_stamp[stamp].header.frame_id == frame
            assert boxes.by_stamp[stamp].detections, "something bright is there"
            rig.until(lambda: rig.message("health") == "both cameras are well", "both", (rgb, thermal))
