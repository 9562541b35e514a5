"""CompressedImage messages to arrays and back, as ROS's compressed_image_transport writes and reads them.

Works on anything that has the fields of sensor_msgs/CompressedImage (format, data), so it needs no ROS. `format` is
"<encoding>; <jpeg or png> compressed <encoding of what was compressed>", or the kind of the file alone, as drivers that
compress by themselves write it. JPEG and PNG are read and nothing else, whatever more OpenCV could read: each further
format is one more decoder in reach of whoever can publish.
"""

from __future__ import annotations

import array
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import ImageFormatError
from sage_fusion_ros.pipeline import image_codec, image_file
from sage_fusion_ros.pipeline.image_codec import check_name

MAX_PIXELS = 1 << 25  # 8K: a file of a few kilobytes may claim anything, and 100 MB are taken for what this allows
MAX_BYTES = 1 << 27  # of the file, and of what it becomes
JPEG_QUALITY = 95  # the defaults of image_transport
PNG_LEVEL = 3
_AS_IT_IS = cv2.IMREAD_UNCHANGED
_DEEP_COLOURS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION  # their high bytes, without the others in memory
_COLOUR = ("rgb8", "bgr8", "rgba8", "bgra8", "rgb16", "bgr16", "rgba16", "bgra16")


class CompressedMessage(Protocol):
    """The fields of sensor_msgs/CompressedImage that matter here."""

    format: str
    data: Any


def decode(message: Any) -> npt.NDArray[Any]:
    """Reads an image message of either kind; see ImageMessage and CompressedMessage for the fields.

    Returns:
        uint8 HxWx3 RGB, or HxW uint8, uint16 or (of sensor_msgs/Image alone) float32.

    Raises:
        ImageFormatError: See image_codec.decode and decode_compressed.
    """
    return decode_compressed(message) if hasattr(message, "format") else image_codec.decode(message)


def check(message: Any) -> tuple[str, int, int]:
    """Finds what keeps a message from being an image as far as its fields and its file's header tell.

    No pixel is touched: cheap enough for a callback.

    Returns:
        Its encoding or format, its width and its height.

    Raises:
        ImageFormatError: As decode does, but for damage among the pixels.
    """
    if hasattr(message, "format"):
        header = _checked(message)
        return str(message.format).strip(), header.width, header.height
    image_codec.check(message)
    return str(message.encoding), int(message.width), int(message.height)


def decode_compressed(message: CompressedMessage) -> npt.NDArray[Any]:
    """Reads a compressed image message.

    The order of the colours is image_transport's: what was compressed is BGR, unless format names an encoding of
    colours and says that it was compressed as something else. A mosaic that was compressed as grey is made RGB; a JPEG
    of 16-bit counts holds their high byte and comes back as counts.

    Returns:
        uint8 HxWx3 RGB for colours, HxW uint8 or uint16 otherwise. An alpha channel is left out.

    Raises:
        ImageFormatError: The file is empty, cut short, damaged, neither JPEG nor PNG, or claims a size of zero or of
            more than MAX_PIXELS.
    """
    header = _checked(message)
    data = bytes(memoryview(message.data))
    if text := image_file.damage(data):
        raise ImageFormatError(text, "damaged")
    if header.kind == "png":
        data = image_file.without_extras(data)
    elif (scans := image_file.scan_count(data)) > image_file.MAX_SCANS:
        raise ImageFormatError(f"the JPEG has {scans} scans; expected at most {image_file.MAX_SCANS}", "format")
    image = None
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), _DEEP_COLOURS if header.is_deep_colour else _AS_IT_IS)
    except cv2.error as error:
        raise ImageFormatError(f"the {header.kind} can't be decoded: {error.err}", "damaged") from error
    if image is None or image.shape[:2] != (header.height, header.width):
        raise ImageFormatError(f"the {header.kind} can't be decoded: its pixels are damaged or missing", "damaged")
    return _as_sent(image, str(message.format), header.kind)


def _checked(message: CompressedMessage) -> image_file.FileHeader:
    check_name("format", message.format)
    try:
        view = memoryview(message.data).cast("B")
    except (TypeError, ValueError) as error:
        raise ImageFormatError(f"data can't be read as bytes: {error}", "data") from error
    if len(view) > MAX_BYTES:
        raise ImageFormatError(f"data holds {len(view)} bytes; expected at most {MAX_BYTES}", "too large")
    header = image_file.read_header(view)
    if header.width * header.height > MAX_PIXELS or header.decoded_bytes > MAX_BYTES:
        raise ImageFormatError(
            f"the {header.kind} claims {header.width}x{header.height} pixels of {header.channels} x {header.bits} bits "
            f"in {len(view)} bytes; expected at most {MAX_PIXELS} pixels and {MAX_BYTES} bytes of them",
            "too large",
        )
    return header


def _as_sent(image: npt.NDArray[Any], text: str, kind: str) -> npt.NDArray[Any]:
    """A decoded file as the image that was compressed."""
    encoding, _, packing = (part.strip() for part in text.lower().partition(";"))
    if image.ndim == 3:
        as_rgb = encoding in _COLOUR and bool(packing) and "compressed bgr" not in packing
        if image.shape[2] == 4:
            return cv2.cvtColor(image, cv2.COLOR_BGRA2BGR if as_rgb else cv2.COLOR_BGRA2RGB)
        return image if as_rgb else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    if encoding.startswith("bayer_"):
        return image_codec.demosaic(image, encoding)
    if kind == "jpeg" and encoding in ("mono16", "16uc1"):
        return image.astype(np.uint16) << 8
    return image


@dataclass(frozen=True)
class Packing:
    """How images are compressed.

    Attributes:
        jpeg_quality: 1 to 100; higher is better and larger.
        png_level: 0 to 9; higher is smaller and slower. Nothing is lost at any level.
    """

    jpeg_quality: int = JPEG_QUALITY
    png_level: int = PNG_LEVEL


@dataclass(frozen=True)
class CompressedImage:
    """The fields of sensor_msgs/CompressedImage for one array; data as the type rclpy takes without a slow copy."""

    format: str
    data: array.array[int]


def encode_compressed(
    image: npt.NDArray[Any], *, lossless: bool, packing: Packing = Packing(), encoding: str = ""
) -> CompressedImage:
    """Packs an array for a compressed image message; decode_compressed is its inverse, exactly so where lossless.

    Args:
        image: uint8 HxWx3 RGB, or HxW uint8 or uint16.
        lossless: PNG; else JPEG. 16 bits are always PNG, since JPEG would keep eight of them.
        packing: Quality and level.
        encoding: What the image is called where the default of its type is not wanted, for example "16UC1".

    Raises:
        ImageFormatError: Float images, which neither can hold.
    """
    if image.dtype not in (np.uint8, np.uint16) or not (image.ndim == 2 or image.shape[2:] == (3,)):
        raise ImageFormatError(
            f"{image.dtype} images can't be packed into PNG or JPEG without loss; write raw images instead"
        )
    colour = image.ndim == 3
    deep = image.dtype == np.uint16
    name = encoding or ("rgb" if colour else "mono") + ("16" if deep else "8")
    source = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR) if colour else np.ascontiguousarray(image)
    if lossless or deep:
        packed = cv2.imencode(".png", source, [cv2.IMWRITE_PNG_COMPRESSION, packing.png_level])[1]
        text = f"{name}; png compressed {f'bgr{16 if deep else 8}' if colour else ''}"
    else:
        packed = cv2.imencode(".jpg", source, [cv2.IMWRITE_JPEG_QUALITY, packing.jpeg_quality])[1]
        text = f"{name}; jpeg compressed {'bgr8' if colour else 'mono8'}"
    data = array.array("B")
    data.frombytes(packed.data.cast("B"))
    return CompressedImage(text, data)
