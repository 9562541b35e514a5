"""Holds the pairs a node made against the pairs the source sent, by source index and not by stamp distance.

The replay knows which source index went out under which stamp of which camera. fusion_node tells the two stamps of
every pair it made. Where both stamps lead to the same index, the pair is right; where they don't, it is mixed, however
close the stamps were. A looped source sends an index several times: each time counts as a pair of its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.evaluation.recording import Recording, ReplayLog
from sage_fusion_ros.sources.base import RecordedCameras

SourceKey = tuple[int, int]
"""(source index, how often this camera had sent it before)."""

EXAMPLES = 5


class StampIndex:
    """Which source pair a stamp of a camera belongs to.

    Args:
        log: What the replay sent.
        partners: For a source whose cameras count for themselves (a bag): the RGB index of each thermal index that has
            one. Others have one index for both cameras.
    """

    def __init__(self, log: ReplayLog, partners: dict[int, int] | None = None) -> None:
        self._keys: dict[tuple[str, int], set[SourceKey]] = defaultdict(set)
        seen: Counter[tuple[str, int]] = Counter()
        cameras: dict[SourceKey, dict[str, int]] = {}
        for sent in log.sent:
            index = sent.index
            if sent.camera == "thermal" and partners is not None:
                index = partners.get(index, -1 - index)  # without a partner: below 0, where no RGB index is
            key = (index, seen[sent.camera, index])
            seen[sent.camera, index] += 1
            self._keys[sent.camera, sent.stamp_ns].add(key)
            cameras.setdefault(key, {})[sent.camera] = sent.stamp_ns
        self.pairs = {key: stamps for key, stamps in cameras.items() if len(stamps) == 2}
        """Stamps by camera of every pair sent by both cameras, in the order of sending."""

    def keys(self, camera: str, stamp_ns: int) -> set[SourceKey]:
        """Source pairs sent by this camera under this stamp; empty for a stamp it never sent."""
        return self._keys.get((camera, stamp_ns), set())


@dataclass(frozen=True)
class IndexCheck:
    """Outcome of the check.

    Attributes:
        sent: Pairs the source sent.
        before_discovery: First of them, not counted: DDS had not yet connected everything.
        counted: sent - before_discovery.
        matched: Counted pairs that came back fused, made of the two images of one source index.
        share: matched / counted; 0 where nothing was counted.
        mixed: Pairs made of two different indexes, or of a stamp nobody sent.
        unexplained: Fused images whose pair stamps never arrived; they do not count as matched.
        repeated: Fused images under a stamp that had already gone out.
        examples: A few of the mixed pairs, in words.
    """

    sent: int
    before_discovery: int
    counted: int
    matched: int
    share: float
    mixed: int
    unexplained: int
    repeated: int
    examples: list[str]

    def failures(self, min_share: float, max_mixed: int = 0) -> list[str]:
        """Why this run does not pass, in words; empty when it does."""
        reasons = []
        if self.counted == 0:
            reasons.append("the source sent no pair after discovery")
        elif self.share < min_share:
            reasons.append(
                f"{self.matched} of {self.counted} pairs came back fused with equal index ({self.share:.2%}); "
                f"at least {min_share:.2%} was asked for"
            )
        if self.mixed > max_mixed:
            reasons.append(f"{self.mixed} mixed pairs (allowed: {max_mixed}), for example {'; '.join(self.examples)}")
        if self.repeated:
            reasons.append(f"{self.repeated} fused images went out under a stamp used before")
        return reasons

    def as_dict(self) -> dict[str, Any]:
        """Fields by name, for the report."""
        return asdict(self)


def _name(keys: set[SourceKey]) -> str:
    return " or ".join(str(index) for index, _ in sorted(keys)) or "a stamp nobody sent"


def _before_discovery(
    stamps: StampIndex, keys: list[SourceKey], back: set[SourceKey], drive: str, discovery_s: float
) -> int:
    """How many of the first pairs went out before everything was connected; none where nothing ever came back."""
    if not back:
        return 0
    for count, key in enumerate(keys):
        age_ns = stamps.pairs[key][drive] - stamps.pairs[keys[0]][drive]
        if key in back or age_ns >= discovery_s * 1e9:
            return count
    return 0


def recorded_partners(source: RecordedCameras) -> dict[int, int]:
    """Thermal index to RGB index of the recorded images that are each other's nearest in time."""
    times = {camera: np.asarray(source.camera_stamps(camera), np.int64) for camera in ("rgb", "thermal")}
    to_thermal, to_rgb = _nearest(times["rgb"], times["thermal"]), _nearest(times["thermal"], times["rgb"])
    return {int(to_thermal[rgb]): rgb for rgb in range(len(to_thermal)) if to_rgb[to_thermal[rgb]] == rgb}


def _nearest(times: npt.NDArray[np.int64], others: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """For each time the index of the other one nearest to it."""
    order = np.argsort(others, kind="stable")
    ordered = others[order]
    after = np.clip(np.searchsorted(ordered, times), 1, max(1, len(ordered) - 1))
    before = after - 1
    after = np.minimum(after, len(ordered) - 1)
    nearer = np.where(np.abs(ordered[before] - times) <= np.abs(ordered[after] - times), before, after)
    return np.asarray(order[nearer], np.int64)


def check_indexes(stamps: StampIndex, run: Recording, *, drive: str = "rgb", discovery_s: float = 1.0) -> IndexCheck:
    """Compares a recording with what the replay sent.

    Args:
        stamps: What the replay sent.
        run: The recorder's file.
        drive: Camera whose stamp the fused image carries.
        discovery_s: Discovery ends with the first pair that came back, and at the latest this many seconds of stamps
            after the first pair sent, so that a node that starts late does not pass.
    """
    made: dict[int, tuple[set[SourceKey], set[SourceKey]]] = {}
    mixed = 0
    examples: list[str] = []
    for pair in run.pairs:
        rgb, thermal = stamps.keys("rgb", pair.rgb_ns), stamps.keys("thermal", pair.thermal_ns)
        made[pair.rgb_ns if drive == "rgb" else pair.thermal_ns] = rgb, thermal
        if not rgb & thermal:
            mixed += 1
            if len(examples) < EXAMPLES:
                examples.append(f"RGB {_name(rgb)} with thermal {_name(thermal)}")

    back: set[SourceKey] = set()
    unexplained = repeated = 0
    gone_out: set[int] = set()
    for fused in run.fused:
        repeated += fused.stamp_ns in gone_out
        gone_out.add(fused.stamp_ns)
        if fused.stamp_ns in made:
            rgb, thermal = made[fused.stamp_ns]
            back |= rgb & thermal
        else:
            unexplained += 1

    keys = list(stamps.pairs)
    before = _before_discovery(stamps, keys, back, drive, discovery_s)
    counted = keys[before:]
    matched = sum(key in back for key in counted)
    return IndexCheck(
        sent=len(keys),
        before_discovery=before,
        counted=len(counted),
        matched=matched,
        share=matched / len(counted) if counted else 0.0,
        mixed=mixed,
        unexplained=unexplained,
        repeated=repeated,
        examples=examples,
    )
