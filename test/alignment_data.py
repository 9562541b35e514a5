"""Pairs warped by a known homography, and how far a found one is from it."""

import cv2
import numpy as np

from sage_fusion_ros.evaluation.alignment.features import View
from sage_fusion_ros.pipeline.thermal import ThermalNormaliser
from sage_fusion_ros.sources.synthetic import SyntheticSource


def random_homography(seed, width, height):
    """From warped thermal to RGB pixels: shift to 5 %, scale 0.9 to 1.1, turn to 3 degrees, slight perspective."""
    rng = np.random.default_rng(seed)
    scale, angle = rng.uniform(0.9, 1.1), np.deg2rad(rng.uniform(-3, 3))
    shift = rng.uniform(-0.05, 0.05, 2) * [width, height]
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    core = np.eye(3)
    core[:2, :2] = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    core[2, :2] = rng.uniform(-0.03, 0.03, 2) / [width, height]
    there, back = np.eye(3), np.eye(3)
    there[:2, 2], back[:2, 2] = middle + shift, -middle
    return there @ core @ back


def warped(pairs, matrix):
    """The pairs with thermal images from which `matrix` leads back to the RGB images."""
    height, width = pairs[0][1].shape
    return [View(rgb, cv2.warpPerspective(thermal, np.linalg.inv(matrix), (width, height))) for rgb, thermal in pairs]


def distances(found, truth, width, height):
    """Distance in RGB pixels between two homographies over a grid, where the thermal image lies in the RGB image."""
    grid = np.stack(np.meshgrid(np.linspace(0, width - 1, 17), np.linspace(0, height - 1, 13)), -1).reshape(-1, 1, 2)
    thermal = cv2.perspectiveTransform(grid, np.linalg.inv(truth))
    inside = ((thermal >= 0) & (thermal <= [width - 1, height - 1])).all(axis=2)[:, 0]
    return np.hypot(*(cv2.perspectiveTransform(thermal, found) - grid)[inside, 0].T)


def street_pairs(count, size=(320, 240), seed=0):
    """Luma and thermal of the synthetic street, by day, at night and in smoke."""
    source = SyntheticSource(seed=seed, size=size)
    pairs = []
    for index in np.linspace(0, len(source) - 1, count).astype(int):
        pair = source.read(index)
        pairs.append((cv2.cvtColor(pair.rgb, cv2.COLOR_RGB2GRAY), ThermalNormaliser()(pair.thermal)))
    return pairs
