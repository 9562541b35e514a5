"""Training through a reader: what a frozen detector sees in either camera's image, it should see in the fused one.

No drawn boxes are needed, so any pair will do. The reader is YOLOX (Ge et al. 2021) with COCO's classes: its output has
a row for each cell of three grids, and the same row looks at the same place in all three images. The agreement is
ours; the quality focal loss is Li et al. 2020 (Generalized Focal Loss), the IoU loss Yu et al. 2016 (UnitBox).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sage_fusion_ros.engines.torch_engine.graph import OnnxGraph
from sage_fusion_ros.errors import ModelError
from sage_fusion_ros.training.whole import WholePair

STRIDES = (8, 16, 32)
MULTIPLE = max(STRIDES)
# COCO's person, bicycle, car, motorcycle, bus and truck: what drives and walks.
TRAFFIC = (0, 1, 2, 3, 5, 7)
COCO_CLASSES = 80
_PADDING = 114.0
_BOX_SCORE = 0.25  # from this score on a box is worth keeping in place
_FEW_OBJECTS = 4.0  # pictures with next to nothing in them shall not speak the loudest
_LOUDEST = 1.0  # L2 norm of a picture's gradient, about the median of it
_EPSILON = 1e-6


@dataclass(frozen=True)
class Reading:
    """What the reader sees in one image.

    Attributes:
        scores: float32 (cells, 6): objectness x class of each traffic class, in 0..1.
        boxes: float32 (cells, 4): corners in pixels of the reader's input.
    """

    scores: Tensor
    boxes: Tensor


class Reader:
    """A frozen YOLOX detector that gradients pass through.

    Args:
        path: Its ONNX file: input BGR 0..255, output (1, cells, 5 + 80), not decoded.

    Raises:
        ModelError: Not such a file.
    """

    def __init__(self, path: Path) -> None:
        self._graph = OnnxGraph(path).eval().requires_grad_(False)
        with torch.no_grad():
            shape = tuple(self._graph(torch.zeros(1, 3, MULTIPLE * 4, MULTIPLE * 4)).shape)
        cells = sum((MULTIPLE * 4 // stride) ** 2 for stride in STRIDES)
        if shape != (1, cells, 5 + COCO_CLASSES):
            raise ModelError(
                f"the reader {path} gives {shape} for a 128x128 image; expected a YOLOX detector of the 80 COCO "
                f"classes, which gives {(1, cells, 5 + COCO_CLASSES)}"
            )

    def to(self, device: torch.device) -> None:
        """Moves its weights."""
        self._graph.to(device)

    def read(self, rgb: Tensor, side: int) -> Reading:
        """Looks at one image.

        Args:
            rgb: float32 (1, 3, H, W) in 0..1, RGB.
            side: Length that the longer side is scaled to, a multiple of 32.
        """
        image = _fit(rgb, side)
        raw = self._graph((image.flip(1) * 255).contiguous(memory_format=torch.channels_last))[0]  # (cells, 85)
        columns = [5 + index for index in TRAFFIC]
        return Reading(raw[:, 4:5] * raw[:, columns], decode_boxes(raw[:, :4], image.shape[2], image.shape[3]))


def _fit(rgb: Tensor, side: int) -> Tensor:
    """Scaled to `side` at the longer side, padded with 114 at the right and bottom to multiples of 32."""
    scale = side / max(rgb.shape[2:])
    height, width = (max(1, int(length * scale)) for length in rgb.shape[2:])
    image = F.interpolate(rgb, size=(height, width), mode="bilinear", align_corners=False)
    return F.pad(image, (0, -width % MULTIPLE, 0, -height % MULTIPLE), value=_PADDING / 255)


def decode_boxes(raw: Tensor, height: int, width: int) -> Tensor:
    """Corners in pixels, (cells, 4), from YOLOX's centres and logarithmic sizes in cells."""
    grids = []
    for stride in STRIDES:
        y, x = torch.meshgrid(torch.arange(height // stride), torch.arange(width // stride), indexing="ij")
        grids.append(torch.stack([x, y, torch.full_like(x, stride)], dim=-1).view(-1, 3))
    grid = torch.cat(grids).to(raw)
    centre, size = (raw[:, :2] + grid[:, :2]) * grid[:, 2:], raw[:, 2:].exp() * grid[:, 2:]
    return torch.cat([centre - size / 2, centre + size / 2], dim=1)


def better_of(first: Reading, second: Reading) -> Reading:
    """In every cell the scores of whichever is surer, class by class, and the box of whichever is surer overall."""
    surer = first.scores.amax(dim=1, keepdim=True) >= second.scores.amax(dim=1, keepdim=True)
    return Reading(torch.maximum(first.scores, second.scores), torch.where(surer, first.boxes, second.boxes))


def agreement(fused: Reading, wanted: Reading) -> Tensor:
    """How far the reading of the fused image is from the wanted one, a scalar.

    Quality focal loss |t - p|^2 BCE(p, t) summed over cells and classes, plus 1 - IoU where the wanted score passes
    0.25, weighted by it; over the sum of the wanted scores, or over 4 where that is less.
    """
    p, t = fused.scores.clamp(_EPSILON, 1 - _EPSILON), wanted.scores
    focal = ((t - p).detach().square() * F.binary_cross_entropy(p, t, reduction="none")).sum()
    weight = t.amax(dim=1)
    weight = weight * (weight > _BOX_SCORE)
    boxes = (weight * (1 - box_iou(fused.boxes, wanted.boxes))).sum()
    return (focal + boxes) / t.sum().clamp_min(_FEW_OBJECTS)


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes pair by pair, (cells,) in 0..1."""
    corner_a, corner_b = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    common = (corner_b - corner_a).clamp_min(0).prod(dim=1)
    areas = [(box[:, 2:] - box[:, :2]).prod(dim=1) for box in (a, b)]
    return common / (areas[0] + areas[1] - common).clamp_min(_EPSILON)


def recolour(rgb: Tensor, rgb_luma: Tensor, fused: Tensor) -> Tensor:
    """The fused picture as the node shows it: the change of luma added to R, G and B, clipped; (N, 3, H, W) in 0..1."""
    return (rgb + (fused - rgb_luma)).clamp(0.0, 1.0)


def disturb(image: Tensor) -> Tensor:
    """Another brightness curve, at times a slight blur, and noise, so that no whim of one detector is learnt by heart.

    Args:
        image: float32 (1, 3, H, W) in 0..1. The draws come from torch's own generator.
    """
    draw = torch.rand(3)
    gamma = float(2.0 ** (draw[0] - 0.5))
    if draw[1] < 0.3:
        image = F.avg_pool2d(image, 3, stride=1, padding=1, count_include_pad=False)
    return ((image + 1e-4).pow(gamma) + 0.02 * draw[2] * torch.randn_like(image)).clamp(0.0, 1.0)


class ReaderTerm:
    """The agreement of a batch of whole pairs; its weight is the recipe's.

    Args:
        reader: The frozen detector.
        sides: Lengths the longer side is scaled to, drawn at random.
    """

    def __init__(self, reader: Reader, sides: Sequence[int]) -> None:
        self._reader, self._sides = reader, tuple(sides)

    def to(self, device: torch.device) -> None:
        """Moves the reader."""
        self._reader.to(device)

    def __call__(self, network: nn.Module, pairs: Sequence[WholePair]) -> Tensor:
        """Mean agreement over the pairs, a scalar; 0 is the best."""
        losses = []
        for pair in pairs:
            side = self._sides[int(torch.randint(len(self._sides), (1,)))]
            luma = luma_of(pair.rgb)
            fused = recolour(pair.rgb, luma, limit_gradient(network(luma, pair.thermal).float(), _LOUDEST))
            with torch.no_grad():
                seen = (self._reader.read(image, side) for image in (pair.rgb, pair.thermal.expand_as(pair.rgb)))
                wanted = better_of(*seen)
            losses.append(agreement(self._reader.read(disturb(fused), side), wanted))
        return torch.stack(losses).mean()


def limit_gradient(picture: Tensor, norm: float) -> Tensor:
    """The same picture; a gradient that comes back to it is scaled down to this L2 norm if it is greater.

    One pair in twenty, with a single thing that is barely seen, would otherwise move the network more than all others.
    """
    if picture.requires_grad:
        picture.register_hook(lambda gradient: gradient * (norm / gradient.norm().clamp_min(norm)))
    return picture


def luma_of(rgb: Tensor) -> Tensor:
    """BT.601 luma, (N, 1, H, W), of RGB (N, 3, H, W)."""
    return (rgb * rgb.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
