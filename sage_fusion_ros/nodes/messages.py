"""What every output needs to fill its messages, and message packages that need not be there."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from sage_fusion_ros.pipeline.compressed_codec import Packing, encode_compressed
from sage_fusion_ros.pipeline.image_codec import encode

# Packages of messages that are used where they are installed, and what is not published without them.
OPTIONAL_PACKAGES = {
    "vision_msgs": "~/output/detections, ~/output/detections/label_info, ~/output/mask/label_info",
    "foxglove_msgs": "~/output/annotations",
    "tier4_perception_msgs": "~/output/objects, ~/output/mask_rle",
    "autoware_perception_msgs": "~/output/objects, ~/output/mask_rle",
}


def optional_messages() -> dict[str, ModuleType]:
    """The message modules of the optional packages that can be imported, by package."""
    found = {}
    for package in OPTIONAL_PACKAGES:
        try:
            found[package] = importlib.import_module(f"{package}.msg")
        except ImportError:
            continue
    return found


def missing_text(found: dict[str, ModuleType]) -> str:
    """What is not published because its message package is not installed; empty where all are."""
    missing = [f"{package} ({topics})" for package, topics in OPTIONAL_PACKAGES.items() if package not in found]
    return f"not installed, so not published: {'; '.join(missing)}" if missing else ""


def ns_to_stamp(stamp_ns: int) -> Time:
    """Nanoseconds to builtin_interfaces/Time."""
    return Time(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)


def image_message(image: np.ndarray[Any, Any], header: Header) -> Image:
    """An array as sensor_msgs/Image; see image_codec.encode for the arrays it takes."""
    encoded = encode(image)
    message = Image(header=header)
    message.height, message.width, message.step = encoded.height, encoded.width, encoded.step
    message.encoding, message.is_bigendian, message.data = encoded.encoding, encoded.is_bigendian, encoded.data
    return message


def compressed_message(
    image: np.ndarray[Any, Any], header: Header, *, lossless: bool, packing: Packing
) -> CompressedImage:
    """An array as sensor_msgs/CompressedImage; see compressed_codec.encode_compressed for the arrays it takes."""
    packed = encode_compressed(image, lossless=lossless, packing=packing)
    return CompressedImage(header=header, format=packed.format, data=packed.data)
