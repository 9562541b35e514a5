"""The SAGE teacher (CVPR 2025): the large network with Semantic Persistent Attention (SPA) that teaches the student.

It sees both images and, camera by camera, the same images masked by semantic priors. What attention knows of the image,
its keys and values, is the *persistent repository*: the mask streams are read by it, and so is their mixture, so that
semantics are always looked up in the whole scene. One SPA module serves all five scales.

Parameters. The published count is 2,787,043. It contains 18 values of a fixed Sobel filter, which belongs to the loss,
and 147,520 of a layer that is never called (a 3x3 convolution 256 -> 64). Without those there are 2,639,505, and every
one of them is in use here.

Difference from the released code, whose teacher's weights were never published: the encoder of RGB's masks ends with an
activation, as thermal's does; there it has none. Kept from it: no activation bounds the picture, which the pixel terms
of the loss hold near 0..1, and no layer here normalises by the batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sage_fusion_ros.errors import ParameterError

PARAMETERS = 2_639_505
SIZE_MULTIPLE = 16  # the deepest SPA call stands at 1/4 and takes a quarter of that
_POOL = 4
_HEADS = 2
_GROUPS = 4

Repository = tuple[Tensor, Tensor]  # keys and values, (N, tokens, width) each


def _conv(channels_in: int, channels_out: int) -> nn.Sequential:
    """3x3 convolution, leaky ReLU; the size stays."""
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 3, padding=1), nn.LeakyReLU())


class Attention(nn.Module):
    """Attention with two heads; queries, keys and values may come from three places."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(width, width, bias=False)
        self.to_v = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, key_source: Tensor, value_source: Tensor) -> tuple[Tensor, Repository]:
        """(N, T, width) each, to the same; and the projected keys and values."""
        q, k, v = self.to_q(x), self.to_k(key_source), self.to_v(value_source)  # (N, T, width) each
        heads = (t.unflatten(2, (_HEADS, -1)).transpose(1, 2) for t in (q, k, v))  # (N, 2, T, width / 2) each
        mixed = F.scaled_dot_product_attention(*heads)  # (N, 2, T, width / 2)
        return self.out(mixed.transpose(1, 2).flatten(2)), (k, v)  # (N, T, width)


class Block(nn.Module):
    """Self-attention, attention to a repository or to itself, gated feed-forward; each beside an identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.self_attention = Attention(width)
        self.attention = Attention(width)
        self.gate = nn.Linear(width, 2 * 4 * width)
        self.feed = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, repository: Repository | None) -> tuple[Tensor, Repository]:
        """(N, T, width) to the same; and the keys and values of the second attention."""
        y = self.norm1(x)
        x = x + self.self_attention(y, y, y)[0]  # (N, T, width)
        y = self.norm2(x)
        # A repository's keys and values are sources like any other: they are projected once more.
        mixed, own = self.attention(y, *(repository or (y, y)))
        x = x + mixed  # (N, T, width)
        value, gate = self.gate(self.norm3(x)).chunk(2, dim=2)  # (N, T, 4 width) each
        return x + self.feed(value * F.gelu(gate)), own  # (N, T, width)


class SpatialTransformer(nn.Module):
    """One block over the pixels of a map, beside an identity.

    The last projection starts at zero, so that the whole begins as the identity: at the first step every other
    parameter in here has a gradient of zero, from the second on none has.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(_GROUPS, width, eps=1e-6)
        self.into = nn.Conv2d(width, width, 1)
        self.block = Block(width)
        self.out = nn.Conv2d(width, width, 1)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, repository: Repository | None = None) -> tuple[Tensor, Repository]:
        """(N, width, h, w) to the same; and keys and values (N, h w, width)."""
        tokens = self.into(self.norm(x)).flatten(2).transpose(1, 2)  # (N, h w, width)
        tokens, own = self.block(tokens, repository)  # (N, h w, width)
        return x + self.out(tokens.transpose(1, 2).unflatten(2, x.shape[2:])), own  # (N, width, h, w)


class SemanticPersistentAttention(nn.Module):
    """SPA: the image's keys and values look at the mask streams, and at what becomes of both. Works at a quarter."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.image, self.rgb, self.thermal = (SpatialTransformer(width) for _ in range(3))
        self.mask_again, self.image_again = (SpatialTransformer(width) for _ in range(2))
        self.join_rgb, self.join_thermal, self.join_masks, self.join_image = (_conv(2 * width, width) for _ in range(4))

    def forward(self, image: Tensor, rgb: Tensor, thermal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Attends.

        Args:
            image: (N, width, h, w), features of both images; h and w multiples of 4.
            rgb: (N, width, h, w), features of the masked RGB luma.
            thermal: (N, width, h, w), features of the masked thermal image.

        Returns:
            (N, 4 width, h, w) of the image, and both mask streams (N, width, h, w).
        """
        image, rgb, thermal = (F.max_pool2d(x, _POOL) for x in (image, rgb, thermal))  # (N, width, h/4, w/4) each
        image1, repository = self.image(image)  # (N, width, h/4, w/4); keys, values (N, h w / 16, width)
        rgb1, _ = self.rgb(rgb, repository)  # (N, width, h/4, w/4)
        thermal1, _ = self.thermal(thermal, repository)  # (N, width, h/4, w/4)
        rgb2 = self.join_rgb(torch.cat([rgb1, rgb], dim=1)) + rgb1  # (N, width, h/4, w/4)
        thermal2 = self.join_thermal(torch.cat([thermal1, thermal], dim=1)) + thermal1  # (N, width, h/4, w/4)
        mask = self.join_masks(torch.cat([thermal2, rgb2], dim=1))  # (N, width, h/4, w/4)
        mask = mask + thermal2 + rgb2 + rgb1 + thermal1  # (N, width, h/4, w/4)
        image2 = self.join_image(torch.cat([image1, image], dim=1)) + image1  # (N, width, h/4, w/4)
        mask3, of_masks = self.mask_again(mask, repository)  # (N, width, h/4, w/4); (N, h w / 16, width)
        image3, _ = self.image_again(image2, of_masks)  # (N, width, h/4, w/4)
        whole = torch.cat([image3, image, image2, mask3], dim=1)  # (N, 4 width, h/4, w/4)
        return _up(whole, _POOL, False), _up(rgb2, _POOL, False), _up(thermal2, _POOL, False)


def _up(x: Tensor, factor: int, align_corners: bool) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=align_corners)


class SageTeacher(nn.Module):
    """The network.

    Args:
        width: Channels of the SPA module; every other count follows it. 64 as published; a multiple of 8.
        masks: Masked images a camera.
        feature_channels: Of the student's five features, which the teacher's are projected to.

    Raises:
        ParameterError: A width, number of masks or list of channels that can't be had.
    """

    size_multiple = SIZE_MULTIPLE

    def __init__(self, width: int = 64, masks: int = 4, feature_channels: Sequence[int] = (32,) * 5) -> None:
        super().__init__()
        if width < 8 or width % 8 or masks < 1 or len(feature_channels) != 5:
            raise ParameterError(
                f"a teacher of width {width} with {masks} masks and {len(feature_channels)} features; expected a "
                "multiple of 8, at least 1, and 5"
            )
        quarter, half = width // 4, width // 2
        self.encode_image = nn.Sequential(_conv(2, quarter), _conv(quarter, half))
        self.encode_image_more = _conv(half, width)
        self.encode_rgb, self.encode_thermal = (
            nn.Sequential(_conv(masks, quarter), _conv(quarter, half), _conv(half, width)) for _ in range(2)
        )
        self.attention = SemanticPersistentAttention(width)
        self.down1, self.down2 = (nn.Conv2d(4 * width, width, 3, padding=1) for _ in range(2))
        self.up3, self.up4 = (_conv(4 * width, width) for _ in range(2))
        self.decode = nn.Sequential(_conv(5 * width, 4 * width), _conv(4 * width, 2 * width), _conv(2 * width, width))
        last = _conv(quarter, 1)
        self.picture = nn.Sequential(_conv(width + half, width), _conv(width, half), _conv(half, quarter), last)
        self.project = nn.ModuleList(nn.Conv2d(4 * width, channels, 1) for channels in feature_channels)
        # Mid-grey: a picture that starts below 0 would pass a hundredth of the gradient through the last activation.
        nn.init.constant_(last.get_parameter("0.bias"), 0.5)

    def features(
        self, rgb_luma: Tensor, thermal: Tensor, rgb_masks: Tensor, thermal_masks: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The fused luma and the five features that distillation compares.

        Args:
            rgb_luma: float32 (N, 1, H, W) in 0..1, BT.601 full-range luma; H and W multiples of 16.
            thermal: float32 (N, 1, H, W) in 0..1.
            rgb_masks: float32 (N, masks, H, W) in 0..1: the luma times a binary mask each, not the mask itself.
            thermal_masks: float32 (N, masks, H, W) in 0..1: thermal likewise.

        Returns:
            Fused luma (N, 1, H, W), not bounded; and five features of feature_channels at scales 1, 1/2, 1/4,
            1/2 and 1.

        Raises:
            ParameterError: A height or width that is no multiple of 16.
        """
        height, width = rgb_luma.shape[2:]
        if height % SIZE_MULTIPLE or width % SIZE_MULTIPLE:
            raise ParameterError(
                f"the teacher was given {height}x{width} pixels; its height and width must be multiples of "
                f"{SIZE_MULTIPLE}, so choose such a crop"
            )
        half = self.encode_image(torch.cat([rgb_luma, thermal], dim=1))  # (N, 32, H, W)
        image = self.encode_image_more(half)  # (N, 64, H, W)
        rgb, heat = self.encode_rgb(rgb_masks), self.encode_thermal(thermal_masks)  # (N, 64, H, W) each

        out1, rgb, heat = self.attention(image, rgb, heat)  # (N, 256, H, W), (N, 64, H, W) twice
        x = F.leaky_relu(F.max_pool2d(self.down1(out1), 2))  # (N, 64, H/2, W/2)
        out2, rgb, heat = self.attention(x, F.max_pool2d(rgb, 2), F.max_pool2d(heat, 2))  # (N, 256, H/2, W/2), ...
        x = F.leaky_relu(F.max_pool2d(self.down2(out2), 2))  # (N, 64, H/4, W/4)
        out3, rgb, heat = self.attention(x, F.max_pool2d(rgb, 2), F.max_pool2d(heat, 2))  # (N, 256, H/4, W/4), ...
        x = self.up3(_up(out3, 2, True) + out2)  # (N, 64, H/2, W/2)
        out4, rgb, heat = self.attention(x, _up(rgb, 2, True), _up(heat, 2, True))  # (N, 256, H/2, W/2), ...
        x = self.up4(_up(out4, 2, True) + out1)  # (N, 64, H, W)
        out5, _, _ = self.attention(x, _up(rgb, 2, True), _up(heat, 2, True))  # (N, 256, H, W)

        decoded = self.decode(torch.cat([out5, image], dim=1))  # (N, 64, H, W)
        fused = self.picture(torch.cat([decoded, half], dim=1))  # (N, 1, H, W)
        outputs = (out1, out2, out3, out4, out5)
        return fused, tuple(project(x) for project, x in zip(self.project, outputs, strict=True))

    def forward(self, rgb_luma: Tensor, thermal: Tensor, rgb_masks: Tensor, thermal_masks: Tensor) -> Tensor:
        """Fused luma (N, 1, H, W), clamped to 0..1; arguments as for `features`."""
        return self.features(rgb_luma, thermal, rgb_masks, thermal_masks)[0].clamp(0.0, 1.0)
