"""What lies between the scene and the numbers: smoke, glare, lens and sensor."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.sources.street.canvas import KELVIN, Frame
from sage_fusion_ros.sources.street.conditions import Condition
from sage_fusion_ros.sources.street.noise import clouds
from sage_fusion_ros.sources.street.view import View

SMOKE_NEAR, SMOKE_FAR = 4.6, 8.6
"""The smoke drifts across the road between these distances, in front of the crossing."""
COUNTS_PER_KELVIN = 100
NETD_KELVIN = 0.05
_MARGIN = 64
_GLARE_SIZES = 12


class Smoke:
    """A drifting bank of smoke: opaque to the RGB camera, nearly clear in the thermal band."""

    def __init__(self, view: View, condition: Condition, seed: int) -> None:
        random = np.random.default_rng([seed, 7])
        self._condition = condition
        self._size = (view.width, view.height)
        self._slow, self._fast = (np.tile(clouds(random, 256, 4, 5), (2, 2)) for _ in range(2))
        cy = view.center[1]
        x = (np.arange(view.width // 4) * 4 - view.width * 0.50) / (view.width * 0.42)
        y = (np.arange(view.height // 4) * 4 - cy - 0.17 * view.height) / (view.height * 0.34)
        self._bank = np.exp(-np.power(np.hypot(x[None, :], y[:, None]), 3.2)).astype(np.float32)
        lightness = clouds(random, 512, 8, 5)
        lightness = cv2.resize(lightness, self._size, interpolation=cv2.INTER_CUBIC)
        grey = 172 + 50 * (lightness - 0.5) + 18 * np.linspace(0.6, -0.6, view.height)[:, None]
        self._colour = np.stack([grey * 0.985, grey, grey * 1.01], axis=-1).clip(0, 255).astype(np.uint8)
        # Extinction by an optical depth that grows with the way through the smoke.
        self._opacity = (255 * (1 - np.exp(-np.arange(256) / 255 * 7.5 * condition.smoke))).astype(np.uint8)

    def amount(self, frame: Frame, time: float) -> npt.NDArray[np.uint8]:
        """How much of each pixel the smoke hides, 0..255."""
        height, width = self._bank.shape
        slow = self._crop(self._slow, 9.0 * time, 2.0 * time, width, height)
        fast = self._crop(self._fast, 21.0 * time + 40, -5.0 * time + 90, width, height)
        density = self._bank * np.clip(0.30 + 0.85 * slow + 0.55 * fast, 0, 1.0)
        density = cv2.resize(cv2.convertScaleAbs(density, alpha=255), self._size, interpolation=cv2.INTER_LINEAR)
        scale = 255 / (SMOKE_FAR - SMOKE_NEAR)
        through = cv2.convertScaleAbs(
            cv2.min(cv2.max(frame.depth, SMOKE_NEAR), SMOKE_FAR), alpha=scale, beta=-SMOKE_NEAR * scale
        )
        return cv2.LUT(cv2.multiply(density, through, scale=1 / 255), self._opacity)

    def apply(self, frame: Frame, time: float) -> None:
        """Lays the smoke over both images."""
        amount = self.amount(frame, time)
        rest = cv2.bitwise_not(amount)
        clear = cv2.multiply(frame.rgb, cv2.merge((rest, rest, rest)), scale=1 / 255)
        veil = cv2.multiply(self._colour, cv2.merge((amount, amount, amount)), scale=1 / 255)
        cv2.add(clear, veil, frame.rgb)
        # Droplets smaller than the wavelength scatter little: a tenth of the contrast goes, not all of it.
        share = cv2.multiply(amount, 0.12 / 255, dtype=cv2.CV_32F)
        frame.celsius[...] += share * (np.float32(self._condition.air + 3) - frame.celsius)

    @staticmethod
    def _crop(
        texture: npt.NDArray[np.float32], right: float, down: float, width: int, height: int
    ) -> npt.NDArray[np.float32]:
        size = texture.shape[0] // 2
        x, y = -right % size, -down % size
        whole = np.array((x + width / 2 - 0.5, y + height / 2 - 0.5))
        return cv2.getRectSubPix(texture, (width, height), (float(whole[0]), float(whole[1])))


class Glare:
    """What a lens makes of a lamp: a core, a wide halo and rays."""

    def __init__(self, view: View) -> None:
        size = int(view.width * 0.20) * 2 + 1
        axis = np.linspace(-1, 1, size, dtype=np.float32)
        x, y = axis[None, :], axis[:, None]
        radius = np.hypot(x, y) + 1e-6
        angle = np.arctan2(y, x)
        halo = np.exp(-np.square(radius / 0.045)) * 1.4 + 0.34 * np.exp(-radius / 0.10) + 0.20 * np.exp(-radius / 0.33)
        rays = np.power(np.abs(np.cos(3 * angle + 0.35)), 60) * np.exp(-radius / 0.20) * 0.30
        streak = np.exp(-np.abs(y) / 0.006) * np.exp(-np.abs(x) / 0.33) * 0.22
        edge = np.clip((1 - radius) * 4, 0, 1)
        total = (halo + rays + streak) * edge * 255
        tint = np.array((1.0, 0.95, 0.84), np.float32)
        sprite = (total[..., None] * tint).clip(0, 255).astype(np.uint8)
        # By size, in steps: scaling it anew for each lamp would take longer than adding it.
        self._sprites = [_shrunk(sprite, (step + 1) / _GLARE_SIZES) for step in range(_GLARE_SIZES)]

    def add(self, rgb: npt.NDArray[np.uint8], pixel: tuple[float, float], strength: float, scale: float) -> None:
        """Adds the glare of one lamp.

        Args:
            rgb: uint8 HxWx3, drawn on.
            pixel: Where the lamp is seen.
            strength: 1 for a headlight nearby.
            scale: Size against the whole sprite, 0..1.
        """
        sprite = self._sprites[min(max(round(scale * _GLARE_SIZES) - 1, 0), _GLARE_SIZES - 1)]
        size = len(sprite)
        left, top = round(pixel[0]) - size // 2, round(pixel[1]) - size // 2
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + size, rgb.shape[1]), min(top + size, rgb.shape[0])
        if x0 >= x1 or y0 >= y1:
            return
        part = cv2.convertScaleAbs(sprite[y0 - top : y1 - top, x0 - left : x1 - left], alpha=strength)
        region = rgb[y0:y1, x0:x1]
        region[...] = cv2.add(region, part)


def _shrunk(sprite: npt.NDArray[np.uint8], scale: float) -> npt.NDArray[np.uint8]:
    size = int(len(sprite) * scale) | 1
    return cv2.resize(sprite, (size, size), interpolation=cv2.INTER_AREA)


class Sensors:
    """Noise of both cameras and the optics of the thermal one. The noise of an index is always the same."""

    def __init__(self, view: View, condition: Condition, seed: int) -> None:
        random = np.random.default_rng([seed, 8])
        self._seed, self._view = seed, view
        shape = view.height + _MARGIN, view.width + _MARGIN
        deviation = condition.rgb_noise
        shared = random.normal(0, 0.8 * deviation, (*shape, 1))
        self._grain = np.rint(shared + random.normal(0, 0.6 * deviation, (*shape, 3))).astype(np.int8)
        self._netd = random.normal(0, NETD_KELVIN * COUNTS_PER_KELVIN, shape).astype(np.float32)
        columns = random.normal(0, 0.035 * COUNTS_PER_KELVIN, view.width)
        rows = random.normal(0, 0.012 * COUNTS_PER_KELVIN, (view.height, 1))
        pixels = random.normal(0, 0.02 * COUNTS_PER_KELVIN, (view.height, view.width))
        # Half a count, so that cutting off the fraction rounds.
        self._fixed = (columns + rows + pixels + 0.5 + KELVIN * COUNTS_PER_KELVIN).astype(np.float32)
        self._sigma = 0.9 * view.width / 640
        radius = np.hypot(*np.meshgrid(np.linspace(-1, 1, view.width), np.linspace(-1, 1, view.height)))
        falloff = (255 * (1 - 0.13 * radius**2)).clip(0, 255).astype(np.uint8)
        self._vignette = cv2.merge((falloff, falloff, falloff))

    def rgb(self, image: npt.NDArray[np.uint8], index: int) -> npt.NDArray[np.uint8]:
        """Vignetting and noise."""
        dimmed = cv2.multiply(image, self._vignette, scale=1 / 255)
        return cv2.add(dimmed, self._crop(self._grain, index, 0), dtype=cv2.CV_8U)

    def thermal(self, celsius: npt.NDArray[np.float32], index: int) -> npt.NDArray[np.uint16]:
        """Blur, fixed pattern and noise, counted in hundredths of a kelvin."""
        blurred = cv2.GaussianBlur(celsius, (5, 5), self._sigma)
        counts = cv2.scaleAdd(blurred, COUNTS_PER_KELVIN, self._fixed)
        counts += self._crop(self._netd, index, 1)
        return counts.astype(np.uint16)

    def _crop(self, bank: npt.NDArray[np.generic], index: int, purpose: int) -> npt.NDArray[np.generic]:
        y, x = np.random.default_rng([self._seed, 9, purpose, index]).integers(0, _MARGIN, 2)
        return np.ascontiguousarray(bank[y : y + self._view.height, x : x + self._view.width])
