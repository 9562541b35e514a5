"""Masks that people have drawn, as image files beside a set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.sources.images import decode_file
from sage_fusion_ros.training.priors.label_maps import find_beside
from sage_fusion_ros.training.priors.masks import Bools, Grey, PairMasks, connected_regions


class HandMaskPrior:
    """Each connected region of what is not black, down to single pixels: somebody meant it.

    Args:
        roots: Folders of the sets, named as in the pairs' names.
        rgb_folder: Name of the folders with the PNG files for the RGB camera.
        thermal_folder: Likewise for the thermal one; None: the same.
    """

    def __init__(self, roots: Sequence[Path], rgb_folder: str, thermal_folder: str | None = None) -> None:
        self._roots, self._folders = roots, (rgb_folder, thermal_folder or rgb_folder)
        self.name, self.key = "hand:" + ",".join(dict.fromkeys(self._folders)), ""

    def masks(self, name: str, rgb: Grey, thermal: Grey) -> PairMasks:
        """See MaskPrior; a pair without a drawing has no masks."""
        return PairMasks(*(self._read(name, folder, thermal.shape) for folder in self._folders))

    def _read(self, name: str, folder: str, shape: tuple[int, ...]) -> Bools:
        path = find_beside(self._roots, name, folder)
        if path is None:
            return np.zeros((0, *shape), bool)
        return connected_regions(read_drawing(path, shape), ignore=(0,), least_area=1)


def read_drawing(path: Path, shape: tuple[int, ...]) -> Grey:
    """uint8 HxW, 1 where any colour of the file is not 0, at the size of its images. Transparency does not count.

    Raises:
        SourceError: The file can't be read.
    """
    try:
        image = decode_file(path.read_bytes(), cv2.IMREAD_UNCHANGED, str(path))
    except (OSError, SourceError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SourceError(f"mask {path} can't be read: {reason}; repair it, or remove it from the set") from error
    colours = image if image.ndim == 2 else image[..., : 1 if image.shape[2] == 2 else 3].max(axis=2)
    drawn = (colours > 0).astype(np.uint8)
    return np.asarray(cv2.resize(drawn, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST), np.uint8)
