"""A mask as runs of equal ids, in the form in which Autoware's nodes send theirs inside sensor_msgs/Image.

Row by row through the whole image, without regard to where a row ends, one run after the other: the id as uint8, then
its count as a little-endian int32. The form has no version and no name (perception_utils/run_length_encoder of Autoware
Universe writes and reads it), and its reader checks its place in the image only after it has written a pixel, so the
counts have to add up to height x width exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import ImageFormatError

RUN = np.dtype([("id", "u1"), ("count", "<i4")])  # packed: 5 bytes


def encode_runs(ids: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Packs a mask.

    Args:
        ids: uint8 HxW, of at least one pixel.

    Returns:
        uint8, five for each run; the counts add up to H x W.

    Raises:
        ImageFormatError: The mask is no uint8 HxW, or has no pixel.
    """
    if ids.ndim != 2 or ids.dtype != np.uint8 or not ids.size:
        raise ImageFormatError(f"a mask of shape {ids.shape} and type {ids.dtype} has no runs; expected uint8 HxW")
    flat = ids.ravel()
    starts = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))
    runs = np.empty(starts.size, RUN)
    runs["id"] = flat[starts]
    runs["count"] = np.diff(starts, append=flat.size)
    return runs.view(np.uint8)


def decode_runs(data: Any, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Unpacks a mask; the inverse of encode_runs.

    Args:
        data: Bytes, or anything that has a buffer of them.
        height: Rows of the mask.
        width: Columns of the mask.

    Returns:
        uint8 HxW.

    Raises:
        ImageFormatError: The bytes are no whole runs, a count is not positive, or the counts do not add up to
            height x width.
    """
    packed = np.frombuffer(data, np.uint8)
    if packed.size % RUN.itemsize:
        raise ImageFormatError(f"{packed.size} bytes are no whole runs of {RUN.itemsize} bytes; the mask was cut short")
    runs = packed.view(RUN)
    counts = runs["count"].astype(np.int64)
    if (counts <= 0).any():
        raise ImageFormatError(f"a run of the mask has the count {counts.min()}; expected 1 or more")
    if counts.sum() != height * width:
        raise ImageFormatError(f"the mask's runs hold {counts.sum()} pixels, but {width}x{height} are {height * width}")
    return np.repeat(runs["id"], counts).reshape(height, width)
