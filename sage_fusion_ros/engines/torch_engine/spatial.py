"""Those of ONNX's operators in torch that know rows and columns: convolutions, pools, paddings and resizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sage_fusion_ros.errors import ModelError

Attributes = dict[str, Any]


def _pads(image: Tensor, attributes: Attributes, kernel: Sequence[int]) -> tuple[int, int, int, int]:
    """Pixels added at the top, left, bottom and right."""
    if image.ndim != 4:
        raise ModelError(f"an operator for images was given {image.ndim} axes; expected 4")
    kind = attributes.get("auto_pad", b"NOTSET").decode()
    if kind in ("NOTSET", "VALID"):
        top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0)) if kind == "NOTSET" else (0, 0, 0, 0)
        return top, left, bottom, right
    strides, dilations = attributes.get("strides", (1, 1)), attributes.get("dilations", (1, 1))
    sides = []
    for size, reach, stride, dilation in zip(image.shape[2:], kernel, strides, dilations, strict=True):
        total = max((-(-size // stride) - 1) * stride + (reach - 1) * dilation + 1 - size, 0)
        small, large = total // 2, total - total // 2
        sides.append((small, large) if kind == "SAME_UPPER" else (large, small))
    return sides[0][0], sides[1][0], sides[0][1], sides[1][1]


def _padded(
    image: Tensor, attributes: Attributes, kernel: Sequence[int], value: float = 0.0
) -> tuple[Tensor, tuple[int, int]]:
    """The image and the padding left to do; a padding that differs from side to side is done here."""
    top, left, bottom, right = _pads(image, attributes, kernel)
    if (top, left) == (bottom, right):
        return image, (top, left)
    return F.pad(image, (left, right, top, bottom), value=value), (0, 0)


def conv(inputs: list[Any], attributes: Attributes) -> Tensor:
    """Conv of images."""
    image, weight, *bias = inputs
    image, padding = _padded(image, attributes, weight.shape[2:])
    strides, dilations = attributes.get("strides", (1, 1)), attributes.get("dilations", (1, 1))
    return F.conv2d(image, weight, bias[0] if bias else None, strides, padding, dilations, attributes.get("group", 1))


def conv_transpose(inputs: list[Any], attributes: Attributes) -> Tensor:
    """ConvTranspose of images."""
    image, weight, *bias = inputs
    top, left, bottom, right = _pads(image, attributes, weight.shape[2:])
    if (top, left) != (bottom, right) or "output_shape" in attributes or "auto_pad" in attributes:
        raise ModelError("a transposed convolution whose padding differs from side to side has no form in torch here")
    return F.conv_transpose2d(
        image,
        weight,
        bias[0] if bias else None,
        attributes.get("strides", (1, 1)),
        (top, left),
        attributes.get("output_padding", (0, 0)),
        attributes.get("group", 1),
        attributes.get("dilations", (1, 1)),
    )


def max_pool(inputs: list[Any], attributes: Attributes) -> Tensor:
    """MaxPool of images."""
    kernel = attributes["kernel_shape"]
    image, padding = _padded(inputs[0], attributes, kernel, -torch.inf)
    strides, dilations = attributes.get("strides", (1, 1)), attributes.get("dilations", (1, 1))
    return F.max_pool2d(image, kernel, strides, padding, dilations, bool(attributes.get("ceil_mode", 0)))


def average_pool(inputs: list[Any], attributes: Attributes) -> Tensor:
    """AveragePool of images."""
    kernel, counted = attributes["kernel_shape"], bool(attributes.get("count_include_pad", 0))
    top, left, bottom, right = _pads(inputs[0], attributes, kernel)
    if (top, left) != (bottom, right):
        raise ModelError("a mean whose padding differs from side to side has no form in torch here")
    ceil = bool(attributes.get("ceil_mode", 0))
    return F.avg_pool2d(inputs[0], kernel, attributes.get("strides", (1, 1)), (top, left), ceil, counted)


def pad(inputs: list[Any], attributes: Attributes) -> Tensor:
    """Pad: by a value, mirrored, or with the edge's."""
    data, pads, *value = inputs
    sides, rank = pads.tolist(), data.ndim
    mode = attributes.get("mode", b"constant").decode()
    if len(value) > 1 or len(sides) != 2 * rank or mode not in ("constant", "reflect", "edge"):
        raise ModelError(f"a padding of mode '{mode}' by {sides} has no form in torch here")
    order = [side for axis in reversed(range(rank)) for side in (sides[axis], sides[axis + rank])]
    if mode != "constant":
        return F.pad(data, order[:4], mode="replicate" if mode == "edge" else mode)
    return F.pad(data, order, value=float(value[0]) if value and value[0] is not None else 0.0)


def resize(inputs: list[Any], attributes: Attributes) -> Tensor:
    """Resize of images: repeated by whole factors, or bilinear."""
    data = inputs[0]
    mode = attributes.get("mode", b"nearest")
    grid = attributes.get("coordinate_transformation_mode", b"half_pixel")
    by_sizes = len(inputs) > 3 and inputs[3] is not None
    if by_sizes:
        sizes = inputs[3].tolist()
        by = [new / old for new, old in zip(sizes, data.shape, strict=True)]
    else:
        by = [float(scale) for scale in inputs[min(2, len(inputs) - 1)]]
        sizes = [int(length * scale) for length, scale in zip(data.shape, by, strict=True)]
    fits = data.ndim == len(by) == 4 and by[:2] == [1.0, 1.0] and not attributes.get("antialias", 0)
    if mode == b"nearest":
        # Whole factors repeat each pixel, by either of the two usual ways of rounding.
        rounding = attributes.get("nearest_mode", b"round_prefer_floor")
        usual = (grid, rounding) in ((b"asymmetric", b"floor"), (b"half_pixel", b"round_prefer_floor"))
        fits = fits and usual and all(scale == round(scale) for scale in by)
    else:
        fits = fits and mode == b"linear" and grid in (b"half_pixel", b"pytorch_half_pixel", b"align_corners")
    if not fits:
        raise ModelError(f"a resize of mode {mode!r} by {by} on the grid {grid!r} has no form in torch here")
    if mode == b"nearest":
        return F.interpolate(data, size=sizes[2:], mode="nearest")
    if grid == b"align_corners":
        return F.interpolate(data, size=sizes[2:], mode="bilinear", align_corners=True)
    # A factor is taken as it stands, not as the sizes would have it after rounding.
    size = {"size": sizes[2:]} if by_sizes else {"scale_factor": tuple(by[2:])}
    return F.interpolate(data, mode="bilinear", align_corners=False, **size)


def depth_to_space(inputs: list[Any], attributes: Attributes) -> Tensor:
    """DepthToSpace, in either order."""
    data, block = inputs[0], attributes["blocksize"]
    if attributes.get("mode", b"DCR") == b"CRD":
        return F.pixel_shuffle(data, block)
    count, channels, height, width = data.shape
    cells = data.reshape(count, block, block, channels // block**2, height, width).permute(0, 3, 4, 1, 5, 2)
    return cells.reshape(count, channels // block**2, height * block, width * block)
