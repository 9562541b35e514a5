"""`perception`: what stands where in a fused image. One backbone, two heads: a semantic mask and boxes.

The backbone works from a quarter of the image's size downwards, where a plain 3x3 convolution is what a CPU does best:
residual blocks (He et al. 2016) without any depthwise or grouped layer. A pyramid of three levels (Lin et al. 2017)
feeds both heads. Boxes are anchor-free: every cell tells its distances to the four edges (FCOS, Tian et al. 2019) and
one score a class. They leave the network in the YOLOv8 layout, so that one decoder reads them and anybody's own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STRIDES = (8, 16, 32)
MASK_STRIDE = 4
MASK_CLASSES = 19
BOX_CLASSES = 6
_WIDTHS = (32, 64, 128, 192)  # at strides 4, 8, 16, 32
_BLOCKS = (1, 2, 2)  # residual blocks at strides 8, 16, 32
_PYRAMID = 64
_RARE = -4.6  # logit of 0.01: almost every cell is background (RetinaNet, Lin et al. 2017)


class Perception(nn.Module):
    """Reads a fused image.

    Weights are random; `forward` is for the exported file, `heads` for training.
    """

    size_multiple = max(STRIDES)

    def __init__(self) -> None:
        super().__init__()
        quarter, *deeper = _WIDTHS
        self.stem = _convolution(3, quarter, kernel=6, stride=4, padding=1)
        self.stages = nn.ModuleList(
            nn.Sequential(_convolution(before, width, stride=2), *(_Block(width) for _ in range(blocks)))
            for before, width, blocks in zip(_WIDTHS[:-1], deeper, _BLOCKS, strict=True)
        )
        self.lateral = nn.ModuleList(nn.Conv2d(width, _PYRAMID, 1) for width in deeper)
        self.smooth = nn.ModuleList(_convolution(_PYRAMID, _PYRAMID) for _ in deeper)
        self.box_tower = nn.ModuleList(_convolution(_PYRAMID, _PYRAMID) for _ in deeper)
        self.box_head = nn.ModuleList(nn.Conv2d(_PYRAMID, 4 + BOX_CLASSES, 1) for _ in deeper)
        self.mask_tower = _convolution(_PYRAMID, _PYRAMID)
        self.mask_head = nn.Conv2d(_PYRAMID, MASK_CLASSES, 1)
        self.mask_detail = nn.Conv2d(quarter, MASK_CLASSES, 1)
        for head in self.box_head:
            nn.init.constant_(head.bias[4:], _RARE)
            nn.init.zeros_(head.bias[:4])

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """What the exported file gives.

        Args:
            image: float32 (N, 3, H, W) in 0..1, RGB; H and W multiples of 32.

        Returns:
            mask logits float32 (N, 19, H/4, W/4) of the Cityscapes train ids, and boxes float32 (N, 4 + 6, cells):
            centre x, centre y, width and height in pixels, then a score in 0..1 for person, bicycle, car, motorcycle,
            bus and truck.
        """
        mask, distances, logits, centres = self.heads(image)
        corners = corners_of(distances, centres)  # (N, cells, 4)
        sizes = corners[..., 2:] - corners[..., :2]
        boxes = torch.cat([corners[..., :2] + sizes / 2, sizes, logits.sigmoid()], dim=2)  # (N, cells, 10)
        return mask, boxes.transpose(1, 2)

    def heads(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The same before decoding.

        Returns:
            mask logits (N, 19, H/4, W/4); distances (N, cells, 4) from each cell's centre to left, top, right and
            bottom in pixels; class logits (N, cells, 6); centres (cells, 2) in pixels.
        """
        return self.read(image, *self.pyramid(image))

    def read(self, image: Tensor, quarter: Tensor, levels: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What both heads make of what `pyramid` gave; see heads."""
        coarse = self.mask_head(self.mask_tower(levels[0]))  # (N, 19, H/8, W/8)
        fine = F.interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=False)
        mask = fine + self.mask_detail(quarter)  # (N, 19, H/4, W/4)
        raw = [self.box_head[index](self.box_tower[index](level)) for index, level in enumerate(levels)]
        distances = torch.cat(
            [stride * F.softplus(each[:, :4].flatten(2)) for each, stride in zip(raw, STRIDES, strict=True)], dim=2
        ).transpose(1, 2)  # (N, cells, 4)
        logits = torch.cat([each[:, 4:].flatten(2) for each in raw], dim=2).transpose(1, 2)  # (N, cells, 6)
        return mask, distances, logits, cell_centres(image.shape[2], image.shape[3], image)

    def pyramid(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What both heads read.

        Returns:
            The first layer's features (N, 32, H/4, W/4), and those of the levels (N, 64, H/stride, W/stride).
        """
        quarter = self.stem(image)  # (N, 32, H/4, W/4)
        features, x = [], quarter
        for stage in self.stages:
            x = stage(x)  # (N, 64, H/8, W/8), (N, 128, H/16, W/16), (N, 192, H/32, W/32)
            features.append(x)
        levels: list[Tensor] = []
        for index in reversed(range(len(features))):
            x = self.lateral[index](features[index])
            if levels:
                x = x + F.interpolate(levels[0], scale_factor=2.0, mode="nearest")
            levels.insert(0, self.smooth[index](x))  # (N, 64, H/stride, W/stride)
        return quarter, levels


class _Block(nn.Module):
    """Two 3x3 convolutions beside an identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _convolution(width, width)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, h, w) to the same."""
        return F.relu(x + self.second(self.first(x)))


def _convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, padding: int = 1) -> nn.Sequential:
    """Convolution, batch norm (folded at export), ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def cell_centres(height: int, width: int, like: Tensor) -> Tensor:
    """Centres of all cells, level by level and row by row: (cells, 2) x and y in pixels."""
    grids = []
    for stride in STRIDES:
        y = (torch.arange(height // stride, device=like.device).to(torch.float32) + 0.5) * stride
        x = (torch.arange(width // stride, device=like.device).to(torch.float32) + 0.5) * stride
        grids.append(torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 2))
    return torch.cat(grids)


def corners_of(distances: Tensor, centres: Tensor) -> Tensor:
    """Left, top, right and bottom in pixels, (N, cells, 4), from each cell's distances to the four edges."""
    return torch.cat([centres - distances[..., :2], centres + distances[..., 2:]], dim=-1)
