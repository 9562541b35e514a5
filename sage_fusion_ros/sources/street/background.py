"""The standing part of the scene, drawn once a condition: both cameras' view of the street without its actors."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.sources.street.canvas import Frame
from sage_fusion_ros.sources.street.conditions import SUN, Condition
from sage_fusion_ros.sources.street.layout import Street
from sage_fusion_ros.sources.street.light import haze_light, lamp_light, sun_on_ground, tone
from sage_fusion_ros.sources.street.materials import Materials, paint
from sage_fusion_ros.sources.street.noise import clouds, sample
from sage_fusion_ros.sources.street.raycast import GABLE, GROUND, LEFT, RIGHT, SKY, GBuffer, cast
from sage_fusion_ros.sources.street.view import View

OVERSAMPLING = 2


@dataclass(frozen=True)
class Geometry:
    """What all conditions share."""

    street: Street
    view: View
    hits: GBuffer
    materials: Materials
    cloud: npt.NDArray[np.float32]


def build_geometry(street: Street, view: View, seed: int) -> Geometry:
    """Casts all rays and paints what they hit."""
    hits = cast(street, view, OVERSAMPLING)
    cloud = clouds(np.random.default_rng([seed, 3]), coarsest=4)
    return Geometry(street, view, hits, paint(street, hits, seed), cloud)


def bare_plate(geometry: Geometry, condition: Condition) -> Frame:
    """Ground, houses and sky under a condition; trees and the rest come on top."""
    hits, view = geometry.hits, geometry.view
    rgb = tone(_light(geometry, condition), condition.exposure)
    size = (view.width, view.height)
    pick = (slice(None, None, OVERSAMPLING),) * 2
    return Frame(
        np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA) + 0.5, np.float32).astype(np.uint8),
        cv2.resize(_celsius(geometry, condition), size, interpolation=cv2.INTER_AREA),
        np.ascontiguousarray(geometry.materials.label[pick]),
        np.zeros((view.height, view.width), np.uint8),
        np.ascontiguousarray(hits.z[pick]),
    )


def _light(geometry: Geometry, condition: Condition) -> npt.NDArray[np.float32]:
    hits, materials = geometry.hits, geometry.materials
    ambient = np.array(condition.ambient, np.float32)
    # Between two rows of houses the ground sees less sky, and a wall less the lower it is.
    openness = np.ones(hits.kind.shape, np.float32)
    walls = (hits.kind == LEFT) | (hits.kind == RIGHT) | (hits.kind == GABLE)
    openness[walls] = 0.55 + 0.40 * (hits.y[walls] / 14).clip(0, 1)
    ground = hits.kind == GROUND
    openness[ground] = 0.62 + 0.30 * (1 - (np.abs(hits.x[ground]) / 9.5) ** 2)
    light = ambient * openness[..., None]
    sun = np.array(condition.sun, np.float32)
    if sun.any():
        strength = np.zeros(hits.kind.shape, np.float32)
        strength[ground] = SUN[1] * sun_on_ground(geometry.street, hits.x[ground], hits.z[ground])
        strength[hits.kind == RIGHT] = -SUN[0]
        strength[hits.kind == GABLE] = -SUN[2] * 0.9
        light = light + strength[..., None] * sun
    if condition.lamps:
        light = light + lamp_light(geometry.street, hits.x, hits.y, hits.z) * np.where(ground, 1.0, 0.8)[..., None]
    colour = materials.albedo * light
    if condition.lamps:
        colour += materials.glow
    haze = haze_light(condition).astype(np.float32)
    seen = np.exp(-condition.haze * hits.z)[..., None]
    colour = colour * seen + haze * (1 - seen)
    sky = hits.kind == SKY
    colour[sky] = _sky(geometry, condition, hits.x[sky], hits.y[sky])
    return colour


def _sky(
    geometry: Geometry, condition: Condition, slope_x: npt.NDArray[np.float32], slope_y: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    rise = (slope_y / 0.45).clip(0, 1)[:, None] ** 0.7
    sky = np.array(condition.sky_horizon, np.float32) * (1 - rise) + np.array(condition.sky_top, np.float32) * rise
    # Clouds lie in a layer overhead, so they are denser toward the horizon.
    level = np.maximum(slope_y, 0.02)
    cover = sample(geometry.cloud, slope_x / level + 2.0, 1.0 / level, 46.0)
    amount = ((cover - 0.50) * 4).clip(0, 1)[:, None] * (slope_y / 0.05).clip(0, 1)[:, None]
    bright = np.array((1.0, 1.0, 1.0), np.float32) * (
        0.95 if condition.sun[0] else float(np.mean(condition.sky_horizon))
    )
    overcast = 0.85 if condition.sun[0] else 0.35
    exposed = sky * (1 - overcast * amount) + bright * overcast * amount
    return (exposed * (1.6 if condition.sun[0] else 1.0 if condition.lamps else 2.0)).astype(np.float32)


def _celsius(geometry: Geometry, condition: Condition) -> npt.NDArray[np.float32]:
    hits, materials = geometry.hits, geometry.materials
    sky, ground = hits.kind == SKY, hits.kind == GROUND
    base = np.where(ground, np.float32(condition.ground), np.float32(condition.wall)) + materials.warmth
    if condition.sunlit:
        base[ground] += condition.sunlit * sun_on_ground(geometry.street, hits.x[ground], hits.z[ground])
        base[hits.kind == RIGHT] += condition.sunlit * 0.9
        base[hits.kind == GABLE] += condition.sunlit * 0.5
    # Rooms are warm and glass leaks; in the sun the wall may still be the warmer of the two.
    base += materials.heat_loss * (17.0 - condition.air) * 0.42
    base[hits.kind == GABLE] -= 0.5
    seen = np.exp(-condition.thermal_haze * hits.z)
    base = base * seen + condition.air * (1 - seen)
    zenith, horizon = condition.sky
    rise = (hits.y[sky] / 0.5).clip(0, 1) ** 0.6
    level = np.maximum(hits.y[sky], 0.02)
    cover = ((sample(geometry.cloud, hits.x[sky] / level + 2.0, 1.0 / level, 46.0) - 0.5) * 4).clip(0, 1)
    base[sky] = (
        horizon + (zenith - horizon) * rise + cover * 0.45 * (condition.air - 6 - horizon - (zenith - horizon) * rise)
    )
    return base.astype(np.float32)
