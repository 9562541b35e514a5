"""Mask and boxes of a fused image: from one network with both, or from networks that the user brought."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.engines.base import EngineInfo
from sage_fusion_ros.engines.models import find_model
from sage_fusion_ros.pipeline.detect import Detector, load_detector
from sage_fusion_ros.pipeline.network import USUAL, NetworkOptions
from sage_fusion_ros.pipeline.perception_network import PerceptionNetwork
from sage_fusion_ros.pipeline.segment import Segmenter, load_segmenter
from sage_fusion_ros.pipeline.types import Detections

if TYPE_CHECKING:
    from sage_fusion_ros.pipeline.fusion_pipeline import Stopwatch


@dataclass(frozen=True)
class PerceptionChoice:
    """Which networks look at the fused image.

    Attributes:
        perception_model: Name or folder of a model for mask and boxes; empty: none.
        detection_model: An ONNX file, or name or folder of a model, whose boxes replace those; empty: none.
        detection_classes: Its classes, as read_classes takes them.
        detection_layout: One of DETECTION_LAYOUTS, or "auto".
        segmentation_model: Likewise for the mask.
        segmentation_classes: Likewise.
        segmentation_layout: One of SEGMENTATION_LAYOUTS, or "auto".
    """

    perception_model: str = "perception"
    detection_model: str = ""
    detection_classes: str | Sequence[str] = ()
    detection_layout: str = "auto"
    segmentation_model: str = ""
    segmentation_classes: str | Sequence[str] = ()
    segmentation_layout: str = "auto"


class Perceiver:
    """Whatever looks at the fused image, behind one call. One thread at a time.

    Attributes:
        mask_classes: Names of the mask's ids; empty: there is no mask.
        detection_classes: Names of the boxes' classes; empty: there are no boxes.
        names: Names of the models.
        infos: Where each of them runs, in the same order.
    """

    def __init__(
        self,
        perception: PerceptionNetwork | None = None,
        detector: Detector | None = None,
        segmenter: Segmenter | None = None,
    ) -> None:
        self._perception = perception
        self._detector = detector
        self._segmenter = segmenter
        self.mask_classes: tuple[str, ...] = ()
        self.detection_classes: tuple[str, ...] = ()
        if perception:
            self.mask_classes, self.detection_classes = perception.mask_classes, perception.detection_classes
        if segmenter:
            self.mask_classes = segmenter.classes
        if detector:
            self.detection_classes = detector.classes
        self._networks = [part.network for part in (perception, segmenter, detector) if part]
        self.names = tuple(network.name for network in self._networks)
        self.infos: tuple[EngineInfo, ...] = tuple(network.engine.info for network in self._networks)

    @property
    def alone(self) -> PerceptionNetwork | None:
        """The one network that looks, where it is a perception network; None where the user's own look too."""
        return self._perception if self._detector is None and self._segmenter is None else None

    def perceive(
        self,
        fused: npt.NDArray[np.uint8],
        *,
        mask: bool,
        detections: bool,
        score_threshold: float,
        iou_threshold: float,
        watch: Stopwatch | None = None,
    ) -> tuple[npt.NDArray[np.uint8] | None, Detections | None]:
        """Finds what is asked for. The perception model computes its boxes for its mask too; nothing else is computed.

        Args:
            fused: uint8 HxWx3 RGB.
            mask: Whether the mask is wanted.
            detections: Whether boxes are wanted.
            score_threshold: Boxes that score no more, 0..1, are left out.
            iou_threshold: Of two boxes of a class that overlap more, 0..1, the surer one stays.
            watch: Told the times: "perceive" for the network with both, "segment" and "detect" for those of one.

        Returns:
            The mask, uint8 HxW ids that count in mask_classes, and boxes in pixels of the image, best first; None for
            what was not asked for or no network gives.
        """
        ids: npt.NDArray[np.uint8] | None = None
        found: Detections | None = None
        own_mask, own_boxes = mask and self._segmenter is None, detections and self._detector is None
        if self._perception and (own_mask or own_boxes):
            ids, found = self._perception.perceive(
                fused,
                mask=own_mask,
                detections=own_boxes,
                score_threshold=score_threshold,
                iou_threshold=iou_threshold,
            )
            if watch is not None:
                watch.lap("perceive")
        if mask and self._segmenter:
            ids = self._segmenter.segment(fused, watch)
        if detections and self._detector:
            found = self._detector.detect(fused, score_threshold, iou_threshold, watch)
        return ids, found

    def sharing(self) -> Perceiver:
        """The same networks for another thread; see NetworkOptions.workers."""
        return Perceiver(
            self._perception and self._perception.sharing(),
            self._detector and self._detector.sharing(),
            self._segmenter and self._segmenter.sharing(),
        )

    def close(self) -> None:
        """Frees the networks."""
        for network in self._networks:
            network.close()


def load_perceiver(choice: PerceptionChoice, options: NetworkOptions = USUAL) -> Perceiver | None:
    """Finds, verifies, loads and warms what was chosen.

    Args:
        choice: The networks.
        options: Where to look for them and how to run them.

    Returns:
        None where nothing is chosen. The perception model is not loaded where the other two replace both its outputs.

    Raises:
        ModelError: A network is missing, damaged, or not of the layout and classes that it should have.
        ParameterError: A class list can't be read.
        EngineError: The device can't be had.
    """
    perception = detector = segmenter = None
    try:
        if choice.detection_model:
            classes, layout = choice.detection_classes, choice.detection_layout
            detector = load_detector(choice.detection_model, classes, layout, options)
        if choice.segmentation_model:
            classes, layout = choice.segmentation_classes, choice.segmentation_layout
            segmenter = load_segmenter(choice.segmentation_model, classes, layout, options)
        if choice.perception_model and not (detector and segmenter):
            folder = find_model(choice.perception_model, options.models_path, task="perception")
            perception = PerceptionNetwork(folder, options, mask=segmenter is None, detections=detector is None)
    except Exception:
        for part in (detector, segmenter):
            if part:
                part.network.close()
        raise
    return Perceiver(perception, detector, segmenter) if perception or detector or segmenter else None
