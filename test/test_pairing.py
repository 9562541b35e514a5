"""Pairs by stamps: nearest first, one to one, within the longest wait, whatever the cameras do."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_fusion_ros.pipeline.pairing import Pairing, PairingSettings

MS = 1_000_000
BASE = 1_700_000_000_000 * MS


def play(pairing, events):
    """Feeds (camera, stamp, arrival) events, polls at each deadline; returns (rgb, thermal) stamps and matches."""
    matches = []
    for camera, stamp, arrived in sorted(events, key=lambda event: event[2]):
        while (deadline := pairing.next_deadline_ns()) is not None and deadline <= arrived:
            matches += pairing.poll(deadline)
        matches += pairing.add(camera, stamp, arrived)
    matches += pairing.poll(10**19)
    return [(match.rgb.stamp_ns, match.thermal.stamp_ns) for match in matches], matches


def oracle(rgb, thermal, max_dt, offset=0):
    """The rule as an observer who knows all stamps applies it: nearest two first, repeat."""
    candidates = sorted((abs(t - offset - r), r, t) for r in rgb for t in thermal if abs(t - offset - r) <= max_dt)
    used, pairs = set(), []
    for _, r, t in candidates:
        if ("r", r) not in used and ("t", t) not in used:
            used |= {("r", r), ("t", t)}
            pairs.append((r, t))
    return sorted(pairs)


def camera_stamps(rng, rate, seconds, jitter_ms, phase_ms):
    period = 1e9 / rate
    count = int(rate * seconds)
    return [BASE + round(i * period + phase_ms * MS + rng.uniform(-1, 1) * jitter_ms * MS) for i in range(count)]


@pytest.mark.parametrize("drive", ["rgb", "thermal"])
@pytest.mark.parametrize(("rgb_hz", "thermal_hz"), [(30, 30), (30, 9), (9, 30), (20, 25), (60, 30)])
@pytest.mark.parametrize("jitter_ms", [0, 3, 10])
def test_equals_the_oracle(rgb_hz, thermal_hz, jitter_ms, drive):
    for seed in range(5):
        rng = random.Random(seed)
        rgb = camera_stamps(rng, rgb_hz, 10, min(jitter_ms, 400 / rgb_hz), 0)
        thermal = camera_stamps(rng, thermal_hz, 10, min(jitter_ms, 400 / thermal_hz), rng.uniform(0, 30))
        pairing = Pairing(PairingSettings(max_dt_ns=20 * MS, hold_ns=400 * MS, drive=drive))
        events = [("rgb", s, s + 5 * MS) for s in rgb] + [("thermal", s, s + 12 * MS) for s in thermal]
        pairs, matches = play(pairing, events)
        assert sorted(pairs) == oracle(rgb, thermal, 20 * MS)
        stamps = [match.stamp_ns for match in matches]
        assert stamps == sorted(set(stamps)), "a stamp goes out once, in order"
        assert set(stamps) <= set(rgb if drive == "rgb" else thermal)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 2000), min_size=0, max_size=40, unique=True),
    st.lists(st.integers(0, 2000), min_size=0, max_size=40, unique=True),
    st.integers(0, 50),
    st.integers(0, 60),
)
def test_no_frame_is_lost_or_used_twice(rgb, thermal, max_dt, hold):
    """Whatever comes: every frame ends in exactly one pair or is counted as dropped, and no pair breaks max_dt."""
    pairing = Pairing(PairingSettings(max_dt_ns=max_dt * MS, hold_ns=hold * MS))
    events = [("rgb", BASE + s * MS, s * MS) for s in sorted(rgb)]
    events += [("thermal", BASE + s * MS, s * MS) for s in sorted(thermal)]
    pairs, matches = play(pairing, events)
    assert len({r for r, _ in pairs}) == len({t for _, t in pairs}) == len(pairs) == pairing.matched
    assert all(abs(match.dt_ns) <= max_dt * MS for match in matches)
    assert 2 * len(pairs) + sum(pairing.dropped.values()) == len(rgb) + len(thermal)


def test_a_pair_goes_out_with_its_later_image():
    """Cameras that fire together wait for nothing once their rate is known."""
    pairing = Pairing()
    period = 33 * MS
    for i in range(12):
        pairing.add("rgb", BASE + i * period, i * period)
        pairing.add("thermal", BASE + i * period + 2 * MS, i * period + 2 * MS)
    assert pairing.add("rgb", BASE + 12 * period, 12 * period) == []
    (match,) = pairing.add("thermal", BASE + 12 * period + 2 * MS, 12 * period + 2 * MS)
    assert match.rgb.stamp_ns == BASE + 12 * period
    assert match.dt_ns == 2 * MS


def test_offset_is_taken_off_before_pairing_and_stamps_stay_as_received():
    rgb = [BASE + i * 33 * MS for i in range(30)]
    thermal = [s + 40 * MS for s in rgb]
    events = [("rgb", s, s) for s in rgb] + [("thermal", s, s) for s in thermal]
    right, matches = play(Pairing(PairingSettings(max_dt_ns=10 * MS, thermal_offset_ns=40 * MS)), events)
    assert right == list(zip(rgb, thermal, strict=True))
    assert {match.dt_ns for match in matches} == {0}
    wrong, _ = play(Pairing(PairingSettings(max_dt_ns=10 * MS)), events)
    assert wrong
    assert not set(wrong) & set(right), "without the offset every pair is of two moments"


def test_nobody_waits_longer_than_hold():
    pairing = Pairing(PairingSettings(hold_ns=50 * MS))
    pairing.add("rgb", BASE, 1000 * MS)
    assert pairing.next_deadline_ns() == 1050 * MS
    assert pairing.poll(1049 * MS) == []
    assert not pairing.dropped
    assert pairing.poll(1050 * MS) == []
    assert pairing.dropped["rgb", "no partner"] == 1
    assert pairing.next_deadline_ns() is None


def test_an_uncertain_pair_goes_out_when_the_wait_is_over():
    """The thermal camera dies after its frame: nothing nearer comes, and the pair is not lost."""
    pairing = Pairing(PairingSettings(hold_ns=50 * MS))
    assert pairing.add("thermal", BASE, 0) == []
    assert pairing.add("rgb", BASE + 15 * MS, 15 * MS) == []
    (match,) = pairing.poll(50 * MS)
    assert match.dt_ns == -15 * MS


def test_repeated_and_late_stamps_are_counted():
    pairing = Pairing()
    pairing.add("rgb", BASE + 100 * MS, 0)
    pairing.add("rgb", BASE + 100 * MS, 1)
    pairing.add("rgb", BASE + 90 * MS, 2)
    assert pairing.dropped["rgb", "repeated stamp"] == 1
    assert pairing.dropped["rgb", "out of order"] == 1
    assert pairing.resets == 0


@pytest.mark.parametrize("thermal_lag_ms", [0, 60])
def test_a_looping_bag_loses_and_mixes_nothing(thermal_lag_ms):
    """Four loops of a 10 s bag, 30 Hz with 9 Hz: the same pairs every time, none across loops."""
    rgb = [BASE + round(i * 1e9 / 30) for i in range(300)]
    thermal = [BASE + round(i * 1e9 / 9) + 4 * MS for i in range(90)]
    expected = oracle(rgb, thermal, 20 * MS)
    events = []
    for loop in range(4):
        start = loop * 10_000 * MS
        events += [("rgb", s, start + s - BASE) for s in rgb]
        events += [("thermal", s, start + s - BASE + thermal_lag_ms * MS) for s in thermal]
    pairing = Pairing()
    pairs, matches = play(pairing, events)
    assert sorted(pairs) == sorted(expected * 4)
    assert pairing.resets == 3
    assert all(
        match.rgb.arrived_ns // (10_000 * MS) == (match.thermal.arrived_ns - thermal_lag_ms * MS) // (10_000 * MS)
        for match in matches
    )


def test_one_restarted_camera_is_taken_back_after_a_while():
    """A driver restarts with its clock set back by 2 s: no pair matches until it is put right."""
    pairing = Pairing()
    period = 33 * MS
    now = 0
    for i in range(30):
        now = i * period
        pairing.add("rgb", BASE + now, now)
        pairing.add("thermal", BASE + now, now)
    before = pairing.matched
    for i in range(30, 90):
        now = i * period
        pairing.add("rgb", BASE + now, now)
        pairing.add("thermal", BASE + now - 2000 * MS, now)
    assert pairing.matched == before
    for i in range(90, 120):
        now = i * period
        pairing.add("rgb", BASE + now, now)
        pairing.add("thermal", BASE + now, now)
    assert pairing.matched >= before + 29


def test_memory_is_bounded_when_one_camera_is_silent():
    pairing = Pairing(PairingSettings(hold_ns=10**12))
    for i in range(1000):
        pairing.add("rgb", BASE + i * MS, i)
    assert pairing.dropped["rgb", "no partner"] >= 900


@pytest.mark.parametrize("wrong", [{"drive": "left"}, {"max_dt_ns": -1}, {"hold_ns": -1}])
def test_settings_refuse_nonsense(wrong):
    with pytest.raises(ValueError, match=r"drive|negative"):
        PairingSettings(**wrong)


def test_clear_counts_what_waited():
    pairing = Pairing()
    pairing.add("rgb", BASE, 0)
    pairing.clear("stopped")
    assert pairing.dropped["rgb", "stopped"] == 1
    assert pairing.next_deadline_ns() is None
