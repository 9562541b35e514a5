"""Faults of cameras: they die, freeze, go blind, and their stamps go astray."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
from fault_rig import MS, OTHER, RGB, SECOND, THERMAL, picture, stamp_of
from fault_table import fault
from sensor_msgs.msg import Image

CAMERA = Path(__file__).resolve().parents[1] / "tools" / "soak" / "camera.py"
MODES = {RGB: "thermal_only", THERMAL: "rgb_only"}


def alone(rig, lost, why, **images):
    """Sends such images until the other camera goes out alone for this reason; returns what was seen."""
    mode = MODES[lost]
    before, seen = rig.mode(mode), len(rig.fused)
    rig.until(lambda: rig.mode(mode) > before + 2 and why in rig.message("health"), f"'{why}' in diagnostics", **images)
    message = rig.fused[-1]
    assert message.header.frame_id == f"{OTHER[lost]}_optical"
    assert stamp_of(message) not in rig.paired()
    assert len(rig.fused) > seen
    return f'{OTHER[lost]} images alone under their own stamps; diagnostics: "{rig.message("health")}"'


def lost_and_back(rig, lost, why, **images):
    seen = alone(rig, lost, why, **images)
    rig.good_pair()
    rig.wait(lambda: rig.message("health") == "both cameras are well", "the camera's return in diagnostics")
    return f"{seen}; then pairs again"


for dead in (RGB, THERMAL):

    @fault("Cameras", f"the {dead} camera dies", f"the other goes out alone ({MODES[dead]}) until it is back")
    def camera_dies(rig, dead=dead):
        return lost_and_back(rig, dead, "silent", **{dead: False})

    @fault("Cameras", f"the {dead} camera freezes: one image under new stamps", "as if it were dead, by degraded.*")
    def camera_freezes(rig, dead=dead):
        return lost_and_back(rig, dead, "frozen", **{dead: picture(dead, -1 % 1000)})

    @fault("Cameras", f"the {dead} camera sends each image twice", "two equal images are no freeze: pairs go on")
    def camera_repeats(rig, dead=dead):
        modes = {mode: rig.mode(mode) for mode in MODES.values()}
        for number in range(20):
            rig.step(**{dead: picture(dead, 5000 + number // 2)}, gap_s=0.02)
        rig.good_pair()
        rig.settled()
        assert {mode: rig.mode(mode) for mode in MODES.values()} == modes
        return "pairs, and nothing else"


@fault("Cameras", "both cameras die", "nothing goes out, diagnostics name both; pairs when they are back")
def both_die(rig):
    rig.set("diagnostics.stale_ms", 100.0)
    rig.settled()
    before = len(rig.fused)
    rig.wait(lambda: all("silent for" in rig.message(f"input {c}") for c in (RGB, THERMAL)), "both in diagnostics")
    assert len(rig.fused) == before
    rig.set("diagnostics.stale_ms", 1000.0)
    return 'both inputs "silent for ..." as errors'


@fault("Cameras", "thermal dies under the policy stop", "nothing goes out, and each image left out is counted")
def policy_stop(rig):
    assert rig.set("degraded.thermal_lost", "stop")[0]
    try:
        rig.until(lambda: rig.count("dropped: rgb: thermal lost") > 3, "images left out", thermal=False)
        rig.settled()
        before = len(rig.fused)
        rig.until(lambda: rig.count("dropped: rgb: thermal lost") > 8, "more images left out", thermal=False)
        assert len(rig.fused) == before
    finally:
        assert rig.set("degraded.thermal_lost", "rgb_only")[0]
    return 'counted as "dropped: rgb: thermal lost"'


@fault("Cameras", "thermal dies under the policy hold", "RGB goes on with the last thermal image, then alone")
def policy_hold(rig):
    assert rig.set("degraded.thermal_lost", "hold")[0]
    try:
        rig.good_pair()
        held, gone = rig.mode("hold"), rig.mode("rgb_only")
        rig.until(lambda: rig.mode("hold") > held, "an image with the old thermal one", thermal=False)
        rig.until(lambda: rig.mode("rgb_only") > gone, "an RGB image alone", thermal=False, gap_s=0.005)
    finally:
        assert rig.set("degraded.thermal_lost", "rgb_only")[0]
    return "first sent as hold, then as rgb_only"


@fault("Cameras", "thermal goes flat: a closed shutter", "RGB goes out alone for as long")
def flat(rig):
    return lost_and_back(rig, THERMAL, "flat", thermal=np.full((48, 64), 100, np.uint8))


@fault("Cameras", "thermal saturates", "RGB goes out alone for as long")
def saturated(rig):
    image = picture(THERMAL, 1)
    image[:40] = 255
    return lost_and_back(rig, THERMAL, "saturated", thermal=image)


@fault("Cameras", "RGB is over-exposed", "thermal goes out alone for as long")
def over_exposed(rig):
    image = picture(RGB, 1)
    image[:40] = 255
    return lost_and_back(rig, RGB, "over-exposed", rgb=image)


@fault("Cameras", "32FC1 thermal with some NaN", "the pair is fused; the rest of the image keeps its range")
def some_nan(rig):
    image = picture(THERMAL, 3).astype(np.float32) + 273
    image[10:20, 10:20] = np.nan
    before = len(rig.fused)
    stamp = rig.until(lambda: max(set(rig.stamps(before)) & rig.paired(), default=0), "a pair", thermal=image)
    message = rig.fused_image(stamp)
    assert np.frombuffer(message.data, np.uint8).std() > 10
    return "pairs"


@fault("Cameras", "32FC1 thermal with nothing but NaN", "RGB goes out alone for as long")
def all_nan(rig):
    return lost_and_back(rig, THERMAL, "no finite value", thermal=np.full((48, 64), np.nan, np.float32))


@fault(
    "Cameras",
    "a camera process is killed with SIGKILL",
    "the node goes on; a new process is heard at once",
    restarts=True,
)
def publisher_killed(rig):
    """Two processes in place of the rig's thermal camera, one after the other."""
    for number in range(2):
        log = Path(rig.tmp) / f"killed_{number}.stamps"
        arguments = ["--rate", "60", "--size", "48", "64", "--log", str(log), "--reliable"]
        process = subprocess.Popen([sys.executable, str(CAMERA), THERMAL, *arguments], env=rig.environment)
        try:
            rig.wait(lambda log=log: log.exists() and log.stat().st_size > 8 * 5, "the camera's images")
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    rig.go_ahead()
    rig.good_pair()
    return "images of both processes received, then pairs with another camera"


@fault("Time", "each stamp twice", "it goes out once; the repetition is counted")
def duplicates(rig):
    before = rig.count("dropped: rgb: repeated stamp")
    for _ in range(8):
        stamp = rig.step(thermal=False)
        rig.send_one(RGB, stamp)
        rig.send_one(THERMAL, stamp)
    rig.good_pair()
    rig.settled()
    assert rig.count("dropped: rgb: repeated stamp") == before + 8
    return '8 of 8 counted as "dropped: rgb: repeated stamp"'


@fault("Time", "images in the wrong order", "late ones are counted and left out; stamps go out in order")
def out_of_order(rig):
    before, first = rig.count("dropped: thermal: out of order"), len(rig.fused)
    for _ in range(4):
        a, b = rig.next_stamp(), rig.next_stamp()
        for stamp in (a, b):
            rig.send_one(RGB, stamp)
        for stamp in (b, a):
            rig.send_one(THERMAL, stamp)
    rig.good_pair()
    rig.settled()
    assert rig.count("dropped: thermal: out of order") == before + 4
    stamps = rig.stamps(first)
    assert stamps == sorted(stamps)
    return '4 of 4 counted as "dropped: thermal: out of order"'


@fault("Time", "thermal arrives two images later than RGB", "the same pairs, by their stamps")
def late(rig):
    waiting = [rig.next_stamp() for _ in range(2)]
    for stamp in waiting:
        rig.send_one(RGB, stamp)
    sent = []
    for _ in range(12):
        waiting.append(rig.next_stamp())
        rig.send_one(RGB, waiting[-1])
        sent.append(waiting.pop(0))
        rig.send_one(THERMAL, sent[-1])
        rig.wait(lambda: sent[-1] in rig.paired() or len(sent) < 10, "the pair of a late image")
    for stamp in waiting:
        rig.send_one(THERMAL, stamp)
    return "each RGB image with the thermal one of its own stamp"


@fault("Time", "stamps of zero", "images are paired by their arrival; said once")
def zero(rig):
    assert rig.set("pairing.max_dt_ms", 200.0)[0]
    before = len(rig.pairs)
    try:

        def pair():
            for camera in (RGB, THERMAL):
                rig.send_one(
                    camera,
                    0,
                    picture(camera, rig.index),
                )
            rig.index += 1
            return len(rig.pairs) > before

        rig.wait(pair, "a pair by arrival")
        assert stamp_of(rig.fused[-1]) > 0
    finally:
        assert rig.set("pairing.max_dt_ms", 20.0)[0]
        rig.go_ahead()
    assert rig.log.count("stamps of zero") == 2
    return 'pairs under the time of arrival; "stamps are zero" in diagnostics'


@fault("Time", "both cameras' stamps jump back 100 s", "a new start: pairs go on, and none is made across the jump")
def jump_back(rig):
    rig.settled()
    resets = rig.count("time_jumps")
    rig.base_ns -= 100 * SECOND + rig.index * 33 * MS
    rig.good_pair()
    rig.wait(lambda: rig.count("time_jumps") > resets, "the jump in diagnostics")
    rig.go_ahead()
    return "counted as a time jump, pairs at once"


@fault("Time", "both cameras' stamps jump ahead an hour", "pairs go on; the clocks are told")
def jump_ahead(rig):
    rig.base_ns += 3600 * SECOND
    rig.good_pair()
    rig.until(lambda: "ahead of this node's clock" in rig.message("input rgb"), "a word about the clocks")
    rig.base_ns -= 3600 * SECOND
    return 'pairs; "stamps lie ahead of this node\'s clock" in diagnostics'


@fault("Time", "one camera's clock is set 10 s ahead", "no pair of two moments; pairs again once it is set right")
def clocks_differ(rig):
    rig.settled()
    before = len(rig.pairs)
    rig.base_ns += SECOND
    for _ in range(20):
        stamp = rig.next_stamp()
        rig.send_one(RGB, stamp)
        rig.send_one(THERMAL, stamp + 10 * SECOND)
    rig.settled()
    assert len(rig.pairs) == before
    rig.base_ns += 20 * SECOND
    rig.good_pair()
    return "no pair meanwhile, each image counted"


@fault("Cameras", "two publishers on one topic", "each stamp goes out once at most", restarts=True)
def two_publishers(rig):
    second = rig.node.create_publisher(Image, "/fusion_node/input/rgb", rig.publishers[RGB].qos_profile)
    first, rig.publishers[RGB] = rig.publishers[RGB], second
    try:
        rig.wait(second.get_subscription_count, "the second publisher's subscriber")
        for _ in range(10):
            stamp = rig.step()
            rig.publishers[RGB] = first
            rig.send_one(RGB, stamp)
            rig.publishers[RGB] = second
        rig.good_pair()
    finally:
        rig.publishers[RGB] = first
        rig.settled()
        rig.node.destroy_publisher(second)
    return "the second image of a stamp counted as repeated"
