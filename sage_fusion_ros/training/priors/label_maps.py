"""Masks from label maps, each connected region of a class. The maps lie beside the images, or a network makes them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from sage_fusion_ros.engines.models import find_model
from sage_fusion_ros.errors import ModelError
from sage_fusion_ros.pipeline.classes import UNLABELLED
from sage_fusion_ros.pipeline.network import NetworkOptions
from sage_fusion_ros.pipeline.perceive import PerceptionChoice, load_perceiver
from sage_fusion_ros.training.label_files import find_label_map, read_label_map
from sage_fusion_ros.training.priors.masks import LEAST_AREA, Bools, Grey, PairMasks, connected_regions

_VERSION = 1  # raised when the same network comes to give other masks


class LabelMapPrior:
    """Regions of the label maps that a set of pairs comes with; both cameras of a pair have the same.

    Args:
        roots: Folders of the sets, named as in the pairs' names.
        folder: Name of the folders with the maps, such as "seg_cityscapes19".
        ignore: Ids that are no region.
        least_area: Pixels that a region must have.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        folder: str,
        ignore: Sequence[int] = (UNLABELLED,),
        least_area: int = LEAST_AREA,
    ) -> None:
        self._roots, self._folder, self._ignore, self._least_area = roots, folder, ignore, least_area
        self.name, self.key = f"labels:{folder}", ""

    def masks(self, name: str, rgb: Grey, thermal: Grey) -> PairMasks:
        """See MaskPrior; a pair without a map has no masks."""
        path = find_beside(self._roots, name, self._folder)
        if path is None:
            return PairMasks.none(thermal.shape)
        found = connected_regions(read_label_map(path, thermal.shape), self._ignore, self._least_area)
        return PairMasks(found, found)


class PerceptionPrior:
    """Regions of the mask that a perception model sees, in the RGB and in the thermal image separately.

    Args:
        model: Name or folder of a model with a mask.
        models_path: Folders searched before the package's own models/.
        device: "auto", "cpu" or "cuda"; where ONNX Runtime has no CUDA it takes the CPU.
        threads: CPU threads; 0 takes every core.
        least_area: Pixels that a region must have.

    Raises:
        ModelError: There is no such model, or it has no mask.
    """

    def __init__(
        self,
        model: str = "perception",
        models_path: Iterable[str | Path] = (),
        device: str = "auto",
        threads: int = 0,
        least_area: int = LEAST_AREA,
    ) -> None:
        places = list(models_path)
        folder = find_model(model, places, task="perception")
        options = NetworkOptions(device=device, models_path=places, allow_cpu=True, threads=threads)
        perceiver = load_perceiver(PerceptionChoice(perception_model=model), options)
        if perceiver is None or not perceiver.mask_classes:
            raise ModelError(f"the model {model} gives no mask; take one that does for masks to train with")
        self._perceiver, self._least_area = perceiver, least_area
        self.name = f"perception:{folder.card.name}"
        decisive = f"perception {folder.card.sha256} {least_area} v{_VERSION}"
        self.key = hashlib.sha256(decisive.encode()).hexdigest()

    def masks(self, name: str, rgb: Grey, thermal: Grey) -> PairMasks:
        """See MaskPrior."""
        return PairMasks(self._look(rgb), self._look(np.asarray(cv2.cvtColor(thermal, cv2.COLOR_GRAY2RGB), np.uint8)))

    def _look(self, image: Grey) -> Bools:
        ids, _ = self._perceiver.perceive(image, mask=True, detections=False, score_threshold=1.0, iou_threshold=1.0)
        assert ids is not None  # the constructor has made sure that there is a mask
        return connected_regions(ids, (UNLABELLED,), self._least_area)


def find_beside(roots: Sequence[Path], name: str, folder: str) -> Path | None:
    """The PNG file of a pair in a folder beside its images; see find_label_map for where it may lie.

    Args:
        roots: Folders of the sets.
        name: "set/name"; the set is the name of its root.
        folder: Such as "seg_cityscapes19".
    """
    group, _, rest = name.partition("/")
    paths = (find_label_map(root, rest, folder) for root in map(Path.resolve, roots) if root.name == group)
    return next((path for path in paths if path is not None), None)
