"""Fills messages as the node does, field by field, without ROS; a test holds the two equal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.bags.typestore import (
    CAMERA_INFO,
    COMPRESSED,
    DETECTIONS,
    IMAGE,
    LABEL_INFO,
    TIME_REFERENCE,
    typestore,
)
from sage_fusion_ros.pipeline.compressed_codec import Packing, encode_compressed
from sage_fusion_ros.pipeline.image_codec import encode
from sage_fusion_ros.pipeline.types import Detections

_SECOND = 1_000_000_000
_PACKING = Packing()


def stamp(stamp_ns: int) -> Any:
    """Nanoseconds as builtin_interfaces/Time."""
    return _make("builtin_interfaces/msg/Time", sec=stamp_ns // _SECOND, nanosec=stamp_ns % _SECOND)


def header(stamp_ns: int, frame_id: str = "") -> Any:
    """A std_msgs/Header."""
    return _make("std_msgs/msg/Header", stamp=stamp(stamp_ns), frame_id=frame_id)


def image(pixels: npt.NDArray[Any], head: Any) -> Any:
    """An array as sensor_msgs/Image; see image_codec.encode for the arrays it takes."""
    encoded = encode(pixels)
    return _make(
        IMAGE,
        header=head,
        height=encoded.height,
        width=encoded.width,
        encoding=encoded.encoding,
        is_bigendian=encoded.is_bigendian,
        step=encoded.step,
        data=np.frombuffer(encoded.data, np.uint8),
    )


def compressed(pixels: npt.NDArray[Any], head: Any, *, lossless: bool, packing: Packing = _PACKING) -> Any:
    """An array as sensor_msgs/CompressedImage, with the format strings of compressed_image_transport.

    Args:
        pixels: uint8 HxWx3 RGB, or HxW uint8 or uint16.
        head: The message's header.
        lossless: PNG; else JPEG. 16 bits are always PNG.
        packing: Quality and level.

    Raises:
        ImageFormatError: Float images, which neither can hold.
    """
    packed = encode_compressed(pixels, lossless=lossless, packing=packing)
    return _make(COMPRESSED, header=head, format=packed.format, data=np.frombuffer(packed.data, np.uint8))


def camera_info(width: int, height: int, head: Any, intrinsics: tuple[float, ...] | None) -> Any:
    """A sensor_msgs/CameraInfo; without intrinsics K is zero, which by the message's convention is uncalibrated.

    Args:
        width: Of the image in pixels.
        height: Likewise.
        head: The message's header.
        intrinsics: The nine numbers of K, row by row, of a camera without distortion.
    """
    k = np.array(intrinsics if intrinsics is not None else [0.0] * 9, np.float64)
    known = intrinsics is not None
    p = np.zeros((3, 4))
    p[:, :3] = k.reshape(3, 3)
    roi = _make("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return _make(
        CAMERA_INFO,
        header=head,
        height=height,
        width=width,
        distortion_model="plumb_bob" if known else "",
        d=np.zeros(5 if known else 0),
        k=k,
        r=np.eye(3).reshape(-1) if known else np.zeros(9),
        p=p.reshape(-1),
        binning_x=0,
        binning_y=0,
        roi=roi,
    )


def detection_array(detections: Detections, classes: Sequence[str], head: Any, by_name: bool) -> Any:
    """Boxes as vision_msgs/Detection2DArray.

    Args:
        detections: Boxes in image pixels.
        classes: Name of each class id.
        head: Header of the array and of each detection.
        by_name: Whether class_id is the class's name; its number as text otherwise.
    """
    rows = zip(detections.xyxy.tolist(), detections.scores.tolist(), detections.class_ids.tolist(), strict=True)
    found = []
    for (left, top, right, bottom), score, number in rows:
        centre = _make(
            "vision_msgs/msg/Pose2D",
            position=_make("vision_msgs/msg/Point2D", x=(left + right) / 2, y=(top + bottom) / 2),
            theta=0.0,
        )
        box = _make("vision_msgs/msg/BoundingBox2D", center=centre, size_x=right - left, size_y=bottom - top)
        hypothesis = _make(
            "vision_msgs/msg/ObjectHypothesis", class_id=classes[number] if by_name else str(number), score=score
        )
        result = _make("vision_msgs/msg/ObjectHypothesisWithPose", hypothesis=hypothesis, pose=_no_pose())
        found.append(_make("vision_msgs/msg/Detection2D", header=head, results=[result], bbox=box, id=""))
    return _make(DETECTIONS, header=head, detections=found)


def label_info(classes: Sequence[str], head: Any, threshold: float = 0.0) -> Any:
    """The names of class numbers as vision_msgs/LabelInfo.

    Args:
        classes: Name of each class number.
        head: The message's header.
        threshold: Least score of what the labels belong to, 0..1.
    """
    names = [_make("vision_msgs/msg/VisionClass", class_id=i, class_name=name) for i, name in enumerate(classes)]
    return _make(LABEL_INFO, header=head, class_map=names, threshold=float(threshold))


def time_reference(head: Any, reference_ns: int, source: str) -> Any:
    """A sensor_msgs/TimeReference: another clock's time beside the header's."""
    return _make(TIME_REFERENCE, header=head, time_ref=stamp(reference_ns), source=source)


def _no_pose() -> Any:
    pose = _make(
        "geometry_msgs/msg/Pose",
        position=_make("geometry_msgs/msg/Point", x=0.0, y=0.0, z=0.0),
        orientation=_make("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0),
    )
    return _make("geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=np.zeros(36))


def _make(name: str, **fields: Any) -> Any:
    return typestore().types[name](**fields)
