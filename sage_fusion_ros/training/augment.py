"""Changes to a training pair: the scene's light (the target changes with it), and sensor noise (it does not)."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.training.config import AugmentSettings

Grey = npt.NDArray[np.float32]


def change_scene(
    rgb_luma: Grey, thermal: Grey, settings: AugmentSettings, rng: np.random.Generator
) -> tuple[Grey, Grey]:
    """Another light for the RGB image, another range for the thermal one.

    Args:
        rgb_luma: float32 HxW in 0..1.
        thermal: The same.
        settings: Chances.
        rng: Where the draws come from.

    Returns:
        float32 HxW in 0..1 each.
    """
    if rng.random() < settings.dark:
        rgb_luma = rgb_luma ** rng.uniform(1.0, 1.8) * rng.uniform(0.1, 0.8)
    if rng.random() < settings.haze:
        veil, density = rng.uniform(0.4, 0.9), rng.uniform(0.2, 0.9)
        mask = density * _cloud(rgb_luma.shape, rng)
        rgb_luma = rgb_luma * (1 - mask) + veil * mask
    if rng.random() < settings.glare:
        rgb_luma = rgb_luma + rng.uniform(0.5, 1.2) * _glow(rgb_luma.shape, rng)
    if rng.random() < settings.thermal_range:
        thermal = (thermal - 0.5) * rng.uniform(0.5, 1.3) + 0.5 + rng.uniform(-0.2, 0.15)
    return _unit(rgb_luma), _unit(thermal)


def add_sensor_noise(
    rgb_luma: Grey, thermal: Grey, settings: AugmentSettings, rng: np.random.Generator
) -> tuple[Grey, Grey]:
    """Noise as the two sensors make it: white, and for thermal also fixed columns and a slight blur of the noise.

    Args:
        rgb_luma: float32 HxW in 0..1.
        thermal: The same.
        settings: Chances and strength.
        rng: Where the draws come from.

    Returns:
        float32 HxW in 0..1 each.
    """
    if rng.random() < settings.rgb_noise:
        rgb_luma = rgb_luma + rng.uniform(0, settings.noise_max) * _white(rgb_luma.shape, rng)
    if rng.random() < settings.thermal_noise:
        noise = _white(thermal.shape, rng)
        if rng.random() < 0.5:
            noise = cv2.GaussianBlur(noise, (0, 0), 0.8) * 2
        columns = 0.5 * rng.random() * _white((1, thermal.shape[1]), rng)
        thermal = thermal + rng.uniform(0, settings.noise_max) * (noise + columns)
    return _unit(rgb_luma), _unit(thermal)


def _white(shape: tuple[int, ...], rng: np.random.Generator) -> Grey:
    return rng.standard_normal(shape, dtype=np.float32)


def _cloud(shape: tuple[int, ...], rng: np.random.Generator) -> Grey:
    """Smooth random density in 0..1, a few blobs across the image."""
    coarse = rng.random((int(rng.integers(2, 5)),) * 2, dtype=np.float32)
    return np.clip(cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC) * 1.5, 0, 1)


def _glow(shape: tuple[int, ...], rng: np.random.Generator) -> Grey:
    """A lamp: a small core and a wide halo, anywhere in the image."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    distance = np.hypot(y - rng.uniform(0, shape[0]), x - rng.uniform(0, shape[1]))
    core, halo = rng.uniform(3, 12), rng.uniform(15, 50)
    return (np.exp(-((distance / core) ** 2)) + 0.5 * np.exp(-distance / halo)).astype(np.float32)


def _unit(image: npt.NDArray[np.floating]) -> Grey:
    return np.clip(image, 0, 1).astype(np.float32)
