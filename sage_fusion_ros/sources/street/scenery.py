"""Trees and lamps: figures that stand still."""

from __future__ import annotations

import numpy as np

from sage_fusion_ros.sources.street.canvas import Figure, Piece, outline
from sage_fusion_ros.sources.street.conditions import SUN, Condition
from sage_fusion_ros.sources.street.layout import Street, Tree
from sage_fusion_ros.sources.street.light import LAMP_HEIGHT, ActorLight
from sage_fusion_ros.sources.street.view import View

POLE_ID, VEGETATION_ID = 5, 8
_ANGLES = np.arange(7) * (2 * np.pi / 7)
_LEAF = np.column_stack((np.cos(_ANGLES), np.sin(_ANGLES)))


def tree(view: View, light: ActorLight, condition: Condition, growth: Tree) -> Figure:
    """A trunk with branches, and a crown of leaves that are lighter toward the light."""
    random = np.random.default_rng([growth.seed, 6])
    base = np.array((growth.x, 0.0, growth.z))
    scale = view.focal / growth.z
    local = light.at(growth.x, growth.z)
    pieces: list[Piece] = []
    albedo, normals, warmth = [], [], []

    def add(
        points: np.ndarray, colour: tuple[float, float, float], normal: np.ndarray, warm: float, thickness: float = 0.0
    ) -> None:
        pieces.append(Piece(points, thickness))
        albedo.append(colour)
        normals.append(normal)
        warmth.append(warm)

    middle = base + np.array((0.0, growth.height * 0.66, 0.0))
    fork = base + np.array((0.05, growth.height * 0.42, 0.0))
    for shift, shade in ((-0.045, 0.7), (0.02, 1.0)):
        trunk = np.array((base + np.array((shift, 0, 0)), fork + np.array((shift * 0.7, 0, 0))))
        bark = (0.12 * shade, 0.095 * shade, 0.07 * shade)
        add(view.project(trunk), bark, np.array((-np.sign(shift), 0.0, -0.5)), 1.0, max(0.17 * scale, 1.0))
    for _ in range(6):
        end = middle + random.normal(0, 0.75, 3) * (1, 0.8, 0.3)
        add(
            view.project(np.array((fork, end))),
            (0.10, 0.08, 0.06),
            np.array((0.0, 0.2, -1.0)),
            0.8,
            max(0.06 * scale, 0.8),
        )
    spread = np.array((1.75, 1.65, 1.5)) * growth.height / 6.5
    clusters = random.normal(0, 0.42, (16, 3)).clip(-0.8, 0.8)
    leaves = clusters[random.integers(0, 16, 460)] + random.normal(0, 0.24, (460, 3))
    leaves = leaves[np.argsort(-leaves[:, 2] + 0.4 * (leaves @ np.array(SUN)))]
    for leaf in leaves:
        outward = leaf / max(float(np.linalg.norm(leaf)), 1e-6)
        tint = random.uniform(0.75, 1.25)
        inner = 0.35 + 0.75 * min(float(np.linalg.norm(leaf)), 1.0)
        centre = view.project(middle + leaf * spread)
        size = random.uniform(0.10, 0.21) * scale
        points = centre + _LEAF * size * random.uniform(0.7, 1.3, (7, 1))
        colour = (0.10 * tint * inner, 0.155 * tint * inner, 0.045 * inner)
        add(points, colour, outward, float(random.normal(0.3, 0.5)) + 0.5 * float(outward @ np.array(SUN)))
    shaded = light.shade(local, np.array(normals)) * np.array(albedo)
    sunlit = condition.sunlit * 0.25
    celsius = condition.air + np.array(warmth) + sunlit * np.maximum(np.array(normals) @ np.array(SUN), 0)
    return Figure(outline(pieces), shaded, celsius, growth.z, VEGETATION_ID)


def lamp(view: View, light: ActorLight, condition: Condition, x: float, z: float) -> Figure:
    """A street lamp with an arm over the road."""
    scale = view.focal / z
    top, head = np.array((x, LAMP_HEIGHT, z)), np.array((x * 0.78, LAMP_HEIGHT + 0.1, z))
    grey, dark = np.array((0.16, 0.17, 0.18)), np.array((0.07, 0.075, 0.08))
    normal = np.array((0.3, 0.2, -0.93))
    lines = [
        (np.array(((x, 0.0, z), (x, 1.1, z))), 0.20, dark),
        (np.array(((x, 1.0, z), tuple(top))), 0.11, grey),
        (np.array((tuple(top), tuple(head))), 0.07, grey),
        (np.array((tuple(head), tuple(head - (np.sign(x) * 0.55, -0.02, 0)))), 0.13, dark),
    ]
    pieces = [Piece(view.project(points), max(width * scale, 0.7)) for points, width, _ in lines]
    albedo = np.array([colour for _, _, colour in lines])
    shaded = light.shade(light.at(x, z), np.repeat(normal[None], len(lines), 0)) * albedo
    celsius = np.full(len(lines), condition.air + 0.5)
    if condition.lamps:
        glass = np.array((tuple(head - (0, 0.09, 0)), tuple(head - (np.sign(x) * 0.5, 0.07, 0))))
        pieces.append(Piece(view.project(glass), max(0.08 * scale, 1.0)))
        shaded = np.vstack((shaded, (6.0, 4.3, 2.4)))
        celsius = np.append(celsius + np.array((0, 0, 0, 14)), condition.air + 30)
    return Figure(outline(pieces), shaded, celsius, z, POLE_ID)


def tree_shadow(growth: Tree) -> np.ndarray:
    """World points (N, 3) on the ground around the shadow of a tree's crown."""
    reach = growth.height * 0.62
    middle = np.array((growth.x - SUN[0] / SUN[1] * reach, 0.0, growth.z - SUN[2] / SUN[1] * reach))
    around = np.arange(14) * (2 * np.pi / 14)
    return middle + np.column_stack((1.7 * np.cos(around), np.zeros(14), 1.9 * np.sin(around)))


def all_standing(view: View, light: ActorLight, condition: Condition, street: Street) -> list[Figure]:
    """Trees and lamps from far to near."""
    figures = [tree(view, light, condition, growth) for growth in street.trees]
    figures += [lamp(view, light, condition, x, z) for x, z in street.lamps]
    return sorted(figures, key=lambda figure: -figure.z)
