"""The topics of a fused bag: those of fusion_node, filled as it fills them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sage_fusion_ros.bags import messages
from sage_fusion_ros.bags.typestore import CAMERA_INFO, COMPRESSED, DETECTIONS, IMAGE, LABEL_INFO, TIME_REFERENCE
from sage_fusion_ros.bags.writer import BagTopic
from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.pipeline.camera_info import camera_info_problem, image_size
from sage_fusion_ros.pipeline.compressed_codec import Packing
from sage_fusion_ros.pipeline.fusion_pipeline import Wants
from sage_fusion_ros.pipeline.overlay import draw_overlay
from sage_fusion_ros.pipeline.pairing import Match
from sage_fusion_ros.pipeline.types import FusionResult

KINDS = ("fused", "mask", "detections", "overlay", "thermal_valid")
DEFAULT_KINDS = ("fused", "mask", "detections")
_NEEDS = {
    "fused": Wants(fused=True),
    "mask": Wants(fused=False, mask=True),
    "detections": Wants(fused=False, detections=True),
    "overlay": Wants(fused=True, mask=True, detections=True),
    "thermal_valid": Wants(fused=True),
}


@dataclass(frozen=True)
class OutputSettings:
    """What a fused bag holds.

    Attributes:
        kinds: Of KINDS; empty: the first three, as far as the models give them.
        images: "raw", or "compressed": fused and overlay as JPEG, mask and thermal_valid as PNG.
        prefix: What `~` stands for: the node's full name.
        by_name: Whether a detection's class_id is the class's name; its number as text otherwise.
        overlay_opacity: How strongly the mask covers the overlay, 0..1.
        score_threshold: Least score of a box, told in the label info.
        packing: How images are compressed.
    """

    kinds: tuple[str, ...] = ()
    images: str = "raw"
    prefix: str = "/fusion_node"
    by_name: bool = True
    overlay_opacity: float = 0.5
    score_threshold: float = 0.3
    packing: Packing = field(default_factory=Packing)


class Outputs:
    """Fills the messages of one pair after the other.

    Args:
        settings: What is wanted.
        mask_classes: Names of the mask's ids; empty where the models give none.
        detection_classes: Names of the boxes' classes; likewise.
        infos: The RGB camera's CameraInfo messages with the time of recording of each.

    Raises:
        ParameterError: A mask or detections are asked for, and no model gives them.
    """

    def __init__(
        self,
        settings: OutputSettings,
        mask_classes: tuple[str, ...],
        detection_classes: tuple[str, ...],
        infos: list[tuple[int, Any]],
    ) -> None:
        given: Mapping[str, bool] = {"mask": bool(mask_classes), "detections": bool(detection_classes)}
        for kind in settings.kinds:
            if not given.get(kind, True):
                raise ParameterError(f"'{kind}' is asked for, but no model gives it; set perception.model")
        self._kinds = settings.kinds or tuple(kind for kind in DEFAULT_KINDS if given.get(kind, True))
        self._settings = settings
        self._labels = {"mask": (mask_classes, 0.0), "detections": (detection_classes, settings.score_threshold)}
        self._infos = _Infos(infos)
        can = Wants(fused=True, mask=given["mask"], detections=given["detections"])
        self.wants = Wants(fused=False)
        for kind in self._kinds:
            self.wants |= _NEEDS[kind] & can

    def topics(self) -> list[BagTopic]:
        """All topics, in the order in which they stand in the bag."""
        topics = []
        for kind in self._kinds:
            if kind == "detections":
                topics.append(BagTopic(self._name(kind), DETECTIONS))
            else:
                packed = self._settings.images == "compressed"
                topics.append(BagTopic(self._image_name(kind), COMPRESSED if packed else IMAGE))
            if kind in self._labels:
                topics.append(BagTopic(f"{self._name(kind)}/label_info", LABEL_INFO, latched=True))
        if self._infos:
            topics.append(BagTopic(self._name("camera_info"), CAMERA_INFO))
        topics.append(BagTopic(f"{self._settings.prefix}/debug/pair_stamps", TIME_REFERENCE))
        return topics

    def labels(self, stamp_ns: int) -> Iterator[tuple[str, Any]]:
        """What the class numbers mean, as (topic, message); said once, before the first pair."""
        for kind in self._kinds:
            if kind in self._labels:
                classes, threshold = self._labels[kind]
                message = messages.label_info(classes, messages.header(stamp_ns), threshold)
                yield f"{self._name(kind)}/label_info", message

    def messages(self, match: Match, frame_id: str, result: FusionResult) -> Iterator[tuple[str, Any]]:
        """All messages of a pair as (topic, message), under one header: the driving stamp, the RGB camera's frame."""
        head = messages.header(match.stamp_ns, frame_id)
        settings = self._settings
        for kind in self._kinds:
            if kind == "fused":
                yield self._image(kind, result.fused, head, lossless=False)
            elif kind == "mask" and result.mask is not None:
                yield self._image(kind, result.mask, head, lossless=True)
            elif kind == "detections" and result.detections is not None:
                array = messages.detection_array(result.detections, result.detection_classes, head, settings.by_name)
                yield self._name(kind), array
            elif kind == "overlay":
                boxes, names = result.detections, result.detection_classes
                drawn = draw_overlay(
                    result.fused, result.mask, result.mask_classes, boxes, names, settings.overlay_opacity
                )
                yield self._image(kind, drawn, head, lossless=False)
            elif kind == "thermal_valid":
                valid = result.thermal_valid
                everywhere = np.full(result.fused.shape[:2], 255, np.uint8)
                yield self._image(kind, everywhere if valid is None else valid, head, lossless=True)
        info = self._infos.find(match)
        if info is not None and image_size(info) == result.fused.shape[1::-1]:
            yield self._name("camera_info"), replace(info, header=head)
        pair = messages.header(match.rgb.stamp_ns, frame_id)
        yield (
            f"{settings.prefix}/debug/pair_stamps",
            messages.time_reference(pair, match.thermal.stamp_ns, "thermal"),
        )

    def _image(self, kind: str, pixels: Any, head: Any, *, lossless: bool) -> tuple[str, Any]:
        if self._settings.images == "compressed":
            return self._image_name(kind), messages.compressed(
                pixels, head, lossless=lossless, packing=self._settings.packing
            )
        return self._image_name(kind), messages.image(pixels, head)

    def _name(self, kind: str) -> str:
        return f"{self._settings.prefix}/output/{kind}"

    def _image_name(self, kind: str) -> str:
        return self._name(kind) + ("/compressed" if self._settings.images == "compressed" else "")


class _Infos:
    """The calibration that belongs to an image: of its own stamp, else the latest one recorded, else the first."""

    def __init__(self, infos: list[tuple[int, Any]]) -> None:
        infos = [(received, info) for received, info in infos if not camera_info_problem(info)]
        self._messages = [info for _, info in infos]
        self._times = [received for received, _ in infos]
        self._by_stamp = {_stamp(info): info for info in self._messages}

    def __bool__(self) -> bool:
        return bool(self._messages)

    def find(self, match: Match) -> Any:
        """The CameraInfo for a pair's RGB image; None where there is none."""
        if not self._messages:
            return None
        exact = self._by_stamp.get(match.rgb.stamp_ns)
        if exact is not None:
            return exact
        return self._messages[max(0, bisect_right(self._times, match.rgb.arrived_ns) - 1)]


def _stamp(message: Any) -> int:
    return int(message.header.stamp.sec) * 1_000_000_000 + int(message.header.stamp.nanosec)
