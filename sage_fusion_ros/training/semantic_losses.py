"""Losses that look at a picture through another network: semantic features inside masks, and a task's label map."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.training.losses import precise

_NORM_EPSILON = 1e-5  # InstanceNorm's
_RATIO_EPSILON = 1e-7

FeatureMaps = Callable[[Tensor], tuple[Tensor, ...]]
"""An image (N, 3, H, W), 0..1, to some feature maps (N, C, h, w); frozen, with a gradient to the image."""


def feature_distance(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """d(a, b) = sum over the maps i of ||IN(a_i) - IN(b_i)||_2.

    IN is the instance norm without learnt parameters: each channel of each sample less its mean, over its standard
    deviation. The norm is over the whole tensor, all samples of the micro-batch together, and not divided by anything,
    so it grows with the square root of the batch. Source: SAGE (CVPR 2025), the distance of its contrastive term.

    Args:
        a: Feature maps (N, C, h, w).
        b: As many of the same shapes.

    Returns:
        A scalar, 0 or more; its gradient is 0 where a equals b.

    Raises:
        ValueError: The two have different numbers of maps.
    """
    gaps = [
        torch.linalg.vector_norm(_instance_norm(precise(first)) - _instance_norm(precise(second)))
        for first, second in zip(a, b, strict=True)
    ]
    return torch.stack(gaps).sum()


def _instance_norm(maps: Tensor) -> Tensor:
    """As torch's instance_norm, which refuses maps of one single pixel: those become 0."""
    variance, mean = torch.var_mean(maps, dim=(-2, -1), correction=0, keepdim=True)
    return (maps - mean) / (variance + _NORM_EPSILON).sqrt()


def contrastive_semantic(
    network: FeatureMaps,
    fused: Tensor,
    reference: Tensor,
    rgb_luma: Tensor,
    thermal: Tensor,
    rgb_masks: Tensor,
    thermal_masks: Tensor,
) -> Tensor:
    """The contrastive semantic term: inside each mask, near to the reference R and far from the mask's own source.

        sum over the RGB image's masks m of      d(F m, R m) / (d(F m, Y m) + 1e-7)
      + sum over the thermal image's masks m of  d(F m, R m) / (d(F m, T m) + 1e-7)

    d is feature_distance of the network's maps; greys are repeated to three channels. Source: SAGE (CVPR 2025). The
    masks are binary, as the paper writes them; the published code multiplies by the grey masked image instead, which
    squares the brightness of the source. The k-th mask of all samples makes one ratio, as published, so that the term
    depends on how pairs are put together to micro-batches. An empty mask adds nothing to either distance, and where
    the k-th masks of all samples are empty the ratio is left out.

    F and R may lie outside of 0..1: a clamped picture would have no gradient there to bring it back. R gets a gradient
    too unless it was made without one, which the bi-level step needs.

    Args:
        network: Frozen feature network in evaluation mode; no sample's maps may depend on another sample.
        fused: F, (N, 1, H, W).
        reference: R, the other network's picture, likewise.
        rgb_luma: Y, likewise.
        thermal: T, likewise.
        rgb_masks: (N, K, H, W), 0 or 1.
        thermal_masks: Likewise; its K may be another.

    Returns:
        The sum, a scalar of 0 or more; 0 with a gradient of 0 when every mask is empty.
    """
    ratios = [
        _ratio(network, fused, reference, source, masks[:, k : k + 1])
        for source, masks in ((rgb_luma, rgb_masks), (thermal, thermal_masks))
        for k in range(masks.shape[1])
        if bool(masks[:, k].any())
    ]
    return torch.stack(ratios).sum() if ratios else 0 * precise(fused).sum()


def _ratio(network: FeatureMaps, fused: Tensor, reference: Tensor, source: Tensor, mask: Tensor) -> Tensor:
    """One mask (N, 1, H, W) of each sample; samples without one are left out, which saves the network's time."""
    present = mask.flatten(1).any(dim=1)
    mask = mask[present]
    of_fused, of_reference, of_source = (
        network((image[present] * mask).expand(-1, 3, -1, -1)) for image in (fused, reference, source)
    )
    return feature_distance(of_fused, of_reference) / (feature_distance(of_fused, of_source) + _RATIO_EPSILON)


def task_loss(logits: Tensor, labels: Tensor, ignore: int = 255) -> Tensor:
    """Cross-entropy of a segmentation network's logits, resized to the labels' size: mean over the labelled pixels.

    Source: the task loss of SAGE (CVPR 2025). The published code divides the label image by 255 before it is cast to
    integers, which makes every label 0, and takes scores that are no logits; here ids stay ids and logits are logits.

    Args:
        logits: (N, C, h, w), before softmax.
        labels: int64 (N, H, W), class ids 0..C-1, or `ignore`.
        ignore: The id of pixels that don't count.

    Returns:
        A scalar of 0 or more; 0 with a gradient of 0 where no pixel is labelled.

    Raises:
        ParameterError: A label is neither a class of the network nor `ignore`.
    """
    counted = labels != ignore
    strange = counted & ((labels < 0) | (labels >= logits.shape[1]))
    if bool(strange.any()):
        ids = ", ".join(str(int(value)) for value in labels[strange].unique()[:8])
        raise ParameterError(
            f"the label maps have the ids {ids}, but the task network knows the classes 0 to {logits.shape[1] - 1} "
            f"({ignore}: not labelled); give label maps with the network's own class ids"
        )
    resized = F.interpolate(precise(logits), size=labels.shape[-2:], mode="bilinear", align_corners=False)
    total = F.cross_entropy(resized, labels, ignore_index=ignore, reduction="sum")
    return total / counted.sum().clamp(min=1)


def fused_rgb(rgb: Tensor, rgb_luma: Tensor, fused: Tensor) -> Tensor:
    """The fused luma in the RGB image's colours: clamp(RGB + F - Y, 0, 1).

    The same as YCbCr with Y replaced by F and back, for any weights of Y that add up to 1. Where nothing is clamped
    the luma is F and the chroma is the RGB image's; the gradient to F is 0 in a channel that is clamped.

    Args:
        rgb: (N, 3, H, W) in 0..1.
        rgb_luma: Its luma, (N, 1, H, W).
        fused: (N, 1, H, W), also outside of 0..1.

    Returns:
        (N, 3, H, W) in 0..1.
    """
    return (rgb + (fused - rgb_luma)).clamp(0, 1)
