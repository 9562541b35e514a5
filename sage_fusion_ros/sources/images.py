"""Image files as arrays. A truncated file is an error: OpenCV would return the missing part as grey and say nothing."""

from __future__ import annotations

import contextlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.pipeline.image_file import damage

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})

# A palette image ("ironbow") differs between its channels in most pixels; a grey one saved as a colour JPEG hardly.
_CHANNEL_TOLERANCE = 24
_COLOURED_SHARE = 0.05


def read_rgb(path: Path) -> npt.NDArray[np.uint8]:
    """Reads a colour image; grey files become three equal channels.

    Returns:
        uint8 HxWx3 in the order red, green, blue.

    Raises:
        SourceError: When the file is missing, truncated or no image.
    """
    bgr = decode_file(_bytes(path), cv2.IMREAD_COLOR, str(path))
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def read_thermal(path: Path) -> npt.NDArray[np.generic]:
    """Reads a thermal image with the depth it has on disk.

    Returns:
        HxW as uint8 or uint16 (float32 from a float TIFF). Files with three equal channels become one channel.

    Raises:
        SourceError: When the file is missing, truncated, no image, or a false-colour picture, whose colours can't be
            turned back into temperatures.
    """
    image = decode_file(_bytes(path), cv2.IMREAD_UNCHANGED, str(path))
    if image.ndim == 3 and image.shape[2] in (2, 4):
        image = image[:, :, :-1]
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim == 3:
        image = single_channel(image, str(path))
    if image.dtype == np.float64:
        image = image.astype(np.float32)
    if image.dtype not in (np.uint8, np.uint16, np.float32):
        raise SourceError(f"'{path}' holds {image.dtype} pixels; expected 8 or 16 bit unsigned, or float")
    return np.ascontiguousarray(image)


def single_channel(image: npt.NDArray[np.generic], name: str) -> npt.NDArray[np.generic]:
    """The one channel of a grey image stored as HxWx3.

    Raises:
        SourceError: When the channels differ, as in a false-colour picture.
    """
    if image.dtype == np.uint8:
        spread = cv2.max(cv2.absdiff(image[:, :, 0], image[:, :, 1]), cv2.absdiff(image[:, :, 1], image[:, :, 2]))
        if np.count_nonzero(spread > _CHANNEL_TOLERANCE) > _COLOURED_SHARE * spread.size:
            raise SourceError(
                f"'{name}' is a colour image, so it is no thermal image or a false-colour one; "
                "give the camera's grey output instead"
            )
        return cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_BGR2GRAY)
    return image[:, :, 1]


def decode_file(data: bytes, flags: int, name: str) -> npt.NDArray[np.generic]:
    """Decodes the bytes of an image file.

    Args:
        data: The whole file.
        flags: OpenCV's IMREAD_ flags.
        name: What error messages call it.

    Returns:
        What cv2.imdecode gives: colours in the order blue, green, red.

    Raises:
        SourceError: When the data is empty, truncated or no image.
    """
    reason = damage(data)
    if reason:
        raise SourceError(f"'{name}' is damaged: {reason}")
    image = None
    with contextlib.suppress(cv2.error):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None or image.size == 0:
        raise SourceError(f"'{name}' is not an image OpenCV can read")
    return image


def _bytes(path: Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SourceError(f"'{path}' can't be read: {error.strerror or error}") from error
