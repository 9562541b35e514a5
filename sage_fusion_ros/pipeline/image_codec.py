"""Image messages to arrays and back, without cv_bridge.

Works on anything that has the fields of sensor_msgs/Image (height, width, encoding, is_bigendian, step, data), so it
needs no ROS: bags read without ROS come through here too. Every field is taken as hostile and checked before use.
"""

from __future__ import annotations

import array
import sys
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import ImageFormatError

MAX_PIXELS = 1 << 27  # 134 megapixels: far above any camera, far below what would exhaust a robot's memory
MAX_NAME = 256  # letters of an encoding, a format or a frame_id; ROS's own names are shorter


class ImageMessage(Protocol):
    """The fields of sensor_msgs/Image that matter here."""

    height: int
    width: int
    encoding: str
    is_bigendian: Any
    step: int
    data: Any


@dataclass(frozen=True)
class _Layout:
    """How an encoding lies in memory, and the OpenCV conversion that brings it to RGB (or nothing)."""

    dtype: str
    channels: int
    to_rgb: int | None = None


_LAYOUTS = {
    "rgb8": _Layout("u1", 3),
    "bgr8": _Layout("u1", 3, cv2.COLOR_BGR2RGB),
    "rgba8": _Layout("u1", 4, cv2.COLOR_RGBA2RGB),
    "bgra8": _Layout("u1", 4, cv2.COLOR_BGRA2RGB),
    "8uc1": _Layout("u1", 1),
    "8uc3": _Layout("u1", 3, cv2.COLOR_BGR2RGB),  # OpenCV's own order, as cv_bridge's users mean it
    "mono8": _Layout("u1", 1),
    "mono16": _Layout("u2", 1),
    "16uc1": _Layout("u2", 1),
    "32fc1": _Layout("f4", 1),
    # ROS names a mosaic by its first row; OpenCV's long names do the same.
    **{f"bayer_{p}8": _Layout("u1", 1, getattr(cv2, f"COLOR_Bayer{p.upper()}2RGB")) for p in ("rggb", "bggr", "gbrg")},
    "bayer_grbg8": _Layout("u1", 1, cv2.COLOR_BayerGRBG2RGB),
    **{f"bayer_{p}16": _Layout("u2", 1, getattr(cv2, f"COLOR_Bayer{p.upper()}2RGB")) for p in ("rggb", "bggr", "gbrg")},
    "bayer_grbg16": _Layout("u2", 1, cv2.COLOR_BayerGRBG2RGB),
    "yuv422": _Layout("u1", 2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": _Layout("u1", 2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": _Layout("u1", 2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": _Layout("u1", 2, cv2.COLOR_YUV2RGB_YUY2),
}
ENCODINGS = tuple(_LAYOUTS)


def decode(message: ImageMessage) -> npt.NDArray[Any]:
    """Reads an image message.

    The result may share the message's memory where no conversion is needed; treat it as read-only.

    Returns:
        uint8 HxWx3 RGB for colour, Bayer and YUV encodings; HxW uint8, uint16 or float32 for the one-channel ones.

    Raises:
        ImageFormatError: Unknown encoding, a size of zero or beyond reason, a step shorter than a row, or data that are
            fewer or more than step and height say.
    """
    layout, row, buffer = _checked(message)
    height, width, step = int(message.height), int(message.width), int(message.step)
    dtype = np.dtype(layout.dtype)
    pixels = np.lib.stride_tricks.as_strided(buffer, (height, row), (step, 1), writeable=False)
    if dtype.itemsize > 1:
        pixels = np.ascontiguousarray(pixels).view(dtype)
        if bool(message.is_bigendian) != (sys.byteorder == "big"):
            pixels = pixels.byteswap()
    if layout.channels > 1:
        pixels = pixels.reshape(height, width, layout.channels)
    return pixels if layout.to_rgb is None else _to_rgb(pixels, layout.to_rgb, str(message.encoding).lower())


def check(message: ImageMessage) -> None:
    """Finds what keeps a message from being an image, without touching a pixel: cheap enough for a callback.

    Raises:
        ImageFormatError: As decode does.
    """
    _checked(message)


def shown(text: object) -> str:
    """A name from a message as a log may hold it: short, on one line, its strange characters escaped."""
    whole = str(text)
    start = repr(whole[:40])[1:-1]
    return start if len(whole) <= 40 else f"{start}... ({len(whole)} letters)"


def check_name(what: str, name: object) -> None:
    """Refuses a name that is longer than any name: it would go on into every output's header and every log.

    Raises:
        ImageFormatError: It has more than MAX_NAME letters.
    """
    if len(str(name)) > MAX_NAME:
        raise ImageFormatError(f"{what} is '{shown(name)}'; expected at most {MAX_NAME}", what)


def _checked(message: ImageMessage) -> tuple[_Layout, int, npt.NDArray[np.uint8]]:
    """How a message lies in memory: its layout, the bytes of a row without padding, and its data."""
    height, width, step = int(message.height), int(message.width), int(message.step)
    encoding = str(message.encoding)
    layout = _LAYOUTS.get(encoding.lower()) if len(encoding) <= MAX_NAME else None
    if layout is None:
        raise ImageFormatError(
            f"encoding '{shown(encoding)}' is not supported; supported are {', '.join(ENCODINGS)}", "encoding"
        )
    if height <= 0 or width <= 0 or height * width > MAX_PIXELS:
        raise ImageFormatError(f"size {width}x{height} is not a usable image size; check the camera driver", "size")
    row = width * layout.channels * np.dtype(layout.dtype).itemsize
    if step < row:
        raise ImageFormatError(
            f"step is {step} bytes, but a row of {width} pixels in {encoding} takes {row}; check the camera driver",
            "step",
        )
    try:
        buffer = np.frombuffer(message.data, np.uint8)
    except (ValueError, TypeError, BufferError) as error:
        raise ImageFormatError(f"data can't be read as bytes: {error}", "data") from error
    if buffer.size < step * (height - 1) + row:  # the last row may come without its padding
        raise ImageFormatError(
            f"data holds {buffer.size} bytes, but {height} rows of step {step} take {step * height}; "
            "the message was cut short",
            "data",
        )
    if buffer.size > step * height:
        raise ImageFormatError(
            f"data holds {buffer.size} bytes, but {height} rows of step {step} take {step * height}; "
            "size or step is wrong, check the camera driver",
            "data",
        )
    return layout, row, buffer


def _to_rgb(pixels: npt.NDArray[Any], conversion: int, encoding: str) -> npt.NDArray[Any]:
    height, width = pixels.shape[:2]
    if (encoding.startswith(("yu", "uyvy")) and width % 2) or (encoding.startswith("bayer") and min(height, width) < 2):
        raise ImageFormatError(f"size {width}x{height} is impossible in {encoding}; check the camera driver", "size")
    image = cv2.cvtColor(np.ascontiguousarray(pixels), conversion)
    return to_8bit(image) if image.dtype == np.uint16 else image


def demosaic(image: npt.NDArray[Any], encoding: str) -> npt.NDArray[Any]:
    """A mosaic as RGB: uint8 HxWx3 from uint8 or uint16 HxW.

    Raises:
        ImageFormatError: The encoding is no mosaic's, or the image is smaller than the mosaic.
    """
    layout = _LAYOUTS.get(encoding.lower())
    if layout is None or layout.to_rgb is None or not encoding.lower().startswith("bayer_"):
        raise ImageFormatError(f"encoding '{shown(encoding)}' is no mosaic; check the camera driver", "encoding")
    return _to_rgb(image, layout.to_rgb, encoding.lower())


def to_8bit(image: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The high byte of a uint16 image; a uint8 image as it is."""
    return image if image.dtype == np.uint8 else (image >> 8).astype(np.uint8)


def as_rgb(image: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """A decoded image as RGB: uint8 HxWx3; grey images get three equal channels.

    Raises:
        ImageFormatError: The image is float, which no RGB camera gives.
    """
    if image.ndim == 3:
        return image
    if image.dtype == np.float32:
        raise ImageFormatError("32FC1 came on the RGB topic; are the RGB and thermal topics swapped?", "encoding")
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(to_8bit(image)), cv2.COLOR_GRAY2RGB), np.uint8)


def as_thermal(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A decoded image as thermal: HxW; colour by its luma (thermal cameras often send grey as three channels)."""
    return cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image


@dataclass(frozen=True)
class EncodedImage:
    """The fields of sensor_msgs/Image for one array; data as the type rclpy takes without a copy element by element."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: array.array[int]


def encode(image: npt.NDArray[Any], encoding: str = "") -> EncodedImage:
    """Packs an array for an image message; the inverse of decode for the encodings it makes.

    Args:
        image: uint8 HxWx3 (rgb8), or HxW uint8 (mono8), uint16 (mono16) or float32 (32FC1).
        encoding: Name to send it under where the default of its type is not wanted, for example "16UC1".
    """
    if image.ndim == 3 and image.dtype == np.uint8 and image.shape[2] == 3:
        default = "rgb8"
    elif image.ndim == 2 and image.dtype in (np.uint8, np.uint16, np.float32):
        default = {"uint8": "mono8", "uint16": "mono16", "float32": "32FC1"}[image.dtype.name]
    else:
        raise ImageFormatError(f"an array of shape {image.shape} and type {image.dtype} has no image encoding here")
    image = np.ascontiguousarray(image)
    data = array.array("B")
    data.frombytes(image.data.cast("B"))
    return EncodedImage(
        height=image.shape[0],
        width=image.shape[1],
        encoding=encoding or default,
        is_bigendian=int(sys.byteorder == "big"),
        step=image.strides[0],
        data=data,
    )
