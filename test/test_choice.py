"""What of a pair goes out when one of its images is no good."""

import numpy as np
import pytest

from sage_fusion_ros.pipeline.choice import Chooser
from sage_fusion_ros.pipeline.degraded import DegradedSettings, Pick
from sage_fusion_ros.pipeline.pairing import Arrival
from sage_fusion_ros.pipeline.types import Frame, FramePair

MS = 1_000_000
BASE = 1_700_000_000_000 * MS
TIMEOUT = 500
SETTINGS = DegradedSettings(timeout_ns=TIMEOUT * MS, frozen_ns=TIMEOUT * MS)


def frames(rgb_value, thermal_value, at=0):
    """A pick and its two frames; a value makes an image flat, None makes it noise."""
    rng = np.random.default_rng(at)
    rgb = (
        rng.integers(20, 200, (40, 50, 3), np.uint8) if rgb_value is None else np.full((40, 50, 3), rgb_value, np.uint8)
    )
    thermal = (
        rng.integers(2000, 4000, (30, 40), np.uint16)
        if thermal_value is None
        else np.full((30, 40), thermal_value, np.uint16)
    )
    arrivals = [Arrival(c, BASE + at * MS + d, BASE + at * MS + d, 0, 0) for c, d in (("rgb", 0), ("thermal", 3))]
    pick = Pick(*arrivals, arrivals[0].stamp_ns)
    return pick, Frame(arrivals[0].stamp_ns, "rgb", rgb), Frame(arrivals[1].stamp_ns, "thermal", thermal)


def test_a_flat_thermal_image_leaves_the_rgb_image_under_its_own_stamp():
    choice = Chooser(SETTINGS).choose(*frames(None, 3000))
    assert choice.pick.mode == "rgb_only"
    assert isinstance(choice.frames, Frame)
    assert choice.frames.frame_id == "rgb"
    assert choice.pick.stamp_ns == BASE
    assert choice.pick.dt_ns is None


def test_an_over_exposed_rgb_image_leaves_the_thermal_image_under_its_own_stamp():
    choice = Chooser(SETTINGS).choose(*frames(255, None))
    assert choice.pick.mode == "thermal_only"
    assert choice.frames.frame_id == "thermal"
    assert choice.pick.stamp_ns == BASE + 3


def test_two_bad_images_are_nothing():
    choice = Chooser(SETTINGS).choose(*frames(255, 3000))
    assert choice.frames is None
    assert choice.reason == "both cameras lost"


@pytest.mark.parametrize(("lost", "values"), [("rgb", (255, None)), ("thermal", (None, 3000))])
def test_stop_is_said_with_the_camera_that_is_lost(lost, values):
    choice = Chooser(DegradedSettings(rgb_lost="stop", thermal_lost="stop")).choose(*frames(*values))
    assert choice.frames is None
    assert choice.reason == f"{lost} lost"


def test_hold_shows_the_last_good_thermal_image_for_its_time_and_rgb_alone_after():
    chooser = Chooser(DegradedSettings(thermal_lost="hold", hold_ns=1000 * MS))
    _, _, good = frames(None, None)
    chooser.choose(*frames(None, None))
    for at, mode in ((33, "hold"), (990, "hold"), (1056, "rgb_only"), (1089, "rgb_only")):
        choice = chooser.choose(*frames(None, 3000, at))
        assert choice.pick.mode == mode
        assert choice.pick.stamp_ns == BASE + at * MS, "RGB's stamp"
        assert isinstance(choice.frames, FramePair) == (mode == "hold")
        if mode == "hold":
            assert (choice.frames.thermal.image == good.image).all()
            assert choice.pick.dt_ns == 3 - at * MS, "how old it is is said"
    assert chooser.choose(*frames(None, None, 1122)).pick.mode == "pair"


def test_hold_counts_from_what_a_frozen_camera_shows_and_not_across_a_loop():
    chooser = Chooser(DegradedSettings(thermal_lost="hold", hold_ns=1000 * MS))
    chooser.choose(*frames(None, None, 600))
    pick, rgb, _ = frames(None, None, 1200)
    alone = Pick(pick.rgb, None, pick.stamp_ns, "hold", stale_since_ns=BASE + 100 * MS)
    assert chooser.choose(alone, rgb, None).pick.mode == "rgb_only", "it has shown the same since 100 ms"
    alone = Pick(pick.rgb, None, pick.stamp_ns, "hold", stale_since_ns=BASE + 600 * MS)
    assert chooser.choose(alone, rgb, None).pick.mode == "hold"
    looped = Pick(Arrival("rgb", BASE, BASE, 0, 1), None, BASE, "hold", stale_since_ns=BASE + 600 * MS)
    assert chooser.choose(looped, rgb, None).pick.mode == "rgb_only"
