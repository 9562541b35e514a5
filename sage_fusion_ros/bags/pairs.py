"""Which messages of a bag make pairs: the node's own pairing, driven by the times of recording."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass

from sage_fusion_ros.pipeline.pairing import Match, Pairing, PairingSettings
from sage_fusion_ros.sources.bag import BagSource
from sage_fusion_ros.sources.base import CAMERAS, Camera


@dataclass(frozen=True)
class BagPairs:
    """The pairs of a bag.

    Attributes:
        matches: In the order in which they are fused: by stamp, and where the recording's time jumps back (a recorded
            loop), what lies before the jump first. A payload is the message's index in its topic.
        unpaired: Frames without a pair, by (camera, reason).
        jumps: How often time jumped back.
    """

    matches: list[Match]
    unpaired: dict[tuple[str, str], int]
    jumps: int


def pair_bag(source: BagSource, settings: PairingSettings) -> BagPairs:
    """Pairs the messages of a bag by their stamps.

    The clock that the longest wait is measured by is the time of recording, so a slow machine loses no pair, and the
    same bag gives the same pairs every time.

    Args:
        source: The bag.
        settings: As the node's.
    """
    pairing = Pairing(settings)
    found: list[Match] = []
    now = 0
    for received_ns, _, camera, index, stamp_ns in heapq.merge(*(_arrivals(source, camera) for camera in CAMERAS)):
        now = max(now, received_ns)
        # What the node's thread does between two messages: it wakes whenever a wait is over.
        while (deadline := pairing.next_deadline_ns()) is not None and deadline <= now:
            found += pairing.poll(deadline)
        found += pairing.add(camera, stamp_ns, now, index)
    while (deadline := pairing.next_deadline_ns()) is not None:
        found += pairing.poll(deadline)
    # A pair that had to wait for certainty comes after a later one; the node leaves it out, here nothing is in a hurry.
    found.sort(key=lambda match: (match.rgb.epoch, match.stamp_ns))
    unpaired: Counter[tuple[str, str]] = Counter({key: count for key, count in pairing.dropped.items() if count})
    return BagPairs(found, dict(sorted(unpaired.items())), pairing.resets)


def _arrivals(source: BagSource, camera: Camera) -> list[tuple[int, int, Camera, int, int]]:
    """(time of recording, camera's number, camera, index, stamp) of every message of a camera."""
    times = zip(source.received_ns(camera), source.camera_stamps(camera), strict=True)
    return [(received, CAMERAS.index(camera), camera, index, stamp) for index, (received, stamp) in enumerate(times)]
