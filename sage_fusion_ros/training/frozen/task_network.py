"""The frozen segmentation network of SAGE's task term: what it sees in the fused picture is held against label maps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from sage_fusion_ros.engines.torch_engine.graph import OnnxGraph
from sage_fusion_ros.errors import ModelError
from sage_fusion_ros.pipeline.classes import CITYSCAPES_CLASSES, read_classes
from sage_fusion_ros.pipeline.perception_network import MASK_OUTPUT
from sage_fusion_ros.training.frozen.network import RGB_IMAGENET, RGB_UNIT, FrozenNetwork, NetworkFile, find_file


class TaskNetwork:
    """Class logits of a picture, from weights that stay as they are.

    The released code takes X-Decoder's scores for logits; here a network's own logits are taken.

    Attributes:
        name: The model's, or its file's.
        classes: Names of the channels; ids in label maps count in them.
        sha256: Of the file.

    Args:
        file: The network. Its card's mask_classes name the classes, where it has one.
        classes: Names that replace those; for a file alone that gives 19, Cityscapes' are taken.

    Raises:
        ModelError: It can't be looked through, gives no logits, or another number of classes.
        ParameterError: The class list can't be read.
    """

    def __init__(self, file: NetworkFile, classes: str | Sequence[str] = ()) -> None:
        self.name = file.name
        output = _logits_of(file)
        ours = file.card.task == "perception" if file.card else output == MASK_OUTPUT
        self._network = FrozenNetwork(file, [output], RGB_UNIT if ours else RGB_IMAGENET)
        self.sha256 = self._network.sha256
        (count,) = self._network.channels
        names = read_classes(classes, "task_network.classes") or (file.card.mask_classes if file.card else ())
        if not names:
            names = CITYSCAPES_CLASSES if count == len(CITYSCAPES_CLASSES) else _numbered(count)
        if len(names) != count:
            raise ModelError(f"{file.path} gives {count} classes in '{output}', the class list has {len(names)}")
        self.classes = tuple(names)

    def __call__(self, rgb: Tensor) -> Tensor:
        """Looks at pictures.

        Args:
            rgb: float32 (N, 3, H, W) in 0..1. Enlarged to the next multiple of the network's cells (to the file's own
                size where that is fixed), so that the logits span the whole picture.

        Returns:
            float32 (N, C, h, w) logits on the network's grid; differentiable in the picture.
        """
        return self._network(rgb)[0]

    def to(self, device: torch.device) -> TaskNetwork:
        """Moves its weights to where the pictures will be; itself."""
        self._network.to(device)
        return self


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"class {index}" for index in range(count))


def _logits_of(file: NetworkFile) -> str:
    """The output called mask_logits, else the first that is a map of floats."""
    gives = OnnxGraph(file.path, ()).gives
    maps = [port.name for port in gives if port.dtype == "float32" and len(port.shape) in (0, 4)]
    if not maps:
        raise ModelError(
            f"{file.path} gives {', '.join(map(str, gives))}; expected the logits of classes, float32 N x C x h x w; "
            "ids, which a network gives that is exported with its argmax, have no gradient"
        )
    return MASK_OUTPUT if MASK_OUTPUT in maps else maps[0]


def load_task_network(
    spec: str, models_path: Iterable[str | Path] = (), classes: str | Sequence[str] = ()
) -> TaskNetwork:
    """A task network as a user names it.

    Args:
        spec: An ONNX file, or the name or path of a model folder for perception or segmentation.
        models_path: Folders searched before the package's own models/.
        classes: As for TaskNetwork.

    Raises:
        ModelError: Nothing is there, or it can't be used so.
        ParameterError: The class list can't be read.
    """
    file = find_file(spec, models_path)
    if file.card and not file.card.mask_classes:
        raise ModelError(f"model {file.name} gives no mask (its card names no mask_classes); the task term needs one")
    return TaskNetwork(file, classes)
