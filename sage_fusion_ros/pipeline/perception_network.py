"""The package's own kind of network: a mask, boxes, or both, which then agree about vehicles."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.engines.base import Array
from sage_fusion_ros.engines.device_pair import Looking
from sage_fusion_ros.engines.models import ModelFolder
from sage_fusion_ros.errors import ModelError
from sage_fusion_ros.pipeline.detect import DetectionHead
from sage_fusion_ros.pipeline.detection_layouts import LAYOUTS, find_layout
from sage_fusion_ros.pipeline.letterbox import PADDING, Letterbox
from sage_fusion_ros.pipeline.network import Network, NetworkOptions, Probe
from sage_fusion_ros.pipeline.preprocessing import Preprocessing
from sage_fusion_ros.pipeline.segment import MaskHead, find_mask
from sage_fusion_ros.pipeline.types import Detections

MASK_OUTPUT, BOXES_OUTPUT = "mask_logits", "boxes"

VEHICLE_SCORE = 0.15
"""A vehicle in the mask needs a box that scores more. Far below any threshold for boxes that are published."""
_VEHICLES, _BOXES_OF_VEHICLES = ("car", "truck", "bus", "train"), ("car", "truck", "bus")
_GROWN = 0.1  # of a box's sides: masks reach a little beyond their boxes

Mask = npt.NDArray[np.uint8]


class PerceptionNetwork:
    """One network with a mask, boxes, or both.

    Its input is RGB in 0..1, top left letterbox. The output "mask_logits" is 1xCxhxw, "boxes" has the layout yolov8.

    Attributes:
        mask_classes: Names of the mask's ids; empty where it gives none.
        detection_classes: Names of the boxes' classes; empty where it gives none.
        network: What runs it.

    Args:
        model: A verified model folder for the task "perception".
        options: How to run it.
        mask: Whether its mask will be asked for.
        detections: Whether its boxes will be.

    Raises:
        ModelError: The network is not what its card says, or its card names no classes.
        EngineError: The device can't be had.
    """

    def __init__(
        self, model: ModelFolder, options: NetworkOptions, *, mask: bool = True, detections: bool = True
    ) -> None:
        self._card = card = model.card
        expected = [MASK_OUTPUT] * bool(card.mask_classes) + [BOXES_OUTPUT] * bool(card.detection_classes)
        if not expected or sorted(expected) != sorted(tensor.name for tensor in card.outputs):
            raise ModelError(
                f"the card of model {card.name} gives {[t.name for t in card.outputs]} with {len(card.mask_classes)} "
                f"mask_classes and {len(card.detection_classes)} detection_classes; expected '{MASK_OUTPUT}' with the "
                f"first, '{BOXES_OUTPUT}' with the second, or both"
            )
        self.mask_classes = card.mask_classes if mask else ()
        self.detection_classes = card.detection_classes if detections else ()
        self._mask: MaskHead | None = None
        self._boxes: DetectionHead | None = None
        self.network = Network(model, options, self._find)

    def _find(self, probe: Probe) -> tuple[Preprocessing, Sequence[Sequence[str]]]:
        groups: list[list[str]] = []
        if self._card.detection_classes:
            only = Probe(probe.path, probe.inputs, {BOXES_OUTPUT: probe.outputs[BOXES_OUTPUT]})
            reading, _ = find_layout(only, len(self._card.detection_classes), "yolov8")
            self._boxes = DetectionHead(reading, LAYOUTS["yolov8"].overlapping)
        if self.detection_classes:
            groups.append([BOXES_OUTPUT])
        if self.mask_classes:
            only = Probe(probe.path, probe.inputs, {MASK_OUTPUT: probe.outputs[MASK_OUTPUT]})
            self._mask, _ = find_mask(only, len(self.mask_classes), "logits")
            # The mask is the same whoever asks for boxes besides, so it always has them to agree with.
            groups.append([MASK_OUTPUT] + [BOXES_OUTPUT] * (self._boxes is not None))
        # It has learnt from crops that were smoothed before they were made smaller.
        return Preprocessing("rgb", "unit", "top_left", shrinking=cv2.INTER_AREA), groups

    def sharing(self) -> PerceptionNetwork:
        """The same for another thread; see NetworkOptions.workers."""
        other = copy.copy(self)
        other.network = self.network.sharing()
        return other

    def looking(self, height: int, width: int, *, mask: bool, detections: bool) -> Looking | None:
        """What `perceive` does to an image of this size, for an engine that does it by itself; None: nothing."""
        with_mask, detections = mask and self._mask is not None, detections and bool(self.detection_classes)
        with_boxes = self._boxes is not None and (with_mask or detections)
        if not (with_mask or with_boxes):
            return None
        vehicles, kinds = _vehicles(self.mask_classes, self._card.detection_classes)
        return Looking(
            place=self.network.letterbox(height, width),
            padding=PADDING,
            mask=MASK_OUTPUT if with_mask else "",
            boxes=BOXES_OUTPUT if with_boxes else "",
            vehicles=vehicles,
            vehicle_kinds=kinds,
            vehicle_score=VEHICLE_SCORE,
            grown=_GROWN,
        )

    def perceive(
        self, rgb: Mask, *, mask: bool, detections: bool, score_threshold: float, iou_threshold: float
    ) -> tuple[Mask | None, Detections | None]:
        """As Perceiver.perceive; what the network does not give is None."""
        mask_head = self._mask if mask else None
        detections = detections and bool(self.detection_classes)
        boxes_head = self._boxes if mask_head or detections else None
        names = [MASK_OUTPUT] * (mask_head is not None) + [BOXES_OUTPUT] * (boxes_head is not None)
        if not names:
            return None, None
        outputs, box = self.network.run(rgb, names)
        ids = found = None
        if boxes_head:
            floor = least_score(score_threshold, mask_head is not None)
            found = boxes_head.decode(outputs[-1:], box, floor, iou_threshold)
        if mask_head:
            logits = outputs[0]
            if found is not None:
                logits = boxed_vehicles(logits, box, found, self.mask_classes, self._card.detection_classes)
            ids = mask_head.decode(logits, box)
        return ids, surer(found, score_threshold) if found is not None and detections else None


def least_score(threshold: float, mask: bool) -> float:
    """Down to which score boxes are looked for: a mask needs unsure ones too."""
    return min(threshold, VEHICLE_SCORE) if mask else threshold


def _vehicles(mask_classes: Sequence[str], detection_classes: Sequence[str]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ids of vehicles in the mask, and classes of boxes that bear them out."""
    ids = tuple(index for index, name in enumerate(mask_classes) if name in _VEHICLES)
    return ids, tuple(index for index, name in enumerate(detection_classes) if name in _BOXES_OF_VEHICLES)


def surer(found: Detections, threshold: float) -> Detections:
    """Those that score more."""
    kept = found.scores > threshold
    return Detections(found.xyxy[kept], found.scores[kept], found.class_ids[kept])


def boxed_vehicles(
    logits: Array, box: Letterbox, found: Detections, mask_classes: Sequence[str], detection_classes: Sequence[str]
) -> Array:
    """Logits of a mask without vehicles that no box bears out; there, the next likely class is seen.

    Stairs, shutters and ribbed walls look like vehicles to a mask, which judges by texture; a box needs the whole
    thing. People stay in the mask whatever the boxes say: there, missing one costs more than a false one.

    Args:
        logits: float 1xCxhxw over the network's whole input; written to.
        box: Where the image lay in it.
        found: Boxes in pixels of the image, unsure ones too.
        mask_classes: C names.
        detection_classes: Names of the boxes' class_ids. Where no vehicle is among them nothing is taken away.

    Returns:
        The same array.
    """
    vehicles, kinds = _vehicles(mask_classes, detection_classes)
    if not vehicles or not kinds:
        return logits
    rows, columns = logits.shape[2:]
    bare = np.ones((rows, columns), bool)
    xyxy = box.to_network(found.xyxy[np.isin(found.class_ids, kinds) & (found.scores > VEHICLE_SCORE)])
    margin = _GROWN * (xyxy[:, 2:] - xyxy[:, :2])
    cells = np.array([columns / box.net_width, rows / box.net_height], np.float32)
    first = np.floor((xyxy[:, :2] - margin) * cells).clip(0).astype(int)
    last = np.ceil((xyxy[:, 2:] + margin) * cells).clip(0).astype(int)
    for (left, top), (right, bottom) in zip(first, last, strict=True):
        bare[top:bottom, left:right] = False
    for index in vehicles:
        logits[0, index][bare] = -np.inf
    return logits
