"""One pair (or one image alone) in, one result out: thermal normalisation, registration, fusion, perception, tint."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

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
        asked_by: Who listens: a sink's own note, which it finds again beside the result.
    """

    fused: bool = True
    mask: bool = False
    detections: bool = False
    asked_by: tuple[Any, ...] = field(default=(), compare=False, repr=False)

    def __bool__(self) -> bool:
        return self.fused or self.mask or self.detections

    def __or__(self, other: Wants) -> Wants:
        return Wants(self.fused or other.fused, self.mask or other.mask, self.detections or other.detections)

    def __and__(self, other: Wants) -> Wants:
        return Wants(self.fused and other.fused, self.mask and other.mask, self.detections and other.detections)


FUSED_ONLY = Wants()


@dataclass(frozen=True)
class Prepared:
    """What is to be fused, in one geometry.

    Attributes:
        rgb: uint8 HxWx3 RGB; black where there is thermal alone.
        registered: The thermal image beside it; without one the RGB image goes out as it is.
        view: Which camera's geometry they have.
        timings_ms: Of each stage so far.
    """

    rgb: npt.NDArray[np.uint8]
    registered: Registered
    view: str = RGB_VIEW
    timings_ms: dict[str, float] = field(default_factory=dict)


@dataclass
class FusionPipeline:
    """The work on one pair, in two parts: `prepare` or `prepare_alone`, then `run`.

    One thread at a time. Pipelines for several threads may have the normaliser and the registrar in common, where only
    one thread prepares at a time; the models' buffers they may not (`sharing`). Stateful only in the thermal
    normaliser's smoothed range, so pairs are to be prepared in their order.

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
        """Both parts; see prepare and run."""
        return self.run(self.prepare(pair), wants)

    def process_alone(
        self, frame: Frame, rgb_size: tuple[int, int] | None = None, wants: Wants = FUSED_ONLY
    ) -> FusionResult:
        """Both parts; see prepare_alone and run."""
        return self.run(self.prepare_alone(frame, rgb_size), wants)

    def prepare(self, pair: FramePair) -> Prepared:
        """Brings thermal to 8 bits and into the RGB frame's geometry and size; the frames may have any sizes.

        Raises:
            CalibrationError: It can't be registered, and is not to go out then.
        """
        watch = Stopwatch()
        thermal = self.normaliser(pair.thermal.image, pair.thermal.stamp_ns)
        watch.lap("normalise")
        rgb = np.asarray(pair.rgb.image, np.uint8)
        registered = self._register(thermal, *rgb.shape[:2])
        watch.lap("register")
        return Prepared(rgb, registered, timings_ms=watch.laps_ms)

    def prepare_alone(self, frame: Frame, rgb_size: tuple[int, int] | None = None) -> Prepared:
        """What goes out of one camera while the other one is lost; the networks look at it as at any fused image.

        An RGB image goes out as it is. A thermal image is fused with black: what the network makes of an RGB camera
        that sees nothing, which is what the perception model has learnt from.

        Args:
            frame: RGB or thermal.
            rgb_size: Of the RGB camera's images, height and width, for thermal frames: where they can be registered the
                result has the RGB camera's geometry, so that its consumers notice no change; None: not known.

        Raises:
            CalibrationError: It can't be registered, and is not to go out then.
        """
        if frame.image.ndim == 3:
            return Prepared(np.asarray(frame.image, np.uint8), Registered(None))
        watch = Stopwatch()
        thermal = self.normaliser(frame.image, frame.stamp_ns)
        watch.lap("normalise")
        registered, view = Registered(thermal), THERMAL_VIEW
        if self.registrar is not None and rgb_size is not None:
            found = self._register(thermal, *rgb_size)
            if found.thermal is not None and not self.registrar.problem:
                registered, view = found, RGB_VIEW
        assert registered.thermal is not None
        black = np.zeros((*registered.thermal.shape, 3), np.uint8)
        watch.lap("register")
        return Prepared(black, registered, view, watch.laps_ms)

    def run(self, prepared: Prepared, wants: Wants = FUSED_ONLY) -> FusionResult:
        """Fuses, looks at the fused image for what is wanted of it, and tints it.

        Raises:
            ImageFormatError: The pair is too small for the network.
        """
        watch = Stopwatch()
        rgb, registered, perceiver = prepared.rgb, prepared.registered, self.perceiver
        mask = detections = None
        seen = False
        if registered.thermal is None:
            image = rgb
        elif (device := self._device()) is not None:
            image, mask, detections = self._on_device(device, rgb, registered, wants)
            seen = device.perceives
            watch.lap("device")
        else:
            fused = self.fuser.fuse(rgb, registered.thermal)
            image = registered.coverage.join(fused, rgb) if registered.coverage else fused
            watch.lap("fuse")
        if not seen and perceiver is not None and (wants.mask or wants.detections):
            # Before the tint, which is for people: the networks have learnt from images without it.
            mask, detections = perceiver.perceive(
                image,
                mask=wants.mask and bool(perceiver.mask_classes),
                detections=wants.detections and bool(perceiver.detection_classes),
                score_threshold=self.score_threshold,
                iou_threshold=self.iou_threshold,
                watch=watch,
            )
            watch.skip()
        if (strength := self.thermal_tint) and wants.fused and registered.thermal is not None:
            tinted = tint_warm(image, registered.thermal, strength)
            image = registered.coverage.join(tinted, image) if registered.coverage else tinted
            watch.lap("tint")
        return FusionResult(
            fused=image,
            mask=mask,
            detections=detections,
            mask_classes=() if mask is None or perceiver is None else perceiver.mask_classes,
            detection_classes=() if detections is None or perceiver is None else perceiver.detection_classes,
            thermal_valid=registered.valid(*image.shape[:2]),
            view=prepared.view,
            timings_ms={**prepared.timings_ms, **watch.laps_ms},
        )

    def _device(self) -> OnDevice | None:
        """The models joined on their device, where that can be; joined anew when one of them was replaced."""
        if self._joined is None or self._joined[0] is not self.fuser or self._joined[1] is not self.perceiver:
            self._joined = (self.fuser, self.perceiver, on_device(self.fuser, self.perceiver))
        return self._joined[2]

    def _on_device(
        self, device: OnDevice, rgb: npt.NDArray[np.uint8], registered: Registered, wants: Wants
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8] | None, Detections | None]:
        return device.process(
            rgb,
            registered,
            mask=wants.mask,
            detections=wants.detections,
            score=self.score_threshold,
            overlap=self.iou_threshold,
        )

    def _register(self, thermal: npt.NDArray[np.uint8], height: int, width: int) -> Registered:
        if self.registrar is None:
            return Registered(resize_to(thermal, height, width))
        return self.registrar(thermal, height, width)


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
