"""Raw image messages: valid ones of every encoding, of which up to three fields are then made hostile."""

from __future__ import annotations

import array
from types import SimpleNamespace
from typing import Any

import numpy as np
from chooser import Chooser

from sage_fusion_ros.errors import ImageFormatError
from sage_fusion_ros.pipeline.compressed_codec import check, decode
from sage_fusion_ros.pipeline.image_codec import ENCODINGS, as_rgb, as_thermal, encode, shown
from sage_fusion_ros.pipeline.thermal import ThermalNormaliser, ThermalSettings

_BYTES = {"rgb8": 3, "bgr8": 3, "8uc3": 3, "rgba8": 4, "bgra8": 4, "32fc1": 4, "mono16": 2, "16uc1": 2}
_BYTES |= {name: 2 for name in ENCODINGS if name.endswith("16") or name.startswith(("yuv", "uyvy", "yuyv"))}
_NAMES = (
    "",
    "h264",
    "RGB8",
    "Yuv422",
    "BAYER_RGGB16",
    "mono8\0",
    "rgb8 ",
    "16UC3",
    "\U0001f600",
    "\ud800",
    "\n[x]",
    "-1",
)
_CONTAINERS = (
    bytes,
    bytearray,
    memoryview,
    lambda data: array.array("B", data),
    lambda data: np.frombuffer(data, "u1"),
)
_FIELDS = ("height", "width", "step", "encoding", "is_bigendian", "shorter", "longer", "data")


def make(choose: Chooser) -> Any:
    """A message with the fields of sensor_msgs/Image."""
    encoding = choose.pick(ENCODINGS)
    height, width = 1 + choose.below(24), 1 + choose.below(24)
    step = width * _BYTES.get(encoding, 1) + choose.pick((0, 0, 0, 1, 3, 16))
    message = SimpleNamespace(
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=choose.below(2),
        step=step,
        data=choose.raw(height * step),
    )
    for _ in range(choose.pick((0, 1, 1, 1, 2, 3))):
        spoil(message, choose)
    if isinstance(message.data, bytes):
        message.data = choose.pick(_CONTAINERS)(message.data)
    return message


def spoil(message: Any, choose: Chooser) -> None:
    """Makes one field of a message hostile."""
    field = choose.pick(_FIELDS)
    data = message.data if isinstance(message.data, bytes) else b""
    if field in ("height", "width", "step"):
        setattr(message, field, choose.number(getattr(message, field)))
    elif field == "encoding":
        message.encoding = choose.pick(ENCODINGS if choose.chance(2) else _NAMES)
        if choose.chance(1000):
            message.encoding = "x" * 1_000_000
    elif field == "is_bigendian":
        message.is_bigendian = choose.pick((0, 1, 2, 255, True))
    elif field == "shorter":
        message.data = data[: choose.below(len(data) + 1)]
    elif field == "longer":
        message.data = data + bytes(1 + choose.below(100))
    else:
        message.data = choose.pick((b"", None, "text", [1, 2], np.zeros((2, 2), np.float32), 7))


def test(message: Any) -> str:
    """Decodes a message and uses the image as the node does.

    Returns:
        What became of it: "read", or the reason for which it was refused.

    Raises:
        AssertionError: The image is not what decode promises, or the refusal is too long for a log.
        Exception: Anything else that decode lets out is a fault of it.
    """
    try:
        assert check(message) == (message.encoding, message.width, message.height)
        image = decode(message)
    except ImageFormatError as error:
        refused(error)
        return error.reason
    assert image.shape[:2] == (message.height, message.width), image.shape
    assert image.dtype == np.uint8 if image.ndim == 3 else image.dtype in (np.uint8, np.uint16, np.float32)
    with np.errstate(all="ignore"):
        image.sum()  # touches every pixel: memory outside the message would show here
    use(image)
    assert len(shown(message.encoding)) < 400
    return "read"


def refused(error: ImageFormatError) -> None:
    """Holds a refusal to what a log can bear: short, and on one line."""
    text = str(error)
    assert len(text) < 1000, len(text)
    assert "\n" not in text, text


def use(image: Any) -> None:
    """An image on its way to a model: as RGB, as thermal, normalised, and back into a message."""
    if image.dtype != np.float32:  # which is refused as RGB
        rgb = as_rgb(image)
        assert rgb.dtype == np.uint8
        assert rgb.shape == (*image.shape[:2], 3)
    thermal = as_thermal(image)
    assert thermal.shape == image.shape[:2]
    with np.errstate(all="ignore"):
        grey = ThermalNormaliser(ThermalSettings())(thermal, 0)
    assert grey.dtype == np.uint8
    assert grey.shape == thermal.shape
    again = decode(encode(image))
    assert again.tobytes() == np.ascontiguousarray(image).tobytes()
