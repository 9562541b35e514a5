"""One pair (or one image alone) in, one result out: thermal normalisation, registration, fusion, perception, tint."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.pipeline.fuse import Fuser
from sage_fusion_ros.pipeline.on_device import OnDevice, on_device
from sage_fusion_ros.pipeline.registration import Registered, Registrar, resize_to
from sage_fusion_ros.pipeline.thermal import ThermalNormaliser
from sage_fusion_ros.pipeline.tint import tint_warm
from sage_fusion_ros.pipeline.types import RGB_VIEW, THERMAL_VIEW, Detections, Frame, FramePair, FusionResult

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
        registrar: Brings thermal into the RGB image's geometry; None: it is resized and nothing else.
        perceiver: Finds mask and boxes in the fused image; None: neither is computed.
        score_threshold: Least score of a box, 0..1. May change between two pairs.
        iou_threshold: Of two boxes of a class that overlap more than this, 0..1, the surer one stays. Likewise.
    """

    fuser: Fuser
    normaliser: ThermalNormaliser
    thermal_tint: float = 0.0
    registrar: Registrar | None = None
    perceiver: Perceiver | None = None
    score_threshold: float = 0.3
    iou_threshold: float = 0.5
    _joined: tuple[Fuser, Perceiver | None, OnDevice | None] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._device()  # what it takes to join the models is not to be paid by the first pair

    def process(self, pair: FramePair, wants: Wants = FUSED_ONLY) -> FusionResult:
        """Fuses a pair, and looks at the fused image for what is wanted of it.

        Args:
            pair: RGB and thermal frames of any sizes; the result has the RGB frame's.
            wants: What to compute beside the fused image.

        Raises:
            ImageFormatError: The pair is too small for the network.
            CalibrationError: It can't be registered, and is not to go out then.
        """
        watch = Stopwatch()
        thermal = self.normaliser(pair.thermal.image, pair.thermal.stamp_ns)
        watch.lap("normalise")
        rgb = np.asarray(pair.rgb.image, np.uint8)
        registered = self._register(thermal, *rgb.shape[:2])
        watch.lap("register")
        device = self._device()
        if device is not None and registered.thermal is not None:
            return self._on_device(device, rgb, registered, wants, watch)
        fused = self._fuse(rgb, registered)
        watch.lap("fuse")
        return self._look(fused, registered, wants, watch)

    def process_alone(
        self, frame: Frame, rgb_size: tuple[int, int] | None = None, wants: Wants = FUSED_ONLY
    ) -> FusionResult:
        """What goes out of one camera while the other one is lost; the networks look at it as at any fused image.

        An RGB image goes out as it is. A thermal image is fused with black: what the network makes of an RGB camera
        that sees nothing, which is what the perception model has learnt from.

        Args:
            frame: RGB or thermal.
            rgb_size: Of the RGB camera's images, height and width, for thermal frames: where they can be registered the
                result has the RGB camera's geometry, so that its consumers notice no change; None: not known.
            wants: What to compute beside the image.

        Raises:
            ImageFormatError: The image is too small for the network.
            CalibrationError: It can't be registered, and is not to go out then.
        """
        watch = Stopwatch()
        if frame.image.ndim == 3:
            return self._look(np.asarray(frame.image, np.uint8), Registered(None), wants, watch)
        thermal = self.normaliser(frame.image, frame.stamp_ns)
        watch.lap("normalise")
        registered, view = Registered(thermal), THERMAL_VIEW
        if self.registrar is not None and rgb_size is not None:
            found = self._register(thermal, *rgb_size)
            if found.thermal is not None and not self.registrar.problem:
                registered, view = found, RGB_VIEW
        watch.lap("register")
        assert registered.thermal is not None
        fused = self._fuse(np.zeros((*registered.thermal.shape, 3), np.uint8), registered)
        watch.lap("fuse")
        return replace(self._look(fused, registered, wants, watch), view=view)

    def _device(self) -> OnDevice | None:
        """The models joined on their device, where that can be; joined anew when one of them was replaced."""
        if self._joined is None or self._joined[0] is not self.fuser or self._joined[1] is not self.perceiver:
            self._joined = (self.fuser, self.perceiver, on_device(self.fuser, self.perceiver))
        return self._joined[2]

    def _on_device(
        self, device: OnDevice, rgb: npt.NDArray[np.uint8], registered: Registered, wants: Wants, watch: Stopwatch
    ) -> FusionResult:
        fused, mask, detections = device.process(
            rgb,
            registered,
            mask=wants.mask,
            detections=wants.detections,
            score=self.score_threshold,
            overlap=self.iou_threshold,
        )
        watch.lap("device")
        if not device.perceives:
            return self._look(fused, registered, wants, watch)
        return self._finish(fused, mask, detections, registered, wants, watch)

    def _look(
        self, fused: npt.NDArray[np.uint8], registered: Registered, wants: Wants, watch: Stopwatch
    ) -> FusionResult:
        """Mask, boxes and tint of a fused image."""
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
        return self._finish(fused, mask, detections, registered, wants, watch)

    def _finish(
        self,
        fused: npt.NDArray[np.uint8],
        mask: npt.NDArray[np.uint8] | None,
        detections: Detections | None,
        registered: Registered,
        wants: Wants,
        watch: Stopwatch,
    ) -> FusionResult:
        """The tint, and everything under one name."""
        perceiver = self.perceiver
        if (strength := self.thermal_tint) and wants.fused and registered.thermal is not None:
            tinted = tint_warm(fused, registered.thermal, strength)
            fused = registered.coverage.join(tinted, fused) if registered.coverage else tinted
            watch.lap("tint")
        return FusionResult(
            fused=fused,
            mask=mask,
            detections=detections,
            mask_classes=() if mask is None or perceiver is None else perceiver.mask_classes,
            detection_classes=() if detections is None or perceiver is None else perceiver.detection_classes,
            thermal_valid=registered.valid(*fused.shape[:2]),
            timings_ms=watch.laps_ms,
        )

    def _register(self, thermal: npt.NDArray[np.uint8], height: int, width: int) -> Registered:
        if self.registrar is None:
            return Registered(resize_to(thermal, height, width))
        return self.registrar(thermal, height, width)

    def _fuse(self, rgb: npt.NDArray[np.uint8], registered: Registered) -> npt.NDArray[np.uint8]:
        """The fused image where thermal reaches, the RGB image elsewhere."""
        if registered.thermal is None:
            return rgb
        fused = self.fuser.fuse(rgb, registered.thermal)
        return registered.coverage.join(fused, rgb) if registered.coverage else fused


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
