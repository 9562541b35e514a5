"""What stamps tell of two clocks: offset, drift and jitter found again, each repeat and jump counted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_fusion_ros.pipeline.clock_watch import BACK, LATE, REPEATED, STEP, ClockWatch, StampWatch

MS = 1_000_000
BASE = 1_700_000_000_000 * MS


def play(watch, seconds=10, rgb_hz=30.0, thermal_hz=30.0, offset_ms=0.0, drift=0.0, jitter_ms=0.0, delays=(5, 5)):
    """Both cameras see the same moments; thermal stamps them offset_ms later, and drift ms more each minute."""
    rng = np.random.default_rng(1)
    frames = []
    for camera, hz, offset, delay in (("rgb", rgb_hz, 0.0, delays[0]), ("thermal", thermal_hz, offset_ms, delays[1])):
        for i in range(int(seconds * hz)):
            seen = i * 1000 / hz
            stamp = seen + offset + (drift * seen / 60_000 if camera == "thermal" else 0)
            stamp += rng.uniform(-jitter_ms, jitter_ms)
            frames.append((seen + delay + rng.uniform(0, 3), camera, stamp))
    for arrived, camera, stamp in sorted(frames):
        watch.add(camera, BASE + round(stamp * MS), BASE + round(arrived * MS))


@settings(max_examples=30, deadline=None)
@given(
    st.floats(-5000, 5000),
    st.floats(0, 2),
    st.sampled_from([(30, 30), (30, 10), (10, 30), (60, 30)]),
    st.integers(0, 5),
)
def test_the_offset_of_cameras_triggered_together_is_found(offset_ms, jitter_ms, rates, later):
    """Whatever it is, as long as the two delays differ by less than half a period."""
    watch = ClockWatch()
    play(watch, 6, *rates, offset_ms=offset_ms, jitter_ms=jitter_ms, delays=(5, 5 + later))
    found = watch.offset()
    assert found.together
    assert found.ms == pytest.approx(offset_ms, abs=1 + jitter_ms / 2)
    assert found.spread_ms <= 4 * jitter_ms + 0.1


@settings(max_examples=20, deadline=None)
@given(st.floats(-5000, 5000))
def test_of_cameras_that_run_freely_only_arrival_tells(offset_ms):
    watch = ClockWatch()
    play(watch, 14, 30.0, 26.3, offset_ms=offset_ms, delays=(5, 45))
    found = watch.offset()
    assert not found.together
    assert found.ms == pytest.approx(offset_ms - 40, abs=3), "less the difference of the delays"


@settings(max_examples=15, deadline=None)
@given(st.floats(-60, 60))
def test_drift_is_found(drift):
    watch = ClockWatch()
    play(watch, 30, drift=drift)
    assert watch.offset().drift_ms_per_min == pytest.approx(drift, abs=1.5)


def test_both_clocks_running_off_ours_are_no_drift_between_them():
    """A recording played at 1.1 times its speed."""
    watch = ClockWatch()
    for i in range(600):
        for camera in ("rgb", "thermal"):
            watch.add(camera, BASE + i * 33 * MS, BASE + i * 30 * MS)
    assert watch.offset().drift_ms_per_min == pytest.approx(0, abs=0.01)
    assert watch.cameras["rgb"].drift() == pytest.approx(6000, rel=0.01)


def test_interval_and_jitter():
    watch = ClockWatch()
    play(watch, rgb_hz=20.0, jitter_ms=4.0)
    found = watch.intervals_ms()
    assert found["rgb"][0] == pytest.approx(50, abs=1)
    assert 3 < found["rgb"][1] <= 8
    assert found["thermal"][0] == pytest.approx(33.3, abs=1)


def test_nothing_is_said_of_too_few_frames():
    watch = ClockWatch()
    play(watch, seconds=0.2)
    assert watch.offset() is None
    assert watch.intervals_ms() == {}


def test_repeats_late_stamps_and_jumps_are_told_apart():
    watch = StampWatch()
    at = iter(range(0, 10**12, 33 * MS))
    assert watch.add(BASE, next(at)) == ""
    assert watch.add(BASE + 33 * MS, next(at)) == ""
    assert watch.add(BASE + 33 * MS, next(at)) == REPEATED
    assert watch.add(BASE, next(at)) == LATE
    assert watch.add(BASE + 132 * MS, next(at)) == ""
    assert watch.add(BASE - 10_000 * MS, next(at)) == BACK
    assert watch.add(BASE - 9_967 * MS, next(at)) == ""
    assert watch.add(BASE + 50_000 * MS, next(at)) == STEP, "forwards, alone"
    assert watch.add(BASE + 50_033 * MS, next(at) + 90_000 * MS) == STEP, "a pause of the recording"
    assert (watch.repeated, watch.late, watch.jumps_back, watch.steps) == (1, 1, 1, 2)


def test_a_small_step_back_is_a_new_start_when_it_stays():
    watch = StampWatch()
    for i in range(10):
        watch.add(BASE + i * 33 * MS, i * 33 * MS)
    events = [watch.add(BASE + (i - 10) * 33 * MS, i * 33 * MS) for i in range(10, 20)]
    assert events[:3] == [LATE, LATE, BACK]
    assert set(events[3:]) == {""}


def test_a_camera_that_comes_back_after_a_minute_is_no_jump():
    watch = StampWatch()
    watch.add(BASE, 0)
    assert watch.add(BASE + 60_000 * MS, 60_000 * MS) == ""


def test_a_loop_makes_the_offset_be_measured_anew():
    watch = ClockWatch()
    play(watch, offset_ms=100.0)
    assert watch.offset().ms == pytest.approx(100, abs=1)
    watch.add("rgb", BASE - 100_000 * MS, BASE + 10_100 * MS)
    assert watch.offset() is None


@given(st.lists(st.tuples(st.sampled_from(["rgb", "thermal"]), st.integers(0, 3000), st.integers(0, 50)), max_size=80))
def test_wild_stamps_break_nothing(frames):
    watch = ClockWatch()
    now, counted = 0, 0
    for camera, stamp, step in frames:
        now += step
        counted += watch.add(camera, stamp * MS, now * MS) == ""
    watch.offset()
    watch.intervals_ms()
    cameras = watch.cameras.values()
    assert counted + sum(c.repeated + c.late + c.jumps_back + c.steps for c in cameras) == len(frames)
