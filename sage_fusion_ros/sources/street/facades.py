"""House fronts: windows in rows, shops on the ground floor, plaster or brick."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.sources.street.layout import Building
from sage_fusion_ros.sources.street.noise import hash01, sample

GROUND_FLOOR, FLOOR = 3.7, 3.1
_Array = npt.NDArray[np.float32]


def facade(
    houses: list[Building],
    house: npt.NDArray[np.int16],
    along: _Array,
    y: _Array,
    z: _Array,
    textures: tuple[_Array, _Array],
    windows: bool,
) -> tuple[_Array, _Array, _Array, _Array]:
    """Paints points of house fronts.

    Args:
        houses: All houses.
        house: Index of the house of each point, (N,).
        along: Position along the wall in metres, (N,).
        y: Height above the road in metres, (N,).
        z: Distance from the camera in metres, (N,).
        textures: Coarse and fine cloud textures.
        windows: False for blind gable walls.

    Returns:
        Albedo (N, 3), glow (N, 3), warmth in degrees (N,), heat loss 0..1 (N,).
    """
    coarse, fine = textures
    near = np.exp(-z / 30.0)
    colour = np.array([building.colour for building in houses], np.float32)[house]
    height = np.array([building.height for building in houses], np.float32)[house]
    dirt = sample(coarse, along, y, 12.0) - 0.5
    grain = (sample(fine, along, y, 60.0) - 0.5) * near
    albedo = colour * (1 + 0.30 * dirt + 0.55 * grain)[:, None]
    warmth = 1.2 * dirt
    albedo = _bricks(houses, house, along, y, near, albedo)
    albedo *= (1 - 0.38 * np.exp(-y / 0.7) - 0.10 * np.exp(-(((height - y) / 1.2) ** 2)))[:, None]

    cornice = y > height - 0.55
    shadow = (y > height - 0.95) & ~cornice
    albedo = np.where(cornice[:, None], np.minimum(colour * 1.35 + 0.06, 0.75), albedo)
    albedo = np.where(shadow[:, None], albedo * 0.62, albedo)
    glow, heat_loss = np.zeros_like(albedo), np.zeros_like(y)
    if windows:
        albedo, glow, heat_loss = _windows(houses, house, along, y, height, z, albedo)
        albedo, glow, heat_loss = _shops(houses, house, along, y, albedo, glow, heat_loss)
    return albedo.astype(np.float32), glow.astype(np.float32), warmth.astype(np.float32), heat_loss.astype(np.float32)


def _bricks(
    houses: list[Building], house: npt.NDArray[np.int16], along: _Array, y: _Array, near: _Array, albedo: _Array
) -> _Array:
    brick = np.array([building.brick for building in houses])[house]
    course = np.floor(y / 0.15).astype(np.int32)
    number = np.floor(along / 0.36 + 0.5 * (course % 2)).astype(np.int32)
    tone = 1 + 0.35 * (hash01(course, number, 5) - 0.5) * np.minimum(near * 2.2, 1)
    return np.where(brick[:, None], albedo * tone[:, None], albedo)


def _windows(
    houses: list[Building],
    house: npt.NDArray[np.int16],
    along: _Array,
    y: _Array,
    height: _Array,
    z: _Array,
    albedo: _Array,
) -> tuple[_Array, _Array, _Array]:
    bay = np.array([building.bay for building in houses], np.float32)[house]
    begin = np.array([building.near for building in houses], np.float32)[house]
    end = np.array([building.far for building in houses], np.float32)[house]
    column = np.floor((along - begin) / bay).astype(np.int32)
    row = np.floor((y - GROUND_FLOOR) / FLOOR).astype(np.int32)
    dx = ((along - begin) - (column + 0.5) * bay) + 0.0
    dy = y - GROUND_FLOOR - row * FLOOR
    whole = (begin + (column + 1) * bay < end - 0.2) & (y > GROUND_FLOOR) & (y < height - 1.0)
    half, low, high = 0.58, 0.85, 2.45
    inside = whole & (np.abs(dx) < half) & (dy > low) & (dy < high)
    frame = whole & (np.abs(dx) < half + 0.14) & (dy > low - 0.14) & (dy < high + 0.16) & ~inside
    sill = whole & (np.abs(dx) < half + 0.24) & (dy > low - 0.26) & (dy < low - 0.12)
    under_sill = whole & (np.abs(dx) < half + 0.22) & (dy > low - 0.55) & (dy <= low - 0.26)
    bars = inside & ((np.abs(dx) < 0.05) | (np.abs(dy - 1.95) < 0.045))
    # The lintel's shadow on the upper glass, curtains behind it, and the sky in it.
    glass = 0.035 + 0.075 * np.clip((dy - low) / (high - low), 0, 1) + 0.05 * (hash01(house, column, row, 1) - 0.3)
    glass = np.where(dy > high - 0.18, glass * 0.4, glass)[:, None] * np.array((0.82, 0.95, 1.15), np.float32)
    drawn = hash01(house, column, row, 2)
    curtain = (drawn > 0.55) & (np.abs(dx) > 0.32)
    blind = (drawn < 0.18) & (dy > 1.45)
    glass = np.where((curtain | blind)[:, None], np.float32(0.30) * np.array((1, 0.97, 0.9), np.float32), glass)

    albedo = np.where(under_sill[:, None], albedo * 0.78, albedo)
    albedo = np.where((frame | sill)[:, None], np.float32(0.58), albedo)
    albedo = np.where(inside[:, None], glass, albedo)
    albedo = np.where(bars[:, None], np.float32(0.5), albedo)
    lit = inside & ~bars & (hash01(house, column, row, 3) > 0.66)
    warm = hash01(house, column, row, 4)[:, None]
    light = np.array((0.95, 0.60, 0.26), np.float32) * (1 - warm) + np.array((0.80, 0.72, 0.52), np.float32) * warm
    shade = (0.55 + 0.45 * np.clip((dy - low) / (high - low), 0, 1)) * np.where(curtain | blind, 0.55, 1.0)
    glow = np.where(lit[:, None], light * shade[:, None] * 0.55, 0)
    heat = np.where(inside, 0.55 + 0.45 * hash01(house, column, row, 6), np.where(frame, 0.9, 0))
    heat = np.where(whole & (dy > high + 0.1) & (dy < high + 0.5) & (np.abs(dx) < 0.5), 0.35, heat)
    return albedo, glow.astype(np.float32), heat.astype(np.float32)


def _shops(
    houses: list[Building],
    house: npt.NDArray[np.int16],
    along: _Array,
    y: _Array,
    albedo: _Array,
    glow: _Array,
    heat: _Array,
) -> tuple[_Array, _Array, _Array]:
    begin = np.array([building.near for building in houses], np.float32)[house]
    end = np.array([building.far for building in houses], np.float32)[house]
    awning = np.array([building.awning for building in houses], np.float32)[house]
    width = (end - begin) / np.maximum(np.round((end - begin) / 4.2), 1)
    column = np.floor((along - begin) / width).astype(np.int32)
    dx = (along - begin) - (column + 0.5) * width
    is_door = hash01(house, column, 21) > 0.72
    pane = (np.abs(dx) < width / 2 - 0.28) & (y > 0.55) & (y < 2.55) & ~is_door
    door = is_door & (np.abs(dx) < 0.62) & (y < 2.35)
    band = (y > 2.75) & (y < 3.35) & (np.abs(dx) < width / 2 - 0.12) & ~is_door
    lettering = (
        band
        & (np.abs(y - 3.05) < 0.13)
        & (np.abs(dx) < 1.1)
        & (hash01((along * 5.5).astype(np.int32), house, 22) > 0.4)
    )
    albedo = np.where(band[:, None], awning, albedo)
    albedo = np.where(lettering[:, None], np.float32(0.7), albedo)
    goods = 0.05 + 0.22 * hash01((along * 2.6).astype(np.int32), (y * 2.2).astype(np.int32), house)
    display = np.where(y < 1.45, goods, 0.045 + 0.02 * y)[:, None] * np.array((0.95, 0.97, 1.02), np.float32)
    post = pane & (np.abs(np.abs(dx) - width / 6) < 0.04)
    albedo = np.where(pane[:, None], display, albedo)
    albedo = np.where(post[:, None], np.float32(0.3), albedo)
    albedo = np.where(door[:, None], awning * 0.55 + 0.015, albedo)
    open_late = (hash01(house, column, 23) > 0.45) & pane & ~post
    glow = np.where(open_late[:, None], np.array((0.95, 0.78, 0.52), np.float32) * (0.25 + 2.2 * goods)[:, None], glow)
    glow = np.where((band & (hash01(house, column, 24) > 0.6))[:, None], awning * 1.3 + 0.05, glow)
    heat = np.where(pane, 0.75, np.where(door, 0.5, np.where(y < 3.7, 0.12, heat)))
    return albedo, glow, heat
