"""Bad conditions, made from a good pair: darkness, smoke, a dead camera. A pair is spoilt the same way each time.

The labels of the pair stay true, since nothing moves; what a network still sees is then a question of what it makes of
the other camera.
"""

from __future__ import annotations

import zlib

import cv2
import numpy as np
import numpy.typing as npt

AS_IS, DARKENED, SMOKED, RGB_DEAD, THERMAL_DEAD = "as is", "darkened", "smoked", "RGB dead", "thermal dead"
CONDITIONS = (AS_IS, DARKENED, SMOKED, RGB_DEAD, THERMAL_DEAD)

_GAMMA = 2.2
# At night a fiftieth of the daylight that the picture was taken by is left, and the camera amplifies it threefold.
# White comes out at 71 of 255, and the mean of an image at 25 to 50: as dark as the night images of public sets.
_LIGHT, _GAIN = 0.02, 3.0
_FULL_WELL = 4_000.0  # electrons of a white pixel by day: a small sensor
_READ_NOISE = 4.0  # electrons
# Optical depth of the smoke between thin and thick places: a third to a twentieth of the light gets through.
_SMOKE_DEPTH = (1.1, 3.0)
_SMOKE_LIGHT = 0.55  # of the lit smoke itself, linear
_SMOKE_BLUR = 0.8  # pixels: light that is scattered by a small angle on its way
_DEAD_NOISE = 1.5  # grey levels

Image = npt.NDArray[np.uint8]


def spoil(condition: str, key: str, rgb: Image, thermal: Image) -> tuple[Image, Image]:
    """A pair as it would have been under a condition.

    Args:
        condition: One of CONDITIONS.
        key: The pair's name, from which the noise is drawn.
        rgb: uint8 HxWx3.
        thermal: uint8 HxW.

    Returns:
        Both images, of the same shapes; the one that the condition does not touch is the given one.
    """
    rng = np.random.default_rng(zlib.crc32(f"{condition}/{key}".encode()))
    if condition == DARKENED:
        return darken(rgb, rng), thermal
    if condition == SMOKED:
        return smoke(rgb, rng), thermal
    if condition == RGB_DEAD:
        return dead(rgb.shape, rng), thermal
    if condition == THERMAL_DEAD:
        return rgb, dead(thermal.shape, rng)
    return rgb, thermal


def darken(rgb: Image, rng: np.random.Generator) -> Image:
    """The scene in a fiftieth of its light: photons and the sensor's own noise, amplified."""
    electrons = _linear(rgb) * np.float32(_LIGHT * _FULL_WELL)
    counted = rng.poisson(electrons) + rng.normal(0, _READ_NOISE, rgb.shape)
    return _encoded(counted * (_GAIN / _FULL_WELL))


def smoke(rgb: Image, rng: np.random.Generator) -> Image:
    """Drifting smoke, lit from all sides, before the scene (Koschmieder's law; thermal cameras see through it).

    light = scene x t + smoke x (1 - t), with t = exp(-optical depth) and a depth that varies over the image.
    """
    height, width = rgb.shape[:2]
    low, high = _SMOKE_DEPTH
    through = np.exp(-(low + (high - low) * _clouds(height, width, rng)))[..., None]
    scene = cv2.GaussianBlur(_linear(rgb), (0, 0), _SMOKE_BLUR)
    return _encoded(scene * through + _SMOKE_LIGHT * (1 - through))


def dead(shape: tuple[int, ...], rng: np.random.Generator) -> Image:
    """What a camera sends that sees nothing: black, with a little noise."""
    return np.asarray(np.clip(np.rint(rng.normal(0, _DEAD_NOISE, shape)), 0, 255), np.uint8)


def _clouds(height: int, width: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """float32 HxW in 0..1: random grids of 3, 6 and 12 cells, each finer one half as strong."""
    total = np.zeros((height, width), np.float32)
    for octave in range(3):
        cells = 3 * 2**octave
        grid = rng.random((cells, cells), dtype=np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) / np.float32(2**octave)
    low, high = float(total.min()), float(total.max())
    return (total - np.float32(low)) / np.float32(max(high - low, 1e-6))


def _linear(rgb: Image) -> npt.NDArray[np.float32]:
    return (rgb.astype(np.float32) / np.float32(255)) ** np.float32(_GAMMA)


def _encoded(linear: npt.NDArray[np.floating]) -> Image:
    return np.asarray(np.rint(255 * np.clip(linear, 0, 1) ** (1 / _GAMMA)), np.uint8)
