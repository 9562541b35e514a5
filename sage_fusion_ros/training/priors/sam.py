"""Masks by Segment Anything (Kirillov et al. 2023), as SAGE takes them: of each camera's image by itself.

No SAM weights were at hand when this was written, so only its code path is proven: the whole with a small SamModel of
random weights, the search with a made-up network whose masks are known, and what is done to images and masks around the
network against transformers' own image processor. How good the masks of real weights are is not, and CUDA has not run.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from sage_fusion_ros.training.device import choose_device
from sage_fusion_ros.training.priors.masks import Bools, Grey, PairMasks
from sage_fusion_ros.training.priors.point_grid import find_everything
from sage_fusion_ros.training.priors.sam_model import SamView, folder_hash, load_sam
from sage_fusion_ros.training.priors.sam_settings import SamSettings

_VERSION = 1  # raised when the same settings come to give other masks, so that no older ones are taken from a cache


class SamPrior:
    """Masks of everything that SAM sees, in the RGB and in the thermal image separately (shown to it as grey).

    Args:
        folder: SAM's weights; see sam_model.
        settings: Of the search.
        device: "auto", "cpu" or "cuda".

    Raises:
        ModelError: The weights can't be had.
        ParameterError: The device can't.
    """

    def __init__(self, folder: Path, settings: SamSettings | None = None, device: str = "auto") -> None:
        self._settings = settings or SamSettings()
        self._device = choose_device(device, local_rank=0)
        self._model = load_sam(folder).to(self._device)
        self.name = f"sam:{Path(folder).name}"
        # How many points are asked about at once changes nothing.
        decisive = {**asdict(self._settings), "points_per_batch": 0, "weights": folder_hash(folder), "v": _VERSION}
        self.key = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    def masks(self, name: str, rgb: Grey, thermal: Grey) -> PairMasks:
        """See MaskPrior."""
        return PairMasks(self._look(rgb), self._look(np.asarray(cv2.cvtColor(thermal, cv2.COLOR_GRAY2RGB), np.uint8)))

    def _look(self, image: Grey) -> Bools:
        return find_everything(image, lambda view: SamView(self._model, view, self._device), self._settings)
