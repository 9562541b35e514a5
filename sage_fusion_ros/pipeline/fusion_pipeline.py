"""One pair in, one result out: thermal normalisation, registration, fusion, perception, tint."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.pipeline.fuse import Fuser
from sage_fusion_ros.pipeline.thermal import ThermalNormaliser
from sage_fusion_ros.pipeline.tint import tint_warm
from sage_fusion_ros.pipeline.types import FramePair, FusionResult

if TYPE_CHECKING:
    from sage_fusion_ros.pipeline.perceive import Perceiver


@dataclass(frozen=True)
class Wants:
    """What somebody listens to; true where that is anything at all.

    Attributes:
        fused: The fused image itself. It is always computed, since the others come from it, but coloured only then.
        mask: The semantic mask.
        detections: The boxes.
    """

    fused: bool = True
    mask: bool = False
    detections: bool = False

    def __bool__(self) -> bool:
        return self.fused or self.mask or self.detections

    def __or__(self, other: Wants) -> Wants:
        return Wants(self.fused or other.fused, self.mask or other.mask, self.detections or other.detections)

    def __and__(self, other: Wants) -> Wants:
        return Wants(self.fused and other.fused, self.mask and other.mask, self.detections and other.detections)


FUSED_ONLY = Wants()


@dataclass
class FusionPipeline:
    """The work on one pair. Stateful only in the thermal normaliser's smoothed range; one thread at a time.

    Attributes:
        fuser: The fusion model.
        normaliser: Brings thermal images to 8 bits.
        thermal_tint: How strongly warm things are coloured, 0..1; see tint_warm. May change between two pairs.
        perceiver: Finds mask and boxes in the fused image; None: neither is computed.
        score_threshold: Least score of a box, 0..1. May change between two pairs.
        iou_threshold: Of two boxes of a class that overlap more than this, 0..1, the surer one stays. Likewise.
    """

    fuser: Fuser
    normaliser: ThermalNormaliser
    thermal_tint: float = 0.0
    perceiver: Perceiver | None = None
    score_threshold: float = 0.3
    iou_threshold: float = 0.65

    def process(self, pair: FramePair, wants: Wants = FUSED_ONLY) -> FusionResult:
        """Fuses a pair, and looks at the fused image for what is wanted of it.

        Args:
            pair: RGB and thermal frames of any sizes; the result has the RGB frame's.
            wants: What to compute beside the fused image.

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
        mask, detections = None, None
        perceiver = self.perceiver
        if perceiver is not None and (wants.mask or wants.detections):
            # Before the tint, which is for people: the networks have learnt from images without it.
            mask, detections = perceiver.perceive(
                fused,
                mask=wants.mask and bool(perceiver.mask_classes),
                detections=wants.detections and bool(perceiver.detection_classes),
                score_threshold=self.score_threshold,
                iou_threshold=self.iou_threshold,
                watch=watch,
            )
            watch.skip()
        if (strength := self.thermal_tint) and wants.fused:
            fused = tint_warm(fused, thermal, strength)
            watch.lap("tint")
        return FusionResult(
            fused=fused,
            mask=mask,
            detections=detections,
            mask_classes=() if mask is None or perceiver is None else perceiver.mask_classes,
            detection_classes=() if detections is None or perceiver is None else perceiver.detection_classes,
            timings_ms=watch.laps_ms,
        )


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
