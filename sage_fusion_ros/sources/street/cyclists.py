"""A bicycle and the one who rides it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from sage_fusion_ros.sources.street.body import Body, Shape, Vector
from sage_fusion_ros.sources.street.people import POSES, Look, clothing_celsius, head

_TURN = np.arange(21) * (2 * np.pi / 20)
_UP = np.array((0.0, 1.0, 0.0))
_METAL = np.array((0.0, 0.3, -0.95))


def _axes(heading: float) -> tuple[Vector, Vector]:
    return np.array((np.sin(heading), 0.0, np.cos(heading))), np.array((np.cos(heading), 0.0, -np.sin(heading)))


@lru_cache(maxsize=64)
def bicycle(colour: tuple[float, float, float], heading: float, air: float) -> Shape:
    """Wheels and frame as lines."""
    body = Body(True)
    forward, aside = _axes(heading)
    base = np.zeros(3)

    def line(points: list[Vector], width: float, albedo: tuple[float, float, float], celsius: float) -> None:
        body.line(points, width, np.array(albedo), celsius)

    for place in (-0.53, 0.53):
        hub = base + forward * place + _UP * 0.34
        ring = hub + 0.325 * (np.cos(_TURN)[:, None] * forward + np.sin(_TURN)[:, None] * _UP)
        line(list(ring), 0.045, (0.03, 0.03, 0.03), air + 3.5)
        for spoke in range(0, 20, 4):
            line([hub, ring[spoke]], 0.006, (0.4, 0.4, 0.4), air + 1)
    rear, front = base - forward * 0.53 + _UP * 0.34, base + forward * 0.53 + _UP * 0.34
    crank, seat = base - forward * 0.08 + _UP * 0.30, base - forward * 0.22 + _UP * 0.88
    stem = base + forward * 0.36 + _UP * 0.92
    for points in ([rear, crank, stem, seat, crank], [seat, rear], [stem, front]):
        line(points, 0.035, colour, air + 1)
    line(
        [stem + aside * 0.27 + _UP * 0.06, stem + _UP * 0.1, stem - aside * 0.27 + _UP * 0.06],
        0.03,
        (0.05, 0.05, 0.05),
        air + 1,
    )
    line([seat + forward * 0.12, seat - forward * 0.12], 0.06, (0.02, 0.02, 0.02), air + 9)
    return body.build()


@lru_cache(maxsize=1024)
def rider(look: Look, heading: float, pose: int, air: float, fine: bool) -> Shape:
    """Someone on the saddle, in one of the POSES of a turn of the pedals."""
    body = Body(fine)
    phase = 2 * np.pi * pose / POSES
    forward, aside = _axes(heading)
    base = np.zeros(3)
    cloth, far_side = clothing_celsius(air) + 1.0, 1 if aside[2] > 0 else -1
    hip = base - forward * 0.20 + _UP * 0.95
    shoulder = base + forward * 0.16 + _UP * 1.43
    crank = base - forward * 0.08 + _UP * 0.30

    def leg(side: int) -> None:
        turn = phase + (0 if side > 0 else np.pi)
        foot = crank + 0.17 * (forward * np.sin(turn) + _UP * np.cos(turn)) + aside * (0.11 * side)
        top = hip + aside * (0.09 * side)
        # Thigh and shin are equally long, so the knee lies above the middle of the straight line between the ends.
        span = foot - top
        middle, length = top + span / 2, float(np.linalg.norm(span))
        rise = np.sqrt(max(0.46**2 - (length / 2) ** 2, 0.0))
        bend = np.cross(aside, span / max(length, 1e-6))
        knee = middle + bend * rise * (1 if bend @ forward > 0 else -1)
        body.limb((foot, foot + forward * 0.15), (0.05, 0.04), np.array((0.04, 0.04, 0.04)), cloth - 4)
        body.limb((knee, foot), (0.06, 0.045), look.trousers, cloth - 1)
        body.limb((top, knee), (0.085, 0.065), look.trousers, cloth)

    def arm(side: int) -> None:
        top = shoulder + aside * (0.19 * side)
        grip = base + forward * 0.38 + _UP * 0.98 + aside * (0.24 * side)
        elbow = (top + grip) / 2 + aside * (0.06 * side) - _UP * 0.05
        body.limb((elbow, grip), (0.045, 0.036), look.coat, cloth - 0.5)
        body.limb((top, elbow), (0.06, 0.047), look.coat, cloth - 0.3)

    leg(far_side)
    arm(far_side)
    leg(-far_side)
    wide = float(np.hypot(0.20 * aside[0], 0.12 * forward[0]))
    lean = np.linspace(0, 1, 3)[:, None] * (hip - shoulder) + shoulder
    body.slab([(lean[0], wide), (lean[1], wide * 0.92), (lean[2], wide * 0.9)], look.coat, cloth + 0.6)
    if abs(forward[0]) > 0.5:  # from the side the back is a leaning limb
        body.limb((shoulder, hip), (0.13, 0.14), look.coat, cloth + 0.6)
    arm(-far_side)
    neck = (shoulder + _UP * 0.02, shoulder + _UP * 0.12 + forward * 0.05)
    body.limb(neck, (0.055, 0.05), look.skin, 33.0)
    head(body, look, shoulder + _UP * 0.21 + forward * 0.08, forward)
    return body.build()
