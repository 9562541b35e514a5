#!/usr/bin/env python3
"""Plays made-up cameras to the pairing and compares every pair with those of an observer who knows all stamps.

    python tools/pairing_oracle.py --minutes 60

The oracle lets every frame wait for `hold`, whether or not that is needed, and then takes of all that has arrived the
two nearest frames, then the next two, and so on: one to one, no farther apart than max_dt. Frames that are lost on the
way, and those that arrive behind a later one of the same camera, which the pairing counts as out of order, are in
neither. Exit code 1 where one pair differs.
"""

from __future__ import annotations

import argparse
import random
import sys
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass

from sage_fusion_ros.pipeline.pairing import Pairing, PairingSettings

MS = 1_000_000
SECOND = 1_000_000_000
BASE = 1_700_000_000 * SECOND


@dataclass(frozen=True)
class Cameras:
    """How two cameras behave.

    Attributes:
        rates: Frames a second, RGB and thermal.
        jitter_ms: A stamp lies so far off its even place at most.
        lost: Share of frames that never come, 0..1.
        latency_ms: Least and greatest time from stamp to arrival, drawn for each frame.
        in_order: A frame waits for those of its camera before it; otherwise it may overtake them.
    """

    rates: tuple[float, float]
    jitter_ms: float = 10.0
    lost: float = 0.0
    latency_ms: tuple[float, float] = (2.0, 40.0)
    in_order: bool = True


RATES = ((30.0, 30.0), (30.0, 9.0), (20.0, 25.0))
KINDS = {
    "jitter": {},
    "jitter, 10 % lost": {"lost": 0.1},
    "jitter, out of order": {"latency_ms": (2.0, 70.0), "in_order": False, "lost": 0.02},
}


@dataclass(frozen=True)
class Frame:
    """A frame on its way."""

    camera: str
    stamp_ns: int
    arrived_ns: int


@dataclass(frozen=True)
class Comparison:
    """What came out.

    Attributes:
        pairs: Pairs that the oracle made.
        missed: Those that the pairing did not make, by their stamps.
        added: Those that it alone made.
        frames: Frames that arrived.
        out_of_order: Of these, those that the pairing dropped as out of order.
        cut: In how many pairs the longest wait matters: an observer who could wait for ever would have others.
    """

    pairs: int
    missed: list[tuple[int, int]]
    added: list[tuple[int, int]]
    frames: int
    out_of_order: int
    cut: int

    @property
    def equal(self) -> bool:
        """Whether no pair differs."""
        return not self.missed and not self.added


def frames_of(cameras: Cameras, seconds: float, rng: random.Random) -> Iterator[Frame]:
    """All frames of both cameras that arrive, camera by camera, in the order of their stamps."""
    for camera, nominal in zip(("rgb", "thermal"), cameras.rates, strict=True):
        period = SECOND / nominal * (1 + rng.uniform(-1, 1) * 1e-3)  # so that the phase drifts through all values
        phase, last, jitter = rng.uniform(0, period), 0, min(cameras.jitter_ms * MS, 0.49 * period)
        for i in range(int(seconds * SECOND / period)):
            stamp = BASE + round(phase + i * period + rng.uniform(-jitter, jitter))
            arrived = stamp - BASE + round(rng.uniform(*cameras.latency_ms) * MS)
            if rng.random() >= cameras.lost:
                last = max(last + 1, arrived) if cameras.in_order else arrived
                yield Frame(camera, stamp, last)


def nearest_first(rgb: list[Frame], thermal: list[Frame], settings: PairingSettings) -> dict[Frame, Frame]:
    """The two nearest frames make a pair, then the two nearest of the rest, and so on; both ways round.

    Args:
        rgb: Frames in the order of their stamps.
        thermal: Likewise.
        settings: Greatest distance, and the offset.
    """
    times = [frame.stamp_ns - settings.thermal_offset_ns for frame in thermal]
    candidates = []
    for a in rgb:
        first = bisect_left(times, a.stamp_ns - settings.max_dt_ns)
        for i in range(first, bisect_right(times, a.stamp_ns + settings.max_dt_ns)):
            candidates.append((abs(times[i] - a.stamp_ns), a.stamp_ns, i, a))
    partners: dict[Frame, Frame] = {}
    for _, _, i, a in sorted(candidates, key=lambda candidate: candidate[:3]):
        if a not in partners and thermal[i] not in partners:
            partners[a], partners[thermal[i]] = thermal[i], a
    return partners


def oracle(frames: list[Frame], settings: PairingSettings) -> set[tuple[int, int]]:
    """The pairs of an observer who lets every frame wait for as long as it may, and then applies the rule.

    Args:
        frames: In the order of their arrival.
        settings: Greatest distance and longest wait.
    """
    waiting: dict[str, list[Frame]] = {"rgb": [], "thermal": []}
    settled: set[Frame] = set()
    pairs, coming = set(), 0
    for frame in frames:
        over_ns = frame.arrived_ns + settings.hold_ns
        while coming < len(frames) and frames[coming].arrived_ns < over_ns:
            insort(waiting[frames[coming].camera], frames[coming], key=lambda f: f.stamp_ns)
            coming += 1
        if frame in settled:
            continue
        partner = nearest_first(waiting["rgb"], waiting["thermal"], settings).get(frame)
        for decided in filter(None, (frame, partner)):
            settled.add(decided)
            waiting[decided.camera].remove(decided)
        if partner is not None:
            rgb, thermal = sorted((frame, partner), key=lambda f: f.camera)
            pairs.add((rgb.stamp_ns, thermal.stamp_ns))
    return pairs


def in_time(frames: list[Frame]) -> list[Frame]:
    """The frames that did not arrive behind a later one of their camera, of frames in the order of their arrival."""
    kept, last = [], dict.fromkeys(("rgb", "thermal"), 0)
    for frame in frames:
        if frame.stamp_ns > last[frame.camera]:
            kept.append(frame)
            last[frame.camera] = frame.stamp_ns
    return kept


def compare(cameras: Cameras, seconds: float, seed: int, settings: PairingSettings | None = None) -> Comparison:
    """Plays cameras to the pairing as the node would, and compares with the oracle."""
    settings = settings or PairingSettings()
    rng = random.Random(seed)
    frames = sorted(frames_of(cameras, seconds, rng), key=lambda frame: (frame.arrived_ns, frame.camera))
    pairing, made = Pairing(settings), []
    for frame in frames:
        while (deadline := pairing.next_deadline_ns()) is not None and deadline <= frame.arrived_ns:
            made += pairing.poll(deadline)
        made += pairing.add(frame.camera, frame.stamp_ns, frame.arrived_ns)
    made += pairing.poll(10**19)
    pairs = {(match.rgb.stamp_ns, match.thermal.stamp_ns) for match in made}
    heard = in_time(frames)
    expected = oracle(heard, settings)
    streams = ([f for f in heard if f.camera == camera] for camera in ("rgb", "thermal"))
    ever = {(a.stamp_ns, b.stamp_ns) for a, b in nearest_first(*streams, settings).items() if a.camera == "rgb"}
    late = sum(count for (_, reason), count in pairing.dropped.items() if reason == "out of order")
    missed, added = sorted(expected - pairs), sorted(pairs - expected)
    return Comparison(len(expected), missed, added, len(frames), late, len(expected ^ ever))


def main() -> int:
    """Runs every kind of camera at every rate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="simulated time of each combination")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    total = wrong = 0
    for rates in RATES:
        for kind, changes in KINDS.items():
            result = compare(Cameras(rates, **changes), args.minutes * 60, args.seed)
            total += result.pairs
            wrong += len(result.missed) + len(result.added)
            print(
                f"{rates[0]:g}/{rates[1]:g} Hz, {kind}: {result.frames} frames, {result.out_of_order} out of order, "
                f"{result.pairs} pairs, {len(result.missed)} missed, {len(result.added)} that should not be, "
                f"{result.cut} that the longest wait decides"
            )
            for r, t in (result.missed + result.added)[:3]:
                print(f"  differs: rgb {(r - BASE) / 1e9:.6f} s, thermal {(t - BASE) / 1e9:.6f} s")
    print(f"{total} pairs compared, {wrong} differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
