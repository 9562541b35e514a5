"""People: a skeleton in a walking pose, dressed in tapered limbs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sage_fusion_ros.sources.street.body import Body, Shape, Vector


@dataclass(frozen=True, eq=False)
class Look:
    """How a person is built and dressed. Colours are linear albedo."""

    height: float
    coat: Vector
    trousers: Vector
    skin: Vector
    hair: Vector
    long_coat: bool
    bag: bool
    helmet: bool = False


def random_look(random: np.random.Generator, helmet: bool = False) -> Look:
    """Clothes as people wear them: mostly dark, now and then a colour."""
    coats = (
        (0.03, 0.04, 0.07),
        (0.05, 0.05, 0.05),
        (0.28, 0.05, 0.05),
        (0.08, 0.14, 0.26),
        (0.33, 0.28, 0.20),
        (0.10, 0.16, 0.10),
        (0.45, 0.33, 0.06),
        (0.42, 0.42, 0.42),
    )
    legs = ((0.03, 0.04, 0.09), (0.03, 0.03, 0.03), (0.10, 0.09, 0.08), (0.22, 0.18, 0.13))
    skins = ((0.50, 0.31, 0.22), (0.34, 0.19, 0.12), (0.13, 0.07, 0.045), (0.58, 0.40, 0.30))
    hair = ((0.02, 0.015, 0.01), (0.09, 0.05, 0.025), (0.30, 0.20, 0.09), (0.35, 0.34, 0.33))
    return Look(
        float(random.uniform(1.58, 1.86)),
        *(np.array(table[int(random.integers(len(table)))]) for table in (coats, legs, skins, hair)),
        long_coat=bool(random.random() < 0.35),
        bag=bool(random.random() < 0.4),
        helmet=helmet,
    )


def clothing_celsius(air: float) -> float:
    """Surface temperature of a dressed body."""
    return air + 0.75 * (33.0 - air)


POSES = 36
"""Poses of a stride; at 30 pairs a second hardly fewer would be seen."""


@lru_cache(maxsize=2048)
def walker(look: Look, heading: float, pose: int | None, air: float, fine: bool) -> Shape:
    """Someone on foot.

    Args:
        look: Build and clothes.
        heading: Direction of walking in radians; 0 is away from the camera, pi/2 to the right.
        pose: Which of the POSES of a stride; None stands.
        air: Air temperature.
        fine: Whether to draw details.
    """
    body = Body(fine)
    walking = pose is not None
    phase = 2 * np.pi * (pose or 0) / POSES
    h = look.height
    forward = np.array((np.sin(heading), 0.0, np.cos(heading)))
    aside = np.array((np.cos(heading), 0.0, -np.sin(heading)))
    up = np.array((0.0, 1.0, 0.0))
    base = np.zeros(3)
    legs, lowest = [], []
    for side, turn in ((-1, phase), (1, phase + np.pi)):
        swing = 0.46 * np.sin(turn) if walking else 0.05 * side
        bend = 0.08 + (0.85 * max(0.0, float(np.cos(turn))) if walking else 0.0)
        hip = base + aside * (0.085 * side) + up * (0.52 * h)
        knee = hip + 0.255 * h * (forward * np.sin(swing) - up * np.cos(swing))
        ankle = knee + 0.235 * h * (forward * np.sin(swing - bend) - up * np.cos(swing - bend))
        toe = ankle + forward * 0.17 - up * 0.035
        legs.append((side, hip, knee, ankle, toe))
        lowest.append(min(ankle[1], toe[1]))
    drop = up * (min(lowest) - 0.03)  # the lower foot stands on the ground
    cloth, far_side = clothing_celsius(air), 1 if aside[2] > 0 else -1

    def leg(side: int, hip: Vector, knee: Vector, ankle: Vector, toe: Vector) -> None:
        body.limb((toe - drop, ankle - drop), (0.04, 0.05), look.hair * 0.7 + 0.01, cloth - 5)
        body.limb((knee - drop, ankle - drop), (0.06, 0.045), look.trousers, cloth - 1.5)
        body.limb((hip - drop, knee - drop), (0.088, 0.064), look.trousers, cloth - 0.8)

    def arm(side: int) -> None:
        swing = (-0.5 * np.sin(phase + (0 if side < 0 else np.pi))) if walking else 0.04
        shoulder = base + aside * (0.195 * side * h / 1.75) + up * (0.80 * h) - drop
        elbow = shoulder + 0.175 * h * (forward * np.sin(swing) - up * np.cos(swing)) + aside * (0.03 * side)
        hand = elbow + 0.155 * h * (forward * np.sin(swing + 0.4) - up * np.cos(swing + 0.4))
        body.limb((elbow, hand), (0.046, 0.036), look.coat, cloth - 0.6)
        body.limb((shoulder, elbow), (0.062, 0.048), look.coat, cloth - 0.4)
        tip = hand + (hand - elbow) * 0.16
        body.limb((tip, hand), (0.034, 0.034), look.skin, 31.0)

    by_distance = sorted(legs, key=lambda leg: -leg[0] * far_side)
    leg(*by_distance[0])
    arm(far_side)
    leg(*by_distance[1])
    _torso(body, look, base - drop, forward, aside, cloth)
    arm(-far_side)
    return body.build()


def _torso(body: Body, look: Look, base: Vector, forward: Vector, aside: Vector, cloth: float) -> None:
    h, up = look.height, np.array((0.0, 1.0, 0.0))

    def across(wide: float, deep: float) -> float:
        return float(np.hypot(wide * aside[0], deep * forward[0])) * h / 1.75

    levels = [
        (base + up * (0.835 * h), across(0.11, 0.09)),
        (base + up * (0.805 * h), across(0.205, 0.115)),
        (base + up * (0.64 * h), across(0.175, 0.125)),
        (base + up * (0.50 * h), across(0.185, 0.13)),
    ]
    if look.long_coat:
        levels.append((base + up * (0.33 * h), across(0.215, 0.165)))
    carries_behind = look.bag and forward[2] > -0.3
    if look.bag and not carries_behind:
        _bag(body, look, base, forward, cloth)
    body.slab(levels, look.coat, cloth + 0.6)
    if carries_behind:
        _bag(body, look, base, forward, cloth)
    neck = (base + up * (0.83 * h), base + up * (0.88 * h) + forward * 0.01)
    body.limb(neck, (0.055, 0.05), look.skin, 33.0)
    head(body, look, base + up * (0.928 * h) + forward * 0.02, forward)


def _bag(body: Body, look: Look, base: Vector, forward: Vector, cloth: float) -> None:
    up = np.array((0.0, 1.0, 0.0))
    middle = base - forward * 0.17
    half = float(np.hypot(0.15 * forward[2], 0.09 * forward[0])) + 0.01
    levels = [
        (middle + up * (share * look.height), half * width)
        for share, width in ((0.81, 0.75), (0.77, 1), (0.60, 1), (0.57, 0.8))
    ]
    body.slab(levels, look.trousers[::-1] * 0.8 + 0.02, cloth - 8)


def head(body: Body, look: Look, middle: Vector, forward: Vector) -> None:
    """A head with a face toward `forward`, and hair or a helmet."""
    radius = 0.062 * look.height
    size = np.array((0.80, 1.06)) * radius
    hair = np.array((0.55, 0.52, 0.48)) if look.helmet else look.hair
    warm, none = 27.0 if look.helmet else 30.0, np.zeros(2)
    body.disc(middle, none, size * 1.06, hair, np.array((0.0, 0.2, -0.98)), warm)
    toward = -float(forward[2])
    if toward > -0.35:  # the face, or a part of it, is on this side
        face = np.array((0.62 + 0.28 * max(toward, 0.0), 0.82)) * size
        aside = np.array((float(forward[0]) * 0.38, 0.16)) * size
        body.disc(middle, aside, face, look.skin, np.array((float(forward[0]) * 0.5, 0.1, -0.85)), 34.0)
        body.disc(middle, np.array((0.0, -0.62)) * size, size * (1.0, 0.46), hair, np.array((0.0, 0.7, -0.7)), warm)
