"""A frozen network of an ONNX file that looks at pictures in training: weights stay, gradients go to the picture.

What the runtime does with whole numbers, it does with tensors: order of colours and range of values as the network was
trained with. The pictures of a training are crops; they are shown at their own scale, enlarged to whole cells at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from sage_fusion_ros.engines.card import ModelCard, sha256_of
from sage_fusion_ros.engines.models import find_model
from sage_fusion_ros.engines.torch_engine.graph import OnnxGraph
from sage_fusion_ros.errors import ModelError
from sage_fusion_ros.pipeline.classes import COCO_CLASSES
from sage_fusion_ros.pipeline.detection_layouts import find_layout
from sage_fusion_ros.pipeline.network import MULTIPLE, Probe
from sage_fusion_ros.pipeline.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

RGB_UNIT = Preprocessing("rgb", "unit")
RGB_IMAGENET = Preprocessing("rgb", "imagenet")
_PROBE_SIDE = 128


@dataclass(frozen=True)
class NetworkFile:
    """Where a network lies.

    Attributes:
        path: Its ONNX file.
        card: Of its model folder; None for a file alone.
    """

    path: Path
    card: ModelCard | None = None

    @property
    def name(self) -> str:
        """The model's name, or the file's."""
        return self.card.name if self.card else self.path.stem

    @property
    def multiple(self) -> int:
        """What height and width must be multiples of."""
        return self.card.size_multiple if self.card and self.card.size_multiple > 1 else MULTIPLE


def find_file(spec: str | Path, models_path: Iterable[str | Path] = ()) -> NetworkFile:
    """An ONNX file as it is, or a verified model folder by name or path.

    Raises:
        ModelError: Neither is there, or the folder holds a fusion model, which looks at no single image.
    """
    path = Path(spec).expanduser()
    if path.suffix == ".onnx" or path.is_file():
        if not path.is_file():
            raise ModelError(f"the network {path} does not exist; give an ONNX file, or the name of a model folder")
        return NetworkFile(path)
    folder = find_model(spec, models_path, task=None)
    if "fusion" in folder.card.task:
        raise ModelError(
            f"model {folder.card.name} is for the task '{folder.card.task}'; a network that looks at one image is "
            "needed here: perception, segmentation or detection"
        )
    return NetworkFile(folder.path, folder.card)


def shown_to(file: NetworkFile) -> Preprocessing:
    """How a network wants to be shown an image.

    A card's task tells; a detector is known by what it gives (for the classes of its card, else COCO's), as the
    runtime does. Any other file is shown RGB in 0..1.
    """
    if file.card and file.card.task == "perception":
        return RGB_UNIT
    if file.card and file.card.task == "segmentation":
        return RGB_IMAGENET
    classes = file.card.detection_classes if file.card else COCO_CLASSES
    try:
        graph = look_through(file, [port.name for port in OnnxGraph(file.path, ()).gives])
        height, width = probe_size(graph)
        noise = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            outputs = dict(zip(graph.outputs, (each.numpy() for each in graph.tensors(noise)), strict=True))
        return find_layout(Probe(file.path, (), outputs, height, width), len(classes))[1].preprocessing
    except ModelError:  # not a detector, or one whose end can't be computed here: those take RGB in 0..1
        return RGB_UNIT


def look_through(file: NetworkFile, outputs: Sequence[str] | None = None) -> OnnxGraph:
    """The network as a torch module.

    Args:
        file: The network.
        outputs: As OnnxGraph has it.

    Raises:
        ModelError: It can't be looked through, or takes anything but one image.
    """
    graph = OnnxGraph(file.path, outputs)
    takes = graph.inputs
    if len(takes) != 1 or len(takes[0].shape) != 4 or takes[0].shape[1] not in (3, None):
        raise ModelError(f"{file.path} takes {', '.join(map(str, takes)) or 'nothing'}; expected one image, Nx3xHxW")
    return graph.eval().requires_grad_(False)


def probe_size(graph: OnnxGraph) -> tuple[int, int]:
    """Height and width to try a network at: its file's, or 128 where they are open."""
    height, width = graph.inputs[0].shape[2:]
    return height or _PROBE_SIDE, width or _PROBE_SIDE


class FrozenNetwork:
    """Shows pictures to a network, always in float32, also under autocast.

    Attributes:
        sha256: Of the file.
        channels: Of each tensor that it gives.

    Args:
        file: The network.
        outputs: Names of the tensors wanted, inner ones too; all of them maps.
        shown: How it wants to be shown an image.

    Raises:
        ModelError: It can't be looked through, takes anything but one image, or gives anything but maps for it.
    """

    def __init__(self, file: NetworkFile, outputs: Sequence[str], shown: Preprocessing) -> None:
        self._graph = look_through(file, outputs)
        self._shown, self._multiple = shown, file.multiple
        self.sha256 = sha256_of(file.path)
        self._fixed, self._together, self.channels = self._limits()

    def _limits(self) -> tuple[tuple[int, int] | None, bool, tuple[int, ...]]:
        """The file's size where the network runs at no other; whether it takes several pictures at once; channels.

        A file of one size may have reshapes that take another one without a word and mix up rows and columns, so maps
        of another size must have the picture's shape.
        """
        free, own = (2 * self._multiple, 3 * self._multiple), probe_size(self._graph)
        tries = [(2, free), (1, free)] + [(1, own)] * (None not in self._graph.inputs[0].shape[2:])
        reason = ""
        for count, size in tries:
            try:
                with torch.no_grad():
                    found = self._graph.tensors(torch.zeros(count, 3, *size))
            except ModelError as error:
                reason = str(error)
                continue
            shapes = [tuple(tensor.shape) for tensor in found]
            reason = f"it gives {', '.join(map(str, shapes))} for {(count, 3, *size)}; expected maps, N x C x h x w"
            maps = all(len(shape) == 4 and shape[0] == count for shape in shapes)
            if maps and (size == own or all(size[0] * shape[3] == size[1] * shape[2] for shape in shapes)):
                return (own if size == own else None), count == 2, tuple(shape[1] for shape in shapes)
        raise ModelError(f"the network {self._graph.path} can't be shown pictures of any size: {reason}")

    def to(self, device: torch.device) -> None:
        """Moves its weights to where the pictures will be."""
        self._graph.to(device)

    def __call__(self, image: Tensor) -> tuple[Tensor, ...]:
        """The maps that it was asked for.

        Args:
            image: float32 (N, 3, H, W), RGB, 0..1 where nothing is out of range. Enlarged, bilinear, to the next
                multiple of the network's cells; to the file's own size where that is fixed.

        Returns:
            float32 (N, C, h, w) each.
        """
        with torch.autocast(image.device.type, enabled=False):
            x = self._prepare(image.float())
            if self._together:
                return self._graph.tensors(x)
            each = [self._graph.tensors(x[i : i + 1]) for i in range(len(x))]
            return tuple(torch.cat(tensors) for tensors in zip(*each, strict=True))

    def _prepare(self, image: Tensor) -> Tensor:
        height, width = image.shape[2:]
        size = self._fixed or (height + -height % self._multiple, width + -width % self._multiple)
        if (height, width) != size:
            image = F.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True)
        if self._shown.values == "imagenet":
            mean, deviation = (image.new_tensor(each).view(1, 3, 1, 1) for each in (IMAGENET_MEAN, IMAGENET_STD))
            image = (image - mean) / deviation
        elif self._shown.values == "levels":
            image = image * 255
        return image.flip(1) if self._shown.order == "bgr" else image
