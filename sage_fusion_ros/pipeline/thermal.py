"""Brings thermal images of any bit depth to the 8 bits the networks read, without flicker."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

NORMALISATIONS = ("auto", "percentile", "fixed")
# Percentiles are read on every fourth pixel of every fourth row: 1/16 of the work, a shift far under one grey level.
_STRIDE = 4


@dataclass(frozen=True)
class ThermalSettings:
    """How thermal values become grey levels.

    Attributes:
        normalisation: "auto" (8-bit images as they are, others as "percentile"), "percentile" or "fixed".
        low, high: For "fixed": the values shown as black and as white, in units after scale and offset.
        low_percentile, high_percentile: For "percentile": the percentiles shown as black and as white.
        smoothing_s: Time constant in seconds with which the percentiles follow the scene; 0 follows at once.
        min_span: Least distance of black and white, so that a scene of one temperature does not show its noise;
            0 takes 50 counts for integer images and 2 units (kelvin) for 32FC1 or scaled ones.
        scale, offset: Physical value = count x scale + offset, for radiometric cameras (0.01 and 0: kelvin).
    """

    normalisation: str = "auto"
    low: float = 273.0
    high: float = 323.0
    low_percentile: float = 0.5
    high_percentile: float = 99.5
    smoothing_s: float = 1.0
    min_span: float = 0.0
    scale: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        if self.normalisation not in NORMALISATIONS:
            raise ValueError(f"normalisation is '{self.normalisation}'; expected one of {', '.join(NORMALISATIONS)}")
        if not self.low < self.high:
            raise ValueError(f"low is {self.low} and high is {self.high}; low must be below high")
        if not 0 <= self.low_percentile < self.high_percentile <= 100:
            raise ValueError(
                f"the percentiles are {self.low_percentile} and {self.high_percentile}; expected 0 <= low < high <= 100"
            )
        if self.scale <= 0:
            raise ValueError(f"scale is {self.scale}; expected a number above 0")


class ThermalNormaliser:
    """Maps thermal images to 8 bits; keeps the smoothed range between frames."""

    def __init__(self, settings: ThermalSettings | None = None) -> None:
        self.settings = settings or ThermalSettings()
        self._range: tuple[float, float] | None = None
        self._stamp_ns = 0

    @property
    def shown_range(self) -> tuple[float, float] | None:
        """Black and white of the last frame in units after scale and offset; None where 8 bits passed unchanged."""
        return self._range

    @property
    def state(self) -> tuple[tuple[float, float] | None, int]:
        """What the next frame depends on: the range and the stamp of the last one. Set it to go on from there."""
        return self._range, self._stamp_ns

    @state.setter
    def state(self, state: tuple[tuple[float, float] | None, int]) -> None:
        self._range, self._stamp_ns = state

    def __call__(self, image: npt.NDArray[Any], stamp_ns: int = 0) -> npt.NDArray[np.uint8]:
        """Normalises one frame.

        Args:
            image: HxW uint8, uint16 or float32 (kelvin or celsius; values that are not finite show as black).
            stamp_ns: Its stamp; the smoothing runs on it, and starts anew when it jumps back.

        Returns:
            uint8 HxW.
        """
        s = self.settings
        if s.normalisation == "auto" and image.dtype == np.uint8:
            self._range = None
            return image
        if s.normalisation == "fixed":
            self._range = (s.low, s.high)
        else:
            self._range = self._follow(self._percentiles(image), stamp_ns)
        low, high = ((value - s.offset) / s.scale for value in self._range)
        return _stretch(image, low, high)

    def _percentiles(self, image: npt.NDArray[Any]) -> tuple[float, float]:
        s = self.settings
        sample = image[::_STRIDE, ::_STRIDE] if min(image.shape) >= 16 * _STRIDE else image
        if image.dtype == np.float32:
            sample = sample[np.isfinite(sample)]
            if sample.size == 0:
                return self._range or (s.low, s.high)
        low, high = (
            float(v) * s.scale + s.offset for v in np.percentile(sample, (s.low_percentile, s.high_percentile))
        )
        span = s.min_span or (50.0 if image.dtype != np.float32 and s.scale == 1.0 else 2.0)
        if high - low < span:
            low, high = (low + high - span) / 2, (low + high + span) / 2
        return low, high

    def _follow(self, target: tuple[float, float], stamp_ns: int) -> tuple[float, float]:
        elapsed = (stamp_ns - self._stamp_ns) * 1e-9
        self._stamp_ns = stamp_ns
        if self._range is None or elapsed < 0 or self.settings.smoothing_s <= 0:
            return target
        share = 1 - math.exp(-elapsed / self.settings.smoothing_s)
        return (
            self._range[0] + share * (target[0] - self._range[0]),
            self._range[1] + share * (target[1] - self._range[1]),
        )


def _stretch(image: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[np.uint8]:
    """Maps low..high to 0..255, rounded and clipped."""
    # Absurd values, 1e38 K, leave nothing of a span of 2 K; under float32's own resolution there is no span.
    gain = 255.0 / max(high - low, abs(high) * 1e-7)
    if image.dtype == np.float32:
        image = np.where(np.isfinite(image), image, np.float32(low))
    # The float intermediate is needed: convertScaleAbs would fold values under low back up as their absolute.
    grey = cv2.convertScaleAbs(np.maximum(image.astype(np.float32), np.float32(low)), alpha=gain, beta=-low * gain)
    return np.asarray(grey, np.uint8)
