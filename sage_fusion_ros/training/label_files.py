"""Label maps beside a set of pairs: where they lie, and how one is read."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.sources.images import decode_file

Mask = npt.NDArray[np.uint8]


def find_label_map(root: Path, name: str, kind: str) -> Path | None:
    """The file with a pair's label map.

    Looked for are, in this order: root/clip/kind/stem.png, beside the image folders of a clip or of train/ and test/;
    root/kind/clip/stem.png, for sets that keep their sub-folders inside the image folders; and
    root/labels/clip/kind/00030.png, beside videos.

    Args:
        root: Folder of the set.
        name: The pair's name after the set's: "FLIR_00018", "clip/0003", or "clip/000030" for a frame of a video.
        kind: Folder of the label maps, for example "seg_cityscapes19".

    Returns:
        The path, or None where the pair has no such map.
    """
    *clip, stem = Path(name).parts
    number = f"{int(stem):05d}" if stem.isdigit() else stem
    candidates = (
        root.joinpath(*clip, kind, f"{stem}.png"),
        root.joinpath(kind, *clip, f"{stem}.png"),
        root.joinpath("labels", *clip, kind, f"{number}.png"),
    )
    return next((path for path in candidates if path.is_file()), None)


def read_label_map(path: Path, shape: tuple[int, ...]) -> Mask:
    """A label map at the size of its images, resized by nearest neighbour where it has another.

    Args:
        path: An image file with one 8-bit channel of class ids.
        shape: Height and width.

    Returns:
        uint8 HxW.

    Raises:
        SourceError: The file is missing, truncated, or not one 8-bit channel.
    """
    try:
        image = decode_file(path.read_bytes(), cv2.IMREAD_UNCHANGED, str(path))
    except (OSError, SourceError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SourceError(f"label map {path} can't be read: {reason}; repair it, or remove it from the set") from error
    if image.ndim != 2 or image.dtype != np.uint8:
        raise SourceError(
            f"label map {path} can't be read as one 8-bit channel of class ids (it is {image.dtype}, shape "
            f"{image.shape}); repair it, or remove it from the set"
        )
    return np.asarray(cv2.resize(image, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST), np.uint8)
