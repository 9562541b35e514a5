"""Faults in messages: fields that contradict each other, and what else no camera should send."""

import numpy as np
from fault_rig import RGB, THERMAL, picture, stamp_of
from fault_table import fault
from sensor_msgs.msg import CameraInfo

MESSAGES = (
    ("a wrong step", RGB, {"step": 100}, "step"),
    ("data cut short", THERMAL, {"data": b""}, "cut short"),
    ("sizes that overflow", THERMAL, {"height": 4_000_000_000, "width": 4_000_000_000}, "size"),
    ("a size of zero", RGB, {"width": 0}, "0x48"),
    ("an unknown encoding", RGB, {"encoding": "h264"}, "'h264' is not supported"),
    ("an encoding that is a megabyte of text", RGB, {"encoding": "x" * 1_000_000}, "not supported"),
)


for what, camera, changes, words in MESSAGES:

    @fault("Messages", f"{camera} images with {what}", "refused by name and counted; good images go on as pairs")
    def bad_message(rig, camera=camera, changes=changes, words=words):
        name = f"input {camera}"
        before = rig.value(name, "unreadable") or "0"

        def told():
            return int(rig.value(name, "unreadable") or 0) > int(before) and words in rig.value(name, "last_error")

        rig.until(told, f"'{words}' in diagnostics", **{camera: changes})
        return f'"{rig.value(name, "last_error")[:110]}"'


@fault("Messages", "images of 4x4 pixels", "refused as too small for the network; good images go on")
def tiny(rig):
    def told():
        return "too small" in rig.value("input rgb", "last_error")

    rng = np.random.default_rng(0)
    rig.until(told, "the reason in diagnostics", rgb=rng.integers(0, 200, (4, 4, 3), np.uint8))
    return f'"{rig.value("input rgb", "last_error")}"'


@fault("Messages", "the RGB images' size changes in mid-stream", "the next pair comes out in the new size")
def size_changes(rig):
    for size in ((96, 128), (50, 70)):
        before = len(rig.fused)
        stamp = rig.until(
            lambda before=before: max(set(rig.stamps(before)) & rig.paired(), default=0),
            "a pair",
            rgb=picture(RGB, 7, *size),
            gap_s=0.02,
        )
        message = rig.fused_image(stamp)
        assert (message.height, message.width) == size
    return "128x96, then 70x50, then 64x48"


@fault(
    "Messages",
    "the thermal encoding changes in mid-stream",
    "8 bits, 16 bits and kelvin are each read for what they are",
)
def encoding_changes(rig):
    for dtype, offset in ((np.uint16, 29000), (np.float32, 280), (np.uint8, 0)):
        before = len(rig.fused)
        image = picture(THERMAL, rig.index).astype(dtype) + dtype(offset)
        stamp = rig.until(
            lambda before=before: max(set(rig.stamps(before)) & rig.paired(), default=0), "a pair", thermal=image
        )
        assert np.frombuffer(rig.fused_image(stamp).data, np.uint8).std() > 10
    return "pairs from mono16, 32FC1 and mono8"


def info(**changes):
    message = CameraInfo(width=64, height=48, distortion_model="plumb_bob", d=[0.0] * 5)
    message.k = [100.0, 0.0, 32.0, 0.0, 100.0, 24.0, 0.0, 0.0, 1.0]
    for name, value in changes.items():
        setattr(message, name, value)
    return message


@fault("CameraInfo", "none at all", "the images go out; ~/output/camera_info stays silent")
def no_camera_info(rig):
    before = len(rig.infos)
    rig.good_pair()
    assert len(rig.infos) == before
    assert rig.value("input rgb", "calibration") == "none"
    return 'pairs; calibration "none" in diagnostics'


@fault("CameraInfo", "NaN in K", "not used, and told; the last good one goes on serving")
def camera_info_nan(rig):
    k = list(info().k)

    def good():
        rig.info_publisher.publish(info())
        return rig.infos and stamp_of(rig.infos[-1])

    rig.until(good, "a camera info")
    k[0] = float("nan")

    def told():
        rig.info_publisher.publish(info(k=k))
        return "CameraInfo is not used" in rig.message("input rgb")

    rig.until(told, "the reason in diagnostics")
    before = len(rig.infos)
    rig.until(lambda: len(rig.infos) > before, "the last good one")
    assert rig.infos[-1].k[0] == 100.0
    said = rig.message("input rgb")
    said = said[said.index("CameraInfo") :]
    rig.until(
        lambda: rig.info_publisher.publish(info()) or "not used" not in rig.message("input rgb"), "a good one again"
    )
    return f'"{said}"'


@fault("CameraInfo", "of another size than the images", "~/output/camera_info stays silent, and why is logged")
def camera_info_size(rig):
    rig.until(
        lambda: (
            rig.info_publisher.publish(info(width=640, height=480))
            or "640x480" in rig.value("input rgb", "calibration")
        ),
        "the other size",
    )
    rig.good_pair()
    before = len(rig.infos)
    rig.good_pair()
    assert len(rig.infos) == before
    assert "CameraInfo is for 640x480" in rig.log
    rig.until(
        lambda: rig.info_publisher.publish(info()) or "64x48" in rig.value("input rgb", "calibration"), "the size"
    )
    return "silent, with a line in the log"
