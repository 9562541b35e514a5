"""Boxes in an image: a detector of any known layout, its candidates suppressed and brought to the image's pixels."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.engines.base import Array
from sage_fusion_ros.engines.models import ModelFolder
from sage_fusion_ros.pipeline.classes import named_classes
from sage_fusion_ros.pipeline.detection_decoders import Candidates, Floats
from sage_fusion_ros.pipeline.detection_layouts import Reading, find_layout
from sage_fusion_ros.pipeline.letterbox import Letterbox
from sage_fusion_ros.pipeline.network import Network, NetworkOptions, Probe, find_network
from sage_fusion_ros.pipeline.preprocessing import Preprocessing
from sage_fusion_ros.pipeline.types import Detections

if TYPE_CHECKING:
    from sage_fusion_ros.pipeline.fusion_pipeline import Stopwatch

# A network without sense may call every cell a car; suppression takes the square of their number.
MAX_CANDIDATES = 3000
_FAR = 1e5  # pixels; beyond it corners are as good as infinite, which suppression can't count with


def suppress(
    candidates: Candidates, floor: float, iou_threshold: float | None, several: bool = False
) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """Class-wise non-maximum suppression.

    Args:
        candidates: float32 Nx4 corners, float32 N x classes scores.
        floor: Scores at or below it are dropped.
        iou_threshold: Of two boxes of a class that overlap by more than this, 0..1, the surer one stays; None: all
            stay.
        several: Whether a box may stand for several classes, as in the detectors' own evaluations; otherwise it
            stands for its surest.

    Returns:
        float32 Mx4 corners, float32 M scores and int64 M classes, best first.
    """
    xyxy, scores = candidates
    if several:
        boxes, classes = np.nonzero(scores > floor)
    else:
        classes = scores.argmax(axis=1) if len(scores) else np.zeros(0, np.int64)
        boxes = np.flatnonzero(scores[np.arange(len(scores)), classes] > floor)
        classes = classes[boxes]
    best = scores[boxes, classes]
    if iou_threshold is None or not len(best):
        kept = np.arange(len(best), dtype=np.int64)
    else:
        corners = np.clip(np.asarray(xyxy, np.float64)[boxes], -_FAR, _FAR)
        # Each class gets a place of its own, so that boxes of two classes never meet; OpenCV has a function for that
        # (NMSBoxesBatched), but not yet in the version that comes with ROS 2 Humble.
        corners -= corners.min()
        corners += (classes * (corners.max() + 1))[:, None]
        rectangles = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
        nms: Any = cv2.dnn.NMSBoxes  # takes arrays, though its types say otherwise
        kept = np.array(nms(rectangles, best, floor, iou_threshold, top_k=MAX_CANDIDATES), np.int64).ravel()
    kept = kept[np.argsort(-best[kept], kind="stable")]
    return xyxy[boxes[kept]], best[kept], np.asarray(classes[kept], np.int64)


@dataclass(frozen=True)
class DetectionHead:
    """The outputs of a network that are boxes.

    Attributes:
        reading: How they are decoded.
        overlapping: Whether they need suppression.
        several: Whether a box may stand for several classes.
        clip: Whether boxes end at the image's edges; those that lie outside are then dropped.
    """

    reading: Reading
    overlapping: bool = True
    several: bool = False
    clip: bool = True

    def decode(
        self, outputs: Sequence[Array], box: Letterbox, score_threshold: float, iou_threshold: float
    ) -> Detections:
        """Outputs, in the reading's order, to boxes in pixels of the image, best first."""
        candidates = self.reading.decode(outputs, box.net_height, box.net_width, score_threshold)
        xyxy, scores, classes = suppress(
            candidates, score_threshold, iou_threshold if self.overlapping else None, self.several
        )
        xyxy = box.to_image(xyxy, self.clip)
        if self.clip:
            inside = (xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1])
            xyxy, scores, classes = xyxy[inside], scores[inside], classes[inside]
        return Detections(xyxy, scores, classes)


class Detector:
    """A network that finds boxes.

    Attributes:
        classes: Names of the class ids.
        layout: Name of its layout.
        network: What runs it.

    Args:
        model: A verified model folder, or an ONNX file.
        classes: Names of its classes, in their order.
        layout: One of DETECTION_LAYOUTS, or "auto" to find it by the shapes.
        options: How to run it.
        several: As in suppress.
        clip: Whether boxes end at the image's edges.

    Raises:
        ModelError: It is no detector of a known layout and as many classes.
        EngineError: The device can't be had.
    """

    def __init__(
        self,
        model: ModelFolder | Path,
        classes: tuple[str, ...],
        layout: str,
        options: NetworkOptions,
        *,
        several: bool = False,
        clip: bool = True,
    ) -> None:
        self.classes = classes
        self.layout = layout

        def find(probe: Probe) -> tuple[Preprocessing, Sequence[Sequence[str]]]:
            reading, found = find_layout(probe, len(classes), layout)
            self.layout = found.name
            self._head = DetectionHead(reading, found.overlapping, several, clip)
            return found.preprocessing, [reading.outputs]

        self.network = Network(model, options, find)

    def sharing(self) -> Detector:
        """The same for another thread; see NetworkOptions.workers."""
        other = copy.copy(self)
        other.network = self.network.sharing()
        return other

    def detect(
        self,
        rgb: npt.NDArray[np.uint8],
        score_threshold: float,
        iou_threshold: float,
        watch: Stopwatch | None = None,
    ) -> Detections:
        """Finds boxes.

        Args:
            rgb: uint8 HxWx3 RGB.
            score_threshold: Boxes that score no more, 0..1, are left out.
            iou_threshold: Of two boxes of a class that overlap more, 0..1, the surer one stays.
            watch: Told the time as "detect".

        Returns:
            Boxes in pixels of the image, best first; class ids count in `classes`.
        """
        outputs, box = self.network.run(rgb, self._head.reading.outputs)
        found = self._head.decode(outputs, box, score_threshold, iou_threshold)
        if watch is not None:
            watch.lap("detect")
        return found


def load_detector(
    model: str | Path, classes: str | Sequence[str], layout: str, options: NetworkOptions, what: str = "detection"
) -> Detector:
    """Finds, verifies, loads and warms a detector.

    Args:
        model: An ONNX file, or the name or path of a model folder for the task "detection".
        classes: As read_classes takes them; nothing: as the folder's card says.
        layout: As in Detector.
        options: How to run it.
        what: Group of the parameters, for messages.

    Raises:
        ModelError: It is missing, damaged, or no detector of a known layout and these classes.
        ParameterError: The class list can't be read.
        EngineError: The device can't be had.
    """
    found = find_network(model, options.models_path, "detection")
    own = found.card.detection_classes if isinstance(found, ModelFolder) else ()
    return Detector(found, named_classes(model, classes, own, what), layout, options)
