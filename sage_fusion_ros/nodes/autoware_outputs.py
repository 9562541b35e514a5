"""Boxes and mask as Autoware's camera nodes send them."""

from __future__ import annotations

import array
import math
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from sage_fusion_ros.nodes.class_maps import ClassMap
from sage_fusion_ros.nodes.topic import Topic
from sage_fusion_ros.pipeline.fusion_pipeline import Wants
from sage_fusion_ros.pipeline.mask_rle import encode_runs
from sage_fusion_ros.pipeline.types import Detections, FusionResult
from sage_fusion_ros.resources import share_dir

IGNORE = "IGNORE"
IGNORED = -1
# The table by which autoware_image_projection_based_fusion's segmentation_pointcloud_fusion reads a mask. The README of
# autoware_tensorrt_yolox calls the first entry road as well; to the reader it is unknown, and never filtered out.
MASK_TABLE = (
    "UNKNOWN",
    "BUILDING",
    "WALL",
    "OBSTACLE",
    "TRAFFIC_LIGHT",
    "TRAFFIC_SIGN",
    "PERSON",
    "VEHICLE",
    "BIKE",
    "ROAD",
    "SIDEWALK",
    "ROAD_PAINT",
    "CURBSTONE",
    "CROSSWALK",
    "VEGETATION",
    "SKY",
)


class AutowareMaps:
    """What our classes are to Autoware.

    Args:
        messages: The module autoware_perception_msgs.msg, whose release says which labels there are.
        labels_file: Maps classes of boxes; empty for the package's own.
        mask_file: Maps classes of the mask; empty for the package's own.

    Raises:
        ParameterError: A file can't be read or names a label that Autoware does not have.
    """

    def __init__(self, messages: ModuleType, labels_file: str, mask_file: str) -> None:
        config = share_dir() / "config"
        self._labels = ClassMap(
            Path(labels_file).expanduser() if labels_file else config / "autoware_labels.yaml",
            {**object_labels(messages), IGNORE: IGNORED},
        )
        self._mask = ClassMap(
            Path(mask_file).expanduser() if mask_file else config / "autoware_mask.yaml",
            {name: number for number, name in enumerate(MASK_TABLE)},
        )

    def check(self, mask_classes: tuple[str, ...], detection_classes: tuple[str, ...]) -> None:
        """Finds classes of a model that the files do not map.

        Raises:
            ParameterError: There is one.
        """
        self._mask.numbers(mask_classes)
        self._labels.numbers(detection_classes)

    def labels(self, detection_classes: tuple[str, ...]) -> list[int]:
        """ObjectClassification's number of each class, or IGNORED."""
        return self._labels.numbers(detection_classes)

    def mask_table(self, mask_classes: tuple[str, ...]) -> npt.NDArray[np.uint8]:
        """Autoware's mask id of each of ours: uint8 256; unknown where we have no class."""
        table = np.zeros(256, np.uint8)
        table[: len(mask_classes)] = self._mask.numbers(mask_classes)
        return table


def read_maps(messages: dict[str, ModuleType], labels_file: str, mask_file: str) -> AutowareMaps | None:
    """The maps where Autoware's messages are installed, None where they are not; for arguments see AutowareMaps."""
    if {"tier4_perception_msgs", "autoware_perception_msgs"} - messages.keys():
        return None
    return AutowareMaps(messages["autoware_perception_msgs"], labels_file, mask_file)


def object_labels(messages: ModuleType) -> dict[str, int]:
    """The labels of the installed autoware_perception_msgs/ObjectClassification, by name."""
    attributes = {name: getattr(messages.ObjectClassification, name) for name in dir(messages.ObjectClassification)}
    found = {name: value for name, value in attributes.items() if name.isupper() and isinstance(value, int)}
    return dict(sorted(found.items(), key=lambda item: item[1]))


class ObjectsTopic(Topic):
    """tier4_perception_msgs/DetectedObjectsWithFeature: boxes as regions of interest in pixels of the RGB image."""

    name = "~/output/objects"
    stage = "objects"
    needs = Wants(fused=False, detections=True)

    def __init__(
        self,
        node: Node,
        tier4: ModuleType,
        autoware: ModuleType,
        qos: QoSProfile,
        maps: AutowareMaps,
        root: str = "~",
    ) -> None:
        super().__init__(node, tier4.DetectedObjectsWithFeature, qos, root)
        self._tier4 = tier4
        self._autoware = autoware
        self._maps = maps

    def fill(self, result: FusionResult, header: Header) -> Any:
        """Objects of the result's boxes."""
        height, width = result.fused.shape[:2]
        labels = self._maps.labels(result.detection_classes)
        return detected_objects(
            self._tier4, self._autoware, result.detections, labels, header, height=height, width=width
        )


def detected_objects(
    tier4: ModuleType,
    autoware: ModuleType,
    detections: Detections,
    labels: Sequence[int],
    header: Header,
    *,
    height: int,
    width: int,
) -> Any:
    """Boxes as tier4_perception_msgs/DetectedObjectsWithFeature.

    A region of interest is the box rounded outwards and cut off at the image's edges. A box without a pixel in the
    image, and one of a class that is ignored, is left out.

    Args:
        tier4: The module tier4_perception_msgs.msg.
        autoware: The module autoware_perception_msgs.msg.
        detections: Boxes in image pixels.
        labels: ObjectClassification's number of each class id, or IGNORED.
        header: Of the message.
        height: Of the image.
        width: Of the image.
    """
    message = tier4.DetectedObjectsWithFeature(header=header)
    rows = zip(detections.xyxy.tolist(), detections.scores.tolist(), detections.class_ids.tolist(), strict=True)
    for (left, top, right, bottom), score, number in rows:
        x0, y0 = max(0, math.floor(left)), max(0, math.floor(top))
        x1, y1 = min(width, math.ceil(right)), min(height, math.ceil(bottom))
        if labels[number] == IGNORED or x1 <= x0 or y1 <= y0:
            continue
        found = tier4.DetectedObjectWithFeature()
        roi = found.feature.roi
        roi.x_offset, roi.y_offset, roi.width, roi.height = x0, y0, x1 - x0, y1 - y0
        # As Autoware's camera nodes fill it: the score says whether there is something; of that, the class is certain.
        found.object.existence_probability = score
        found.object.classification = [autoware.ObjectClassification(label=labels[number], probability=1.0)]
        message.feature_objects.append(found)
    return message


class MaskRunsTopic(Topic):
    """The mask in Autoware's ids and its private form: runs (pipeline/mask_rle.py) in a sensor_msgs/Image."""

    name = "~/output/mask_rle"
    stage = "mask_rle"
    needs = Wants(fused=False, mask=True)

    def __init__(self, node: Node, qos: QoSProfile, maps: AutowareMaps, root: str = "~") -> None:
        super().__init__(node, Image, qos, root)
        self._maps = maps

    def fill(self, result: FusionResult, header: Header) -> Image:
        """The result's mask."""
        return mask_runs(result.mask, self._maps.mask_table(result.mask_classes), header)


def mask_runs(mask: npt.NDArray[np.uint8], table: npt.NDArray[np.uint8], header: Header) -> Image:
    """A mask as Autoware sends it: height, width, encoding and step are the mask's, data is its runs.

    Args:
        mask: uint8 HxW ids.
        table: uint8 256, Autoware's id of each.
        header: Of the message.
    """
    data = array.array("B")
    data.frombytes(encode_runs(np.asarray(cv2.LUT(mask, table), np.uint8)).data)
    height, width = mask.shape
    return Image(header=header, height=height, width=width, encoding="mono8", is_bigendian=0, step=width, data=data)
