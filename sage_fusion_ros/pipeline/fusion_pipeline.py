"""One pair in, one result out: thermal normalisation, registration, fusion, tint."""

from __future__ import annotations

import time

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.pipeline.fuse import Fuser
from sage_fusion_ros.pipeline.thermal import ThermalNormaliser
from sage_fusion_ros.pipeline.tint import tint_warm
from sage_fusion_ros.pipeline.types import FramePair, FusionResult


class FusionPipeline:
    """The work on one pair. Stateful only in the thermal normaliser's smoothed range; one thread at a time.

    Attributes:
        fuser: The model.
        normaliser: Brings thermal images to 8 bits.
        thermal_tint: How strongly warm things are coloured, 0..1; see tint_warm. May change between two pairs.
    """

    def __init__(self, fuser: Fuser, normaliser: ThermalNormaliser, thermal_tint: float = 0.0) -> None:
        self.fuser = fuser
        self.normaliser = normaliser
        self.thermal_tint = thermal_tint

    def process(self, pair: FramePair) -> FusionResult:
        """Fuses a pair.

        Args:
            pair: RGB and thermal frames of any sizes; the result has the RGB frame's.

        Raises:
            ImageFormatError: The pair is too small for the network.
        """
        watch = Stopwatch()
        thermal = self.normaliser(pair.thermal.image, pair.thermal.stamp_ns)
        watch.lap("normalise")
        rgb = pair.rgb.image
        thermal = resize_to(thermal, rgb.shape[0], rgb.shape[1])
        watch.lap("register")
        fused = self.fuser.fuse(np.asarray(rgb, np.uint8), thermal)
        watch.lap("fuse")
        if strength := self.thermal_tint:
            fused = tint_warm(fused, thermal, strength)
            watch.lap("tint")
        return FusionResult(fused=fused, timings_ms=watch.laps_ms)


class Stopwatch:
    """Durations of consecutive stages in milliseconds."""

    def __init__(self) -> None:
        self.laps_ms: dict[str, float] = {}
        self._start = self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Ends the stage that ran since the last lap."""
        now = time.perf_counter()
        self.laps_ms[name] = (now - self._last) * 1e3
        self._last = now

    def skip(self) -> None:
        """Leaves out what ran since the last lap, because it was measured elsewhere."""
        self._last = time.perf_counter()

    def total_ms(self) -> float:
        """Milliseconds since the start."""
        return (time.perf_counter() - self._start) * 1e3


def resize_to(image: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """Brings a thermal image to the RGB image's size: area averaging down (no aliasing), bilinear up."""
    if image.shape == (height, width):
        return image
    shrinks = image.shape[0] > height and image.shape[1] > width
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)
