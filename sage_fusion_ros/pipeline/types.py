"""The words of the pipeline as plain frozen dataclasses, validated once at construction."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import ImageFormatError

Image = npt.NDArray[np.generic]

RGB_VIEW, THERMAL_VIEW = "rgb", "thermal"


@dataclass(frozen=True)
class Frame:
    """One camera image.

    Attributes:
        stamp_ns: Time of exposure in nanoseconds.
        frame_id: Coordinate frame of the camera.
        image: RGB uint8 HxWx3, or thermal HxW as uint8, uint16 or float32.
    """

    stamp_ns: int
    frame_id: str
    image: Image

    def __post_init__(self) -> None:
        shape, dtype = self.image.shape, self.image.dtype
        colour = len(shape) == 3 and shape[2] == 3 and dtype == np.uint8
        grey = len(shape) == 2 and dtype in (np.uint8, np.uint16, np.float32)
        if not (colour or grey) or 0 in shape:
            raise ImageFormatError(
                f"a frame of '{self.frame_id}' has shape {shape} and type {dtype}; expected uint8 HxWx3 (RGB) or "
                "uint8, uint16 or float32 HxW (thermal), of at least one pixel"
            )


@dataclass(frozen=True)
class FramePair:
    """An RGB frame and the thermal frame of the same moment."""

    rgb: Frame
    thermal: Frame

    def __post_init__(self) -> None:
        if self.rgb.image.ndim != 3:
            raise ImageFormatError(f"the RGB frame of a pair has shape {self.rgb.image.shape}; expected HxWx3")
        if self.thermal.image.ndim != 2:
            raise ImageFormatError(f"the thermal frame of a pair has shape {self.thermal.image.shape}; expected HxW")


@dataclass(frozen=True)
class Detections:
    """Boxes of one image.

    Attributes:
        xyxy: float32 Nx4, left, top, right, bottom in pixels of the original RGB image.
        scores: float32 N in 0..1.
        class_ids: int64 N, index into the model card's classes.
    """

    xyxy: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    class_ids: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        count = len(self.scores)
        if self.xyxy.shape != (count, 4) or self.class_ids.shape != (count,) or self.scores.shape != (count,):
            raise ValueError(
                f"detections need xyxy Nx4, scores N and class_ids N; got {self.xyxy.shape}, {self.scores.shape} "
                f"and {self.class_ids.shape}"
            )


@dataclass(frozen=True)
class FusionResult:
    """What one pair became.

    Attributes:
        fused: uint8 HxWx3 RGB, in the RGB image's size unless `view` says otherwise.
        mask: uint8 HxW class ids, or None where no segmentation ran.
        detections: Boxes, or None where no detection ran.
        mask_classes: Name of each id of the mask.
        detection_classes: Name of each class id of the detections.
        thermal_valid: uint8 HxW, 255 where thermal reaches, 0 where RGB alone is shown; None: everywhere.
        timings_ms: Duration of each stage in milliseconds, by name.
        view: Whose geometry and size the images have: "rgb", or "thermal" of a thermal image that goes out alone.
    """

    fused: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.uint8] | None = None
    detections: Detections | None = None
    mask_classes: tuple[str, ...] = ()
    detection_classes: tuple[str, ...] = ()
    thermal_valid: npt.NDArray[np.uint8] | None = None
    timings_ms: dict[str, float] = field(default_factory=dict)
    view: str = RGB_VIEW
