"""What every visible point of the street is made of: colour, own light, warmth and class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.sources.street.facades import facade
from sage_fusion_ros.sources.street.layout import ROAD_HALF, ZEBRA, Street
from sage_fusion_ros.sources.street.noise import clouds, hash01, sample
from sage_fusion_ros.sources.street.raycast import GABLE, GROUND, LEFT, RIGHT, SKY, SKYLINE, GBuffer

ROAD_ID, SIDEWALK_ID, BUILDING_ID, SKY_ID = 0, 1, 2, 10


@dataclass(frozen=True)
class Materials:
    """One entry a ray.

    Attributes:
        albedo: float32 (..., 3), linear.
        glow: float32 (..., 3), linear light of windows at night.
        warmth: float32, degrees by which it differs from its surroundings' temperature.
        heat_loss: float32 0..1, how far the surface is a heated window or shop front.
        label: uint8 Cityscapes train id.
    """

    albedo: npt.NDArray[np.float32]
    glow: npt.NDArray[np.float32]
    warmth: npt.NDArray[np.float32]
    heat_loss: npt.NDArray[np.float32]
    label: npt.NDArray[np.uint8]


def paint(street: Street, hits: GBuffer, seed: int) -> Materials:
    """Materials of all hits. The sky's colour depends on the hour and is left to the background."""
    random = np.random.default_rng([seed, 2])
    coarse, fine = clouds(random, coarsest=4), clouds(random, coarsest=64, octaves=4, gain=0.8)
    shape = hits.kind.shape
    albedo, glow = np.zeros((*shape, 3), np.float32), np.zeros((*shape, 3), np.float32)
    warmth, heat_loss = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    label = np.full(shape, SKY_ID, np.uint8)

    ground = hits.kind == GROUND
    albedo[ground], warmth[ground], label[ground] = _ground(hits.x[ground], hits.z[ground], coarse, fine)
    houses = [*street.left, *street.right]
    for kind in (LEFT, RIGHT, GABLE):
        chosen = hits.kind == kind
        along = hits.x[chosen] if kind == GABLE else hits.z[chosen]
        painted = facade(
            houses, hits.house[chosen], along, hits.y[chosen], hits.z[chosen], (coarse, fine), windows=kind != GABLE
        )
        albedo[chosen], glow[chosen], warmth[chosen], heat_loss[chosen] = painted
        label[chosen] = BUILDING_ID
    far = hits.kind == SKYLINE
    albedo[far], glow[far] = _skyline(hits.x[far], hits.y[far])
    label[far] = BUILDING_ID
    label[hits.kind == SKY] = SKY_ID
    return Materials(albedo, glow, warmth, heat_loss, label)


def _ground(
    x: npt.NDArray[np.float32],
    z: npt.NDArray[np.float32],
    coarse: npt.NDArray[np.float32],
    fine: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    near = np.exp(-z / 14.0)  # grain is finer than a pixel farther away
    patches = sample(coarse, x, z, 9.0) - 0.5
    grain = (sample(fine, x, z, 120.0) - 0.5) * near
    across = np.abs(x)
    # Wheels polish two tracks into each lane, and engines drip between them.
    tracks = np.exp(-(((across - 1.15) / 0.28) ** 2)) + np.exp(-(((across - 2.75) / 0.28) ** 2))
    oil = np.exp(-(((across - 1.95) / 0.35) ** 2))
    asphalt = 0.105 * (1 + 0.55 * patches + 1.1 * grain + 0.14 * tracks - 0.16 * oil)
    mended = (sample(coarse, x + 31, z * 0.6 + 17, 5.0) > 0.70) & (across < 5.5)
    asphalt = np.where(mended, asphalt * 0.78, asphalt)
    seam = np.abs(sample(coarse, x * 1.7 + 5, z * 1.7, 11.0) - 0.5) < 0.006 * (1 + 3 * near)
    asphalt = np.where(seam & (across < ROAD_HALF), asphalt * 0.72, asphalt)
    colour = asphalt[:, None] * np.array((1.0, 0.99, 0.97), np.float32)
    warmth = 1.6 * patches + 0.5 * tracks + 0.5 * grain

    painted, wear = _markings(x, z, across), 0.5 + 0.55 * sample(coarse, x + 3, z, 40.0)
    blend = (painted * np.clip(wear, 0.0, 1.0))[:, None]
    colour = colour * (1 - blend) + np.float32(0.62) * blend
    warmth = warmth - 1.1 * painted

    drain = (np.abs(across - 5.75) < 0.2) & (np.abs((z + 4) % 16 - 8) < 0.3)
    cover = (x - 0.9) ** 2 + (z - 7.6) ** 2 < 0.33**2
    metal = (drain | cover)[:, None]
    colour = np.where(
        metal,
        np.float32(0.05) * (0.6 + 0.8 * hash01((x * 20).astype(np.int32), (z * 20).astype(np.int32)))[:, None],
        colour,
    )
    warmth = np.where(metal[:, 0], warmth + 2.2, warmth)

    kerb = (across >= ROAD_HALF) & (across < ROAD_HALF + 0.22)
    pavement = across >= ROAD_HALF + 0.22
    slab_x, slab_z = np.floor(across / 0.6).astype(np.int32), np.floor(z / 0.6).astype(np.int32)
    edge = np.minimum(across % 0.6, 0.6 - across % 0.6), np.minimum(z % 0.6, 0.6 - z % 0.6)
    joint = np.minimum(*edge) < 0.012 + 0.0012 * z
    slab = 0.26 * (0.86 + 0.28 * hash01(slab_x, slab_z, 3)) * (1 + 0.35 * patches + 0.5 * grain)
    slab = np.where(joint, slab * (1 - 0.42 * np.exp(-z / 26.0)), slab)
    slab = slab * (1 - 0.35 * np.exp(-np.maximum(9.5 - across, 0) / 0.5))  # dirt along the houses
    colour = np.where(pavement[:, None], slab[:, None] * np.array((1.0, 0.97, 0.92), np.float32), colour)
    stone = 0.34 * (1 + 0.5 * grain) * np.where(np.abs(z % 1.0) < 0.02 + 0.001 * z, 0.7, 1.0)
    colour = np.where(kerb[:, None], stone[:, None].astype(np.float32), colour)
    gutter = (across > ROAD_HALF - 0.18) & (across < ROAD_HALF)
    colour = np.where(gutter[:, None], colour * 0.62, colour)
    warmth = np.where(pavement | kerb, 0.8 * patches - 1.3, warmth)
    label = np.where(pavement | kerb, SIDEWALK_ID, ROAD_ID).astype(np.uint8)
    return colour.astype(np.float32), warmth.astype(np.float32), label


def _markings(
    x: npt.NDArray[np.float32], z: npt.NDArray[np.float32], across: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """1 on paint: centre line, parking strip, zebra crossing, stop lines."""
    zebra_zone = (z > ZEBRA[0] - 1.4) & (z < ZEBRA[1] + 2.2)
    centre = (across < 0.07) & (z % 6.0 < 3.4) & ~zebra_zone
    parking = (np.abs(across - 3.85) < 0.06) & (z % 2.0 < 1.2) & ~zebra_zone
    bays = (across > 3.85) & (across < 5.8) & (np.abs((z - 14.2) % 6.4) < 0.12) & (z > 15)
    zebra = (z > ZEBRA[0]) & (z < ZEBRA[1]) & (across < 5.7) & ((x + 10.25) % 1.0 < 0.5)
    stop = (x < -0.2) & (x > -3.7) & (np.abs(z - ZEBRA[1] - 1.4) < 0.2)
    stop |= (x > 0.2) & (x < 3.7) & (np.abs(z - ZEBRA[0] + 1.0) < 0.2)
    return (centre | parking | bays | zebra | stop).astype(np.float32)


def _skyline(
    x: npt.NDArray[np.float32], y: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    block = np.floor(x / 9.0).astype(np.int32)
    tint = 0.18 + 0.25 * hash01(block, 11)
    column, floor = np.floor(x / 2.2).astype(np.int32), np.floor(y / 3.1).astype(np.int32)
    window = (np.abs(x % 2.2 - 1.1) < 0.55) & (np.abs(y % 3.1 - 1.6) < 0.75) & (y > 3)
    albedo = np.where(window, 0.06, tint)[:, None] * np.array((1.0, 0.92, 0.82), np.float32)
    lit = window & (hash01(column, floor, 13) > 0.62)
    glow = lit[:, None] * np.array((0.55, 0.36, 0.16), np.float32)
    return albedo.astype(np.float32), glow.astype(np.float32)
