"""`sage_fast`: a plain 3x3 stack on a quarter grid, for CPUs and small GPUs.

One 4x4 stride-4 convolution brings both images to a quarter of the size, everything happens there, and one
depth-to-space brings the picture back. Each cell of the grid holds 4x4 pixels: the last layer gives 16 blend weights,
16 residuals and 16 gains of fine detail, and the blend is done in the grid as well, against both sources sorted into
the same cells, since a blend at full resolution costs more than the whole stack.

The detail has a linear path of its own around the stack: 32 channels behind a ReLU cannot carry 32 pixels of texture
and what they mean, but one gain a pixel is enough to say where texture is worth more than noise.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CELL = 4
_PIXELS = CELL * CELL


class SageFast(nn.Module):
    """The network.

    Args:
        channels: Channels of every layer; a multiple of 16, which the blocked layouts of inference libraries need.
        dilations: One 3x3 layer each. The dilated ones in the middle see far at no cost, the plain ones around them
            keep neighbouring cells in step.
    """

    size_multiple = CELL

    def __init__(self, channels: int = 32, dilations: tuple[int, ...] = (1, 2, 4, 1, 2, 1)) -> None:
        super().__init__()
        self.feature_channels: tuple[int, ...] = (channels,) * 5
        self.register_buffer("cells", _cells_kernel(), persistent=False)
        self.stem = nn.Conv2d(2, channels, CELL, stride=CELL)
        self.body = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=d, dilation=d) for d in dilations)
        self.detail = nn.Conv2d(2 * _PIXELS, 2 * _PIXELS, 3, padding=1, groups=2, bias=False)
        self.head = nn.Conv2d(channels, 3 * _PIXELS, 3, padding=1)
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """Random, plus an identity in each body layer, so that a deep plain stack learns from the first step on.

        The detail starts as each pixel less the mean of the 3x3 around it, with gains near 0.

        An identity branch beside a convolution is the same convolution with 1 added at the kernel's centre (RepVGG,
        Ding et al. 2021); written into the start values it costs nothing, neither here nor at export.
        """
        for layer in self.body:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            layer.weight.mul_(0.5)
            diagonal = torch.arange(layer.in_channels)
            layer.weight[diagonal, diagonal, 1, 1] += 0.7
            nn.init.zeros_(layer.bias)
        self.detail.weight.copy_(torch.cat([_high_pass_kernel()] * 2))
        self.head.weight.mul_(0.1)
        nn.init.zeros_(self.head.bias)

    def forward(self, rgb_luma: Tensor, thermal: Tensor) -> Tensor:
        """Fused luma.

        Args:
            rgb_luma: float32 (N, 1, H, W) in 0..1, BT.601 full-range luma; H and W multiples of 4.
            thermal: float32 (N, 1, H, W) in 0..1.

        Returns:
            float32 (N, 1, H, W) in 0..1.
        """
        return F.pixel_shuffle(self.cells_of(rgb_luma, thermal).clamp(0.0, 1.0), CELL)  # (N, 1, H, W)

    def features(self, rgb_luma: Tensor, thermal: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The fused luma before clamping, and the five features that distillation compares.

        Args:
            rgb_luma: As for `forward`.
            thermal: As for `forward`.

        Returns:
            Fused luma (N, 1, H, W), not bounded, and five features (N, channels, H/4, W/4): what body layers spread
            evenly from the first to the last give, of six the first, second, third, fifth and last.
        """
        cells, layers = self._cells_and_layers(rgb_luma, thermal)
        features = tuple(layers[round(i * (len(layers) - 1) / 4)] for i in range(5))
        return F.pixel_shuffle(cells, CELL), features  # (N, 1, H, W)

    def cells_of(self, rgb_luma: Tensor, thermal: Tensor) -> Tensor:
        """The picture before clamping, 16 pixels a cell: (N, 16, H/4, W/4)."""
        return self._cells_and_layers(rgb_luma, thermal)[0]

    def _cells_and_layers(self, rgb_luma: Tensor, thermal: Tensor) -> tuple[Tensor, list[Tensor]]:
        pair = torch.cat([rgb_luma, thermal], dim=1)  # (N, 2, H, W)
        sources = F.conv2d(pair, self.cells, stride=CELL)  # (N, 32, H/4, W/4)
        rgb_cells, thermal_cells = sources[:, :_PIXELS], sources[:, _PIXELS:]  # (N, 16, H/4, W/4) each
        x = F.relu(self.stem(pair))  # (N, channels, H/4, W/4)
        layers = []
        for layer in self.body:
            x = F.relu(layer(x))  # (N, channels, H/4, W/4)
            layers.append(x)
        share, residual, gain = self.head(x).split(_PIXELS, dim=1)  # (N, 16, H/4, W/4) each
        share = torch.sigmoid(share)
        rgb_detail, thermal_detail = self.detail(sources).split(_PIXELS, dim=1)  # (N, 16, H/4, W/4) each
        picture = thermal_cells + share * (rgb_cells - thermal_cells) + residual
        # (N, 16, H/4, W/4)
        return picture + gain * (thermal_detail + share * (rgb_detail - thermal_detail)), layers


def _cells_kernel() -> Tensor:
    """A fixed convolution that sorts pixels into cells: (32, 2, 4, 4), one 1 each; row by row, RGB luma first.

    The same as space-to-depth, which the exporters write as reshapes and a transpose: twice the time.
    """
    return torch.eye(2 * _PIXELS).view(2 * _PIXELS, 2, CELL, CELL)


def _high_pass_kernel() -> Tensor:
    """Pixel less the mean of the 3x3 pixels around it, as a convolution over cells: (16, 16, 3, 3)."""
    kernel = torch.zeros(_PIXELS, _PIXELS, 3, 3)
    for pixel in range(_PIXELS):
        row, column = divmod(pixel, CELL)
        for y in range(row - 1, row + 2):
            for x in range(column - 1, column + 2):
                kernel[pixel, y % CELL * CELL + x % CELL, 1 + y // CELL, 1 + x // CELL] -= 1 / 9
        kernel[pixel, pixel, 1, 1] += 1
    return kernel
