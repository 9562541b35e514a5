"""Cars with paint, glass and lights, and with the warmth of engine, tyres and exhaust."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.sources.street.canvas import Outline
from sage_fusion_ros.sources.street.car_mesh import (
    BONNET,
    GLASS,
    HEADLIGHT,
    PAINT,
    TAILLIGHT,
    mesh,
)
from sage_fusion_ros.sources.street.light import ActorLight
from sage_fusion_ros.sources.street.view import CAMERA_HEIGHT, View

Vector = npt.NDArray[np.float64]
_NEAR_PLANE = 0.5
"""Faces that reach nearer to the camera, or behind it, are left out; they lie outside the image."""


@dataclass(frozen=True, eq=False)
class CarLook:
    """Paint (linear albedo), body shape, and how warm the engine still is, 0..1."""

    paint: Vector
    shape: str
    warm: float


def random_car(random: np.random.Generator, warm: float) -> CarLook:
    """Colours as cars have them."""
    paints = (
        (0.62, 0.62, 0.62),
        (0.30, 0.31, 0.33),
        (0.03, 0.03, 0.035),
        (0.36, 0.03, 0.03),
        (0.03, 0.07, 0.24),
        (0.10, 0.11, 0.12),
        (0.05, 0.13, 0.10),
        (0.50, 0.44, 0.33),
    )
    shape = ("saloon", "hatch", "hatch", "saloon", "van")[int(random.integers(5))]
    return CarLook(np.array(paints[int(random.integers(len(paints)))]), shape, warm)


# By material, in the order of their numbers: paint, glass, tyre, hub, dark, headlight, tail light, plate, bonnet,
# grille, exhaust. Linear albedo (paint and bonnet come from the look), degrees above the air when cold, and how many
# more with a warm engine.
_FIXED = np.array(
    [
        (0.0, 0.0, 0.0),
        (0.035, 0.045, 0.055),
        (0.025, 0.025, 0.025),
        (0.40, 0.41, 0.43),
        (0.015, 0.015, 0.015),
        (0.75, 0.78, 0.80),
        (0.45, 0.02, 0.02),
        (0.70, 0.70, 0.66),
        (0.0, 0.0, 0.0),
        (0.03, 0.03, 0.03),
        (0.05, 0.05, 0.05),
    ]
)
_COLD = np.array((1.0, -2.0, 1.5, 1.0, 2.0, 1.0, 1.0, 0.5, 1.0, 2.0, 2.0))
_WARM = np.array((1.5, 3.0, 13.0, 17.0, 8.0, 9.0, 3.0, 2.0, 15.0, 27.0, 48.0))


def car(
    view: View,
    light: ActorLight,
    look: CarLook,
    where: tuple[float, float],
    heading: float,
    lights: bool,
    braking: bool,
    air: float,
    sky: float,
) -> tuple[Outline, Vector, Vector] | None:
    """A car seen from the camera.

    Args:
        view: The camera.
        light: Light on it.
        look: Paint, shape and warmth.
        where: World x, z of its middle.
        heading: 0 drives away from the camera, pi toward it.
        lights: Whether head and tail lights are on.
        braking: Whether brake lights are on.
        air: Air temperature.
        sky: Mean linear light of the sky, for reflections.

    Returns:
        Outline of the faces from back to front, their light (N, 3), and temperatures (N,);
        None when none of it is before the camera.
    """
    body = mesh(look.shape)
    turn = np.array(((np.cos(heading), 0, np.sin(heading)), (0, 1, 0), (-np.sin(heading), 0, np.cos(heading))))
    corners = body.corners @ turn.T + np.array((where[0], 0.0, where[1]))
    normals = body.normals @ turn.T
    eye = corners.mean(1) - np.array((0.0, CAMERA_HEIGHT, 0.0))
    facing = (np.einsum("ij,ij->i", normals, eye) < 0) & (corners[..., 2].min(1) > _NEAR_PLANE)
    distance = np.linalg.norm(eye, axis=1) - body.bias
    order = [int(index) for index in np.argsort(-distance) if facing[index]]
    if not order:
        return None
    pixels = view.project(corners[order])
    material, normals = body.material[order], normals[order]

    table = _FIXED.copy()
    table[[PAINT, BONNET]] = look.paint
    local = light.at(*where)
    shaded = table[material] * light.shade(local, normals)
    gloss = np.select([material == GLASS, np.isin(material, (PAINT, BONNET))], [0.10, 0.09], 0.0)
    shaded += (gloss * sky * np.maximum(normals[:, 1] + 0.25, 0.06))[:, None]
    if lights:
        shaded[material == HEADLIGHT] = (9.0, 8.6, 7.6)
        shaded[material == TAILLIGHT] = (1.1, 0.03, 0.03)
    if braking:
        shaded[material == TAILLIGHT] = (3.6, 0.12, 0.10)
    warm = look.warm
    celsius = air + _COLD[material] + warm * _WARM[material]
    celsius -= 3.0 * np.maximum(normals[:, 1], 0) * (1 - warm)  # what faces the sky reflects its cold
    return Outline(pixels.reshape(-1, 2), (pixels.shape[1],) * len(pixels)), shaded, celsius
