"""fusion_node with registration over DDS: files, CameraInfo that is hostile or late, TF; what goes out meanwhile."""

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from mock_models import make_model
from node_rig import NodeRig, stamp_of
from sensor_msgs.msg import CameraInfo, Image

from sage_fusion_ros.pipeline.camera_info import camera_model, image_size
from sage_fusion_ros.pipeline.image_codec import decode
from sage_fusion_ros.pipeline.pixel_maps import Extrinsics, HomographyMap
from sage_fusion_ros.sources.calibration_file import Calibration, write_calibration

RGB_SIZE, THERMAL_SIZE = (128, 96), (64, 48)
# The thermal image, as large as it is, 40 pixels from the left and 20 from the top of the RGB image.
SHIFT = HomographyMap((1, 0, 40, 0, 1, 20, 0, 0, 1), RGB_SIZE, THERMAL_SIZE)
STAND_IN_FOR_TF2_ROS = """
from geometry_msgs.msg import TransformStamped

class TransformException(Exception):
    pass

class Buffer:
    asked = 0

    def lookup_transform(self, target, source, time):
        assert (target, source) == ("rgb_optical", "thermal_optical"), (target, source)
        Buffer.asked += 1
        if Buffer.asked < 3:
            raise TransformException("not yet")
        found = TransformStamped()
        found.transform.rotation.w = 1.0
        found.transform.translation.x = 0.5
        return found

class TransformListener:
    def __init__(self, buffer, node, spin_thread):
        assert not spin_thread
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    make_model(folder / "sage_fast", "Max")
    return folder


def camera_info(camera, size, focal=100.0, **changes):
    info = CameraInfo(width=size[0], height=size[1], distortion_model="plumb_bob")
    info.header.frame_id = f"{camera}_optical"
    info.k = [focal, 0.0, (size[0] - 1) / 2, 0.0, focal, (size[1] - 1) / 2, 0.0, 0.0, 1.0]
    info.d = [0.0] * 5
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [*info.k[0:3], 0.0, *info.k[3:6], 0.0, *info.k[6:9], 0.0]
    for name, value in changes.items():
        setattr(info, name, value)
    return info


class Cameras:
    """What a rig sends and sees here: dark RGB, bright thermal, CameraInfo of both."""

    def __init__(self, rig):
        self.rig = rig
        self.valid = []
        rig.node.create_subscription(Image, "/fusion_node/output/thermal_valid", self.valid.append, 10)
        self.thermal_info = rig.node.create_publisher(CameraInfo, "/fusion_node/input/thermal_camera_info", 10)

    def fuse_one(self, thermal=200):
        """The red of the fused image, 96x128."""
        rgb = np.full((*RGB_SIZE[::-1], 3), 60, np.uint8)
        return decode(self.rig.fuse_one(rgb, np.full(THERMAL_SIZE[::-1], thermal, np.uint8)))[..., 0]

    def until(self, condition, what, infos=()):
        """Sends pairs and CameraInfo until a fused image passes."""

        def passes():
            for info in infos:
                camera = info.header.frame_id.split("_")[0]
                {"rgb": self.rig.info_publisher, "thermal": self.thermal_info}[camera].publish(info)
            return condition(self.fuse_one())

        self.rig.wait(passes, what)


def registered(image, left=40, top=20):
    inside = image[top : top + THERMAL_SIZE[1], left : left + THERMAL_SIZE[0]]
    outside = image.copy()
    outside[top : top + THERMAL_SIZE[1], left : left + THERMAL_SIZE[0]] = 60
    return (outside == 60).all() and inside[10:-10, 10:-10].min() > 190


def test_a_homography_places_thermal_and_leaves_the_rest_as_it_is(models, tmp_path):
    file = tmp_path / "cameras.yaml"
    write_calibration(file, Calibration(homography=SHIFT, report={"kept_out_median_px": 0.5}))
    with NodeRig(models, **{"registration.method": "homography", "registration.file": str(file)}) as rig:
        cameras = Cameras(rig)
        rig.wait_for_subscriptions()
        assert registered(cameras.fuse_one())
        rig.wait(lambda: cameras.valid or cameras.fuse_one() is None, "the valid area")
        valid = decode(cameras.valid[-1])
        assert cameras.valid[-1].encoding == "mono8"
        assert (valid[20:68, 40:104] == 255).all()
        assert np.count_nonzero(valid) == 64 * 48
        assert stamp_of(cameras.valid[-1]) in {stamp_of(m) for m in rig.fused}
        rig.wait(lambda: rig.value("registration", "thermal_covers") == "0.250", "the share in diagnostics")
        assert rig.value("registration", "kept_out_median_px") == "0.500"
        assert rig.message("registration") == "homography"
        binned = camera_info("rgb", RGB_SIZE, width=256, height=192, binning_x=2, binning_y=2)
        cameras.until(lambda _: rig.infos, "CameraInfo of the output", [binned])
        assert rig.infos[-1].header.frame_id == "rgb_optical"
        assert stamp_of(rig.infos[-1]) in {stamp_of(m) for m in rig.fused}
        assert (rig.infos[-1].width, rig.infos[-1].binning_x) == (256, 2)
        # Thermal of another shape fits no longer: told, and RGB goes out.
        rgb = np.full((96, 128, 3), 60, np.uint8)
        assert (decode(rig.fuse_one(rgb, np.full((48, 48), 200, np.uint8))) == 60).all()
        rig.wait(lambda: "another part of the image" in rig.message("registration"), "the reason")
        assert rig.set("registration.unready", "unregistered") == (True, "")
        rig.wait(lambda: (decode(rig.fuse_one(rgb, np.full((48, 48), 200, np.uint8))) > 190).all(), "the policy")
        assert registered(cameras.fuse_one())


def test_a_file_that_can_t_be_used_is_refused_by_name_and_may_be_corrected(models, tmp_path):
    missing = tmp_path / "none.yaml"
    with NodeRig(models, **{"registration.method": "homography", "registration.file": str(missing)}) as rig:
        rig.wait(lambda: f"calibration file {missing} can't be read" in rig.message("engine"), "the reason")
        assert rig.state() == "unconfigured"
        write_calibration(missing, Calibration(extrinsics=Extrinsics((1, 0, 0, 0, 1, 0, 0, 0, 1), (0.0, 0.0, 0.0))))
        assert not rig.change_state("configure")
        rig.wait(lambda: "holds the method calibrated" in rig.message("engine"), "the second reason")
        write_calibration(missing, Calibration(homography=SHIFT))
        assert rig.change_state("configure")
        successful, reason = rig.set("registration.method", "none")
        assert not successful
        assert "only while the node is unconfigured" in reason
        assert rig.change_state("activate")
        rig.wait_for_subscriptions()
        assert registered(Cameras(rig).fuse_one())


HOSTILE = {
    "k holds numbers that are not finite": {"k": [float("nan")] * 9},
    "its size is 0x0": {"width": 0, "height": 0},
    "its size is 4294967295x": {"width": 2**32 - 1},
    "it has 200000 distortion coefficients": {"d": [0.1] * 200_000},
    "longer than 200 letters": {"distortion_model": "x" * 1_000_000},
    "leaves the image": {"roi": CameraInfo().roi.__class__(width=2**32 - 1, height=5)},
    "its binning is": {"binning_x": 2**32 - 1},
}
UNFIT = {
    "is for 64x48, and the images are 128x96": {"width": 64, "height": 48},
    "not calibrated": {"k": [0.0] * 9},
    "distortion model 'magic' is unknown": {"distortion_model": "magic", "d": [0.1] * 5},
    "3 coefficients": {"d": [0.1] * 3},
}


def test_calibrated_waits_for_camera_info_refuses_what_is_hostile_and_goes_on(models, tmp_path):
    file = tmp_path / "cameras.yaml"
    # What lies 10 m ahead lies 10 m x 100 / 100 px = 4 px further left for the thermal camera, 0.4 m to the right.
    write_calibration(file, Calibration(extrinsics=Extrinsics((1, 0, 0, 0, 1, 0, 0, 0, 1), (0.4, 0.0, 0.0))))
    parameters = {"registration.method": "calibrated", "registration.file": str(file)}
    good = [camera_info("rgb", RGB_SIZE), camera_info("thermal", THERMAL_SIZE)]
    with NodeRig(models, **parameters, **{"registration.plane_distance_m": 10.0}) as rig:
        cameras = Cameras(rig)
        rig.wait_for_subscriptions()
        assert (cameras.fuse_one() == 60).all(), "the RGB image goes out while nothing is known"
        rig.wait(lambda: "none has come yet" in rig.message("registration"), "the reason")
        for text, changes in HOSTILE.items():
            bad = [camera_info("rgb", RGB_SIZE, **changes), good[1]]
            cameras.until(lambda image, text=text: text in rig.message("input rgb") and (image == 60).all(), text, bad)
        for text, changes in UNFIT.items():
            bad = [camera_info("rgb", RGB_SIZE, **changes), good[1]]
            cameras.until(
                lambda image, text=text: text in rig.message("registration") and (image == 60).all(), text, bad
            )
        cameras.until(lambda image: registered(image, 32 + 4, 24), "the registered image", good)
        for text, changes in HOSTILE.items():
            bad = [camera_info("rgb", RGB_SIZE, **changes)]
            cameras.until(
                lambda image, text=text: text in rig.message("input rgb") and registered(image, 36, 24), text, bad
            )
        assert rig.set("registration.plane_distance_m", 5.0) == (True, "")
        cameras.until(lambda image: registered(image, 32 + 8, 24), "the nearer plane", good)
        assert "Traceback" not in rig.log


def test_extrinsics_come_from_tf_or_its_absence_is_told(models):
    try:
        import tf2_ros
    except ImportError:
        tf2_ros = None
    parameters = {"registration.method": "calibrated", "registration.plane_distance_m": 10.0}
    with NodeRig(models, **parameters) as rig:
        cameras = Cameras(rig)
        rig.wait_for_subscriptions()
        infos = [camera_info("rgb", RGB_SIZE), camera_info("thermal", THERMAL_SIZE)]
        if tf2_ros is None:
            cameras.until(lambda _: "tf2_ros is not installed" in rig.message("registration"), "the reason", infos)
            assert (cameras.fuse_one() == 60).all()
            return
        transform = TransformStamped(child_frame_id="thermal_optical")
        transform.header.frame_id = "rgb_optical"
        transform.transform.rotation.w = 1.0
        transform.transform.translation.x = 0.5
        broadcaster = tf2_ros.StaticTransformBroadcaster(rig.node)
        broadcaster.sendTransform(transform)
        cameras.until(lambda image: registered(image, 32 + 5, 24), "the registered image", infos)


def test_extrinsics_are_asked_of_tf_until_they_are_known(models, tmp_path):
    """With a stand-in for tf2_ros: what is asked, when, and what becomes of the answer."""
    (tmp_path / "tf2_ros.py").write_text(STAND_IN_FOR_TF2_ROS)
    environment = {"PYTHONPATH": str(tmp_path)}
    parameters = {"registration.method": "calibrated", "registration.plane_distance_m": 10.0}
    with NodeRig(models, environment=environment, **parameters) as rig:
        cameras = Cameras(rig)
        rig.wait_for_subscriptions()
        infos = [camera_info("rgb", RGB_SIZE), camera_info("thermal", THERMAL_SIZE)]
        cameras.until(lambda _: "TF does not know where 'thermal_optical'" in rig.message("registration"), "TF", infos)
        cameras.until(lambda image: registered(image, 32 + 5, 24), "the registered image", infos)
        assert rig.change_state("deactivate")
        assert rig.change_state("cleanup")
        assert rig.interrupt() == 0


@pytest.mark.parametrize("times", [1, 3])
def test_rectified_images_go_by_p(times):
    info = camera_info("rgb", (200, 100), d=[-0.3, 0.1, 0.0, 0.0, 0.0], binning_x=times, binning_y=times)
    info.p = [80.0, 0.0, 90.0, 0.0, 0.0, 80.0, 45.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    info.r = [0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 20, 10, 120, 60
    assert image_size(info) == (120 // times, 60 // times)
    lens, turn = camera_model(info, rectified=True)
    expected = (80 / times, 0, (90 - 20) / times, 0, 80 / times, (45 - 10) / times, 0, 0, 1)
    assert lens.matrix == pytest.approx(expected)
    assert lens.distortion == ()
    assert (turn == np.array(info.r).reshape(3, 3)).all()
    raw, turn = camera_model(info, rectified=False)
    assert raw.distortion == (-0.3, 0.1, 0.0, 0.0, 0.0)
    assert (turn == np.eye(3)).all()
