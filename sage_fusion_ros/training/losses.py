"""Losses as small functions. F is the fused luma, Y the RGB image's luma, T thermal; all (N, 1, H, W) in 0..1."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def precise(values: Tensor) -> Tensor:
    """The same values in float32 where they came in half precision from autocast; sums over many lose digits there."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


def sobel(image: Tensor) -> Tensor:
    """Sobel gradient magnitude |Sx| + |Sy|, 3x3, zero padding: (N, 1, H, W).

    Source: the SAGE paper's loss (CVPR 2025), as in SeAFusion (Tang et al. 2022).
    """
    gx = image.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    kernels = torch.stack([gx, gx.T])[:, None]
    return F.conv2d(image, kernels, padding=1).abs().sum(dim=1, keepdim=True)


def joint_gradient(fused: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Mean |G(F) - max(G(A), G(B))|, G the Sobel magnitude. Source: SAGE, SeAFusion."""
    return (sobel(fused) - torch.maximum(sobel(first), sobel(second))).abs().mean()


def source_terms(fused: Tensor, rgb_luma: Tensor, thermal: Tensor) -> Tensor:
    """What the SAGE student keeps of its two sources: 3 [3 MSE(F, Y) + 2 MSE(F, T)] + 27 grad(F, Y, T).

    Source: SAGE (CVPR 2025), with the weights of the published training code.
    """
    intensity = 3 * F.mse_loss(fused, rgb_luma) + 2 * F.mse_loss(fused, thermal)
    return 3 * intensity + 27 * joint_gradient(fused, rgb_luma, thermal)


def reference_terms(fused: Tensor, reference: Tensor) -> Tensor:
    """What the SAGE student takes from the teacher's picture R: 12 MSE(F, R) + 9 grad(F, R, R).

    Source: SAGE (CVPR 2025), with the weights of the published training code.
    """
    return 12 * F.mse_loss(fused, reference) + 9 * joint_gradient(fused, reference, reference)


def sage_student_terms(fused: Tensor, rgb_luma: Tensor, thermal: Tensor, reference: Tensor) -> Tensor:
    """All of the SAGE student's intensity and gradient terms: source_terms + reference_terms.

    The paper's contrastive term is a function of its own: semantic_losses.contrastive_semantic.
    """
    return source_terms(fused, rgb_luma, thermal) + reference_terms(fused, reference)


def teacher_terms(fused: Tensor, rgb_luma: Tensor, thermal: Tensor) -> Tensor:
    """The SAGE teacher's own loss: MSE(F, Y) + MSE(F, T) + 2 grad(F, Y, T).

    Source: SAGE (CVPR 2025), with the weights of the published training code.
    """
    intensity = F.mse_loss(fused, rgb_luma) + F.mse_loss(fused, thermal)
    return intensity + 2 * joint_gradient(fused, rgb_luma, thermal)


def feature_cosine(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Sum over the features of the batch's mean of 1 - cos(s, t), each sample flattened. Source: SAGE.

    The cosine is taken in float32 at least, also under autocast.
    """
    terms = [
        1 - F.cosine_similarity(precise(s).flatten(1), precise(t).flatten(1)).mean()
        for s, t in zip(student, teacher, strict=True)
    ]
    return torch.stack(terms).sum()


def directional_gradient(fused: Tensor, target: Tensor) -> Tensor:
    """Mean |dx F - dx P| + mean |dy F - dy P|, forward differences: edges in place, sharp and of the right sign.

    It also forbids patterns: in a flat region of the target P every step of F costs.
    """
    dx = (fused - target).diff(dim=-1).abs().mean()
    dy = (fused - target).diff(dim=-2).abs().mean()
    return dx + dy


def detail_energy(image: Tensor) -> Tensor:
    """Mean of |dx| + |dy| over 5x5 pixels, forward differences: how much detail there is near by, wherever exactly."""
    dx = F.pad(image.diff(dim=-1).abs(), (0, 1, 0, 0))
    dy = F.pad(image.diff(dim=-2).abs(), (0, 0, 0, 1))
    return F.avg_pool2d(dx + dy, 5, stride=1, padding=2, count_include_pad=False)


def energy_gap(fused: Tensor, target: Tensor) -> Tensor:
    """Mean |E(F) - E(P)|, E the local detail energy.

    A small network that is not sure where each line of a texture runs draws it faint, since that costs least pixel by
    pixel; this term asks for as much texture as the target P has there.
    """
    return (detail_energy(fused) - detail_energy(target)).abs().mean()


def scd_gap(fused: Tensor, rgb_luma: Tensor, thermal: Tensor) -> Tensor:
    """Mean of 2 - [r(F - T, Y) + r(F - Y, T)], r the correlation over an image.

    Source: the sum of the correlations of differences, Aslantas and Bendes 2015; 0 where F differs from each source
    by exactly what the other shows.
    """
    return (2 - _correlation(fused - thermal, rgb_luma) - _correlation(fused - rgb_luma, thermal)).mean()


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    a, b = a.flatten(1), b.flatten(1)
    a, b = a - a.mean(dim=1, keepdim=True), b - b.mean(dim=1, keepdim=True)
    return (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-6)
