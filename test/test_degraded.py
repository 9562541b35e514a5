"""A lost camera: found in time, never where it lives, its partner's frames once each, pairs again when it is back."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_fusion_ros.pipeline import worker as worker_module
from sage_fusion_ros.pipeline.degraded import DegradedSettings, Intake
from sage_fusion_ros.pipeline.freeze import FreezeWatch
from sage_fusion_ros.pipeline.fusion_pipeline import Prepared, Wants
from sage_fusion_ros.pipeline.image_codec import encode
from sage_fusion_ros.pipeline.pairing import Pairing, PairingSettings
from sage_fusion_ros.pipeline.registration import Registered
from sage_fusion_ros.pipeline.types import FusionResult
from sage_fusion_ros.pipeline.worker import FusionWorker

MS = 1_000_000
BASE = 1_700_000_000_000 * MS
TIMEOUT = 500
SETTINGS = DegradedSettings(timeout_ns=TIMEOUT * MS, frozen_ns=TIMEOUT * MS)


def message(content):
    """A message of which only the bytes matter."""
    return SimpleNamespace(data=np.random.default_rng(content).integers(0, 256, 300, np.uint8).tobytes())


class Stage:
    """Two cameras before an intake; times in ms from the start. Content counts up unless a camera is frozen."""

    def __init__(self, settings=SETTINGS, hold_ms=40, rate=1.0):
        self.intake = Intake(Pairing(PairingSettings(max_dt_ns=10 * MS, hold_ns=hold_ms * MS)), settings)
        self.picks = []
        self.offered = 0
        self.rate = rate

    def send(self, camera, at, content=None, arrived=None):
        """One frame of this stamp; returns what came out at once."""
        self.offered += 1
        payload = message(hash((camera, at)) % 2**32 if content is None else content)
        arrived_ns = round((at if arrived is None else arrived) / self.rate * MS)
        unchanged = self.intake.unchanged(camera, payload)
        found = self.intake.add(camera, BASE + round(at * MS), arrived_ns, payload, unchanged)
        self.picks += found
        return found

    def play(self, begin, end, cameras=("rgb", "thermal"), step=33, frozen=()):
        """Frames of the cameras from begin to end."""
        for at in range(begin, end, step):
            for camera in cameras:
                self.send(camera, at, content=7 if camera in frozen else None)

    def account(self):
        """How many frames came out or were dropped, once nothing waits any more."""
        self.picks += self.intake.poll(10**18)
        out = [frame for pick in self.picks for frame in pick.frames]
        assert len({(f.camera, f.stamp_ns) for f in out}) == len(out), "no frame comes out twice"
        return len(out) + sum(self.intake.pairing.dropped.values())


def at_ms(pick):
    return (pick.stamp_ns - BASE) // MS


@pytest.mark.parametrize(
    ("dies", "lives", "mode"), [("thermal", "rgb", "rgb_only"), ("rgb", "thermal", "thermal_only")]
)
def test_a_silent_camera_is_found_in_time_and_taken_back(dies, lives, mode):
    stage = Stage()
    stage.play(0, 1000)
    stage.play(1000, 3000, cameras=(lives,))
    alone = [pick for pick in stage.picks if pick.mode != "pair"]
    assert {pick.mode for pick in alone} == {mode}
    assert TIMEOUT <= at_ms(alone[0]) - 990 <= TIMEOUT + 2 * 33, "by its last frame, within the timeout and a frame"
    assert np.diff([at_ms(pick) for pick in alone]).tolist() == [33] * (len(alone) - 1), "every frame from then on"
    assert all(pick.frames[0].camera == lives for pick in alone)
    assert stage.intake.lost() == {dies: "silent", lives: ""}
    before = len(stage.picks)
    stage.play(3003, 4000)
    back = stage.picks[before:]
    assert at_ms(back[0]) <= 3003 + 33
    assert {pick.mode for pick in back[1:]} == {"pair"}
    assert stage.intake.lost() == {"rgb": "", "thermal": ""}
    assert stage.account() == stage.offered


@pytest.mark.parametrize(("freezes", "mode"), [("thermal", "rgb_only"), ("rgb", "thermal_only")])
def test_a_frozen_camera_is_found_in_time_and_not_paired(freezes, mode):
    stage = Stage()
    stage.play(0, 990)
    stage.play(990, 3000, frozen=(freezes,))
    first = next(pick for pick in stage.picks if pick.mode == mode)
    assert TIMEOUT <= at_ms(first) - 990 <= TIMEOUT + 2 * 33
    assert {pick.mode for pick in stage.picks if pick.stamp_ns > first.stamp_ns} == {mode}
    assert stage.intake.lost()[freezes] == "frozen"
    assert stage.intake.pairing.dropped[freezes, "frozen"] > 40
    before = len(stage.picks)
    stage.play(3003, 3300)
    assert {pick.mode for pick in stage.picks[before + 1 :]} == {"pair"}
    assert stage.account() == stage.offered


@given(st.integers(2, 14), st.sampled_from([11, 16, 33, 111]))
def test_a_camera_that_repeats_its_images_is_not_frozen(repeats, period):
    """A core of 9 Hz behind an interface of 60 sends each image seven times."""
    if (repeats - 1) * period >= TIMEOUT:
        return
    watch = FreezeWatch()
    for i in range(100):
        assert not watch.note(i * period * MS, watch.unchanged(message(i // repeats).data), TIMEOUT * MS)


def test_two_equal_images_are_no_freeze_however_far_apart():
    watch = FreezeWatch()
    for i in range(10):
        assert not watch.note(i * 10_000 * MS, watch.unchanged(message(i // 2).data), TIMEOUT * MS)


@pytest.mark.parametrize("place", [0, 123_457, 299_999])
def test_one_byte_tells_a_live_image_from_a_frozen_one(place):
    data = np.zeros(300_000, np.uint8)
    watch = FreezeWatch()
    watch.unchanged(data.tobytes())
    assert watch.unchanged(data.tobytes())
    data[place] = 1
    assert not watch.unchanged(data.tobytes())


@pytest.mark.parametrize("data", [b"", None, [1, 2], "text"])
def test_data_that_are_no_image_are_no_freeze_and_no_crash(data):
    watch = FreezeWatch()
    for i in range(100):
        watch.note(i * 33 * MS, watch.unchanged(data), TIMEOUT * MS)
    assert not watch.frozen or data == b""


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([0.1, 0.5, 1, 2, 10]), st.sampled_from([33, 111]), st.integers(0, 100_000))
def test_a_paused_slow_or_fast_recording_loses_no_camera(rate, thermal_step, pause):
    """Stamps stand still while the clock on the wall goes on, or run at another speed."""
    stage = Stage(rate=rate)
    for at in range(0, 6000):
        arrived = at + (pause if at > 3000 else 0)
        if at % 33 == 0:
            stage.send("rgb", at, arrived=arrived)
        if at % thermal_step == 0:
            stage.send("thermal", at, arrived=arrived)
    assert stage.intake.lost() == {"rgb": "", "thermal": ""}
    assert {pick.mode for pick in stage.picks} == {"pair"}


@pytest.mark.parametrize(("slow", "step"), [("thermal", 1000), ("rgb", 700)])
def test_a_slow_camera_is_given_its_time(slow, step):
    stage = Stage()
    for at in range(0, 30_000):
        for camera in ("rgb", "thermal"):
            if at % (step if camera == slow else 33) == 0:
                stage.send(camera, at)
        if at > 10_000:
            assert stage.intake.lost() == {"rgb": "", "thermal": ""}
    last = stage.picks[-1].stamp_ns
    for at in range(30_000, 36_000, 33):
        stage.send("rgb" if slow == "thermal" else "thermal", at)
    assert stage.intake.lost()[slow] == "silent"
    first = next(pick for pick in stage.picks if pick.stamp_ns > last and pick.mode != "pair")
    assert at_ms(first) < 30_000 + 2.5 * step + 33


def test_a_jump_of_one_clock_loses_no_camera():
    stage = Stage()
    stage.play(0, 1000)
    stage.send("rgb", 3_600_000, arrived=1001)
    stage.send("rgb", 3_600_033, arrived=1033)
    assert stage.intake.lost()["thermal"] == ""


def test_a_bag_that_loops_goes_on_with_pairs():
    stage = Stage()
    for lap in range(3):
        for at in range(0, 2000, 33):
            for camera in ("rgb", "thermal"):
                stage.send(camera, at, arrived=lap * 2000 + at)
    assert {pick.mode for pick in stage.picks} == {"pair"}
    assert stage.intake.pairing.resets == 2


def test_a_camera_that_never_came_is_lost_too():
    stage = Stage()
    stage.play(0, 2000, cameras=("rgb",))
    assert stage.intake.lost()["thermal"] == "not there yet"
    assert stage.picks[-1].mode == "rgb_only"


def test_a_driver_that_sends_one_stamp_again_and_again_is_lost():
    stage = Stage()
    stage.play(0, 1000)
    for at in range(1023, 2500, 33):
        stage.send("rgb", at)
        stage.offered += 1
        stage.intake.add("thermal", BASE + 990 * MS, at * MS, message(at))
    assert stage.intake.lost()["thermal"] == "sending no new stamps"
    assert stage.picks[-1].mode == "rgb_only"
    assert stage.account() == stage.offered


def test_policy_stop_lets_nothing_out():
    stage = Stage(DegradedSettings(rgb_lost="stop", thermal_lost="stop"))
    stage.play(0, 990)
    stage.play(990, 3000, cameras=("rgb",))
    assert {pick.mode for pick in stage.picks} == {"pair"}
    assert stage.intake.pairing.dropped["rgb", "thermal lost"] > 40
    assert stage.account() == stage.offered


def test_with_a_timeout_of_0_nothing_is_lost():
    stage = Stage(DegradedSettings(timeout_ns=0, frozen_ns=0))
    stage.play(0, 990)
    stage.play(990, 5000, cameras=("rgb",))
    stage.play(5000, 8000, frozen=("thermal",))
    assert {pick.mode for pick in stage.picks} == {"pair"}


faults = st.lists(
    st.tuples(st.sampled_from(["rgb", "thermal"]), st.sampled_from(["dead", "frozen"]), st.integers(30, 3000)),
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(faults, st.sampled_from([33, 50, 111]), st.integers(0, 9))
def test_whatever_dies_every_frame_is_accounted_for_and_pairs_return(plan, thermal_step, phase):
    """Cameras die and freeze in turn, with two seconds of health between."""
    stage = Stage()
    spans, now = [], 2000
    for camera, fault, length in plan:
        spans.append((camera, fault, now, now + length))
        now += length + 2000
    for at in range(0, now):
        for camera, step, shift in (("rgb", 33, 0), ("thermal", thermal_step, phase)):
            if at < shift or (at - shift) % step:
                continue
            fault = next((f for c, f, begin, end in spans if c == camera and begin <= at < end), "")
            if fault != "dead":
                stage.send(camera, at, content=7 if fault == "frozen" else None)
    modes = [pick for pick in stage.picks if at_ms(pick) > now - 1000]
    assert modes
    assert all(pick.mode == "pair" for pick in modes)
    for pick in stage.picks:
        if pick.mode != "pair":
            other = "thermal" if pick.mode == "rgb_only" else "rgb"
            # By its last frame, which may have been one of thermal's intervals of 111 ms before the fault.
            first = TIMEOUT - 111
            assert any(c == other and begin + first <= at_ms(pick) <= end + 200 for c, _, begin, end in spans)
    assert stage.account() == stage.offered


class Sink:
    """Takes every result; nothing is computed, since there is no thread and no network."""

    def __init__(self):
        self.picks = []

    def wants(self):
        return Wants()

    def publish(self, pick, result, wants, watch):
        self.picks.append(pick)

    def report(self, camera, error):
        raise error


class Pipeline:
    """Gives the RGB image's size, or the thermal one's."""

    def prepare(self, pair):
        return Prepared(np.asarray(pair.rgb.image, np.uint8), Registered(None))

    def prepare_alone(self, frame, rgb_size):
        image = np.zeros((*frame.image.shape[:2], 3), np.uint8)
        return Prepared(image, Registered(None), "rgb" if frame.image.ndim == 3 else "thermal")

    def run(self, prepared, wants):
        return FusionResult(prepared.rgb, view=prepared.view)


def picture(camera, at, fault):
    """An image message: noise, or what the fault makes of it."""
    rng = np.random.default_rng(7 if fault == "frozen" else at)
    shape = (16, 16, 3) if camera == "rgb" else (16, 16)
    pixels = np.full(shape, 255, np.uint8) if fault == "blind" else rng.integers(20, 200, shape, np.uint8)
    encoded = encode(pixels)
    fields = {name: getattr(encoded, name) for name in ("height", "width", "encoding", "is_bigendian", "step", "data")}
    return SimpleNamespace(header=SimpleNamespace(frame_id=camera), **fields)


wild = st.lists(
    st.tuples(
        st.sampled_from(["rgb", "thermal"]),
        st.sampled_from(["dead", "frozen", "blind"]),
        st.integers(0, 2500),
        st.integers(30, 1500),
    ),
    max_size=6,
)


@settings(max_examples=20, deadline=None)
@given(
    wild,
    st.sampled_from(["rgb", "thermal"]),
    st.sampled_from([-200, -15, 0, 15, 200]),
    st.sampled_from([33, 111]),
    st.sampled_from(["rgb_only", "hold"]),
)
def test_no_stamp_goes_out_twice_and_none_before_the_last(plan, drive, offset, thermal_step, policy):
    """Whichever camera dies, freezes or goes blind, alone or together, at whatever offset of the clocks."""
    clock = SimpleNamespace(now=0)
    pairing = Pairing(PairingSettings(max_dt_ns=10 * MS, hold_ns=40 * MS, drive=drive, thermal_offset_ns=offset * MS))
    sink = Sink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker_module, "time", SimpleNamespace(monotonic_ns=lambda: clock.now))
        worker = FusionWorker(pairing, [Pipeline()], sink, degraded=DegradedSettings(thermal_lost=policy))
        sent = {"rgb": set(), "thermal": set()}
        for at in sorted({*range(0, 5000, 33), *range(0, 5000, thermal_step)}):
            clock.now = at * MS
            for camera, step, shift in (("rgb", 33, 0), ("thermal", thermal_step, offset)):
                if at % step:
                    continue
                found = [f for c, f, begin, length in plan if c == camera and begin <= at < begin + length]
                if "dead" not in found:
                    stamp = BASE + (at + shift) * MS
                    sent[camera].add(stamp)
                    worker.offer(camera, stamp, picture(camera, at, found[0] if found else ""))
            worker._store(worker.intake.poll(clock.now), clock.now)
            while (pick := worker._slot.take(0)) is not None:
                if (begun := worker._begin(pick, 0)) is not None:
                    worker._finish(begun)
    stamps = [pick.stamp_ns for pick in sink.picks]
    assert all(a < b for a, b in itertools.pairwise(stamps))
    for pick in sink.picks:
        camera = {"thermal_only": "thermal", "rgb_only": "rgb", "hold": "rgb", "pair": drive}[pick.mode]
        assert pick.stamp_ns in sent[camera]
        assert pick.frame_id == ("thermal" if pick.mode == "thermal_only" else "rgb")
    late = [pick for pick in sink.picks if pick.arrived_ns > 4_600 * MS]
    assert {pick.mode for pick in late} == {"pair"}, "all is well again"
