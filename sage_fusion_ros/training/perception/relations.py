"""What is alike to one network shall be alike to another: knowledge passed on without matching feature by feature."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

POSITIONS = 768


def relation_gap(student: Tensor, teacher: Tensor, positions: int = POSITIONS) -> Tensor:
    """Mean squared difference of two tables of likeness: each place's features against each other place's.

    Places are drawn at random from all images of the batch together, so that a stair in one image is told from a car
    in another. Likeness is the correlation of the features, each channel less its mean over the places. The two need
    not have as many channels, so nothing has to be learnt to compare them, and where there are few images to learn
    from, the student takes over how a network that has seen many sorts them.

    Source: structured knowledge distillation, pair-wise term (Liu et al. 2019), there within one image.

    Args:
        student: float (N, C, h, w); brought to the teacher's size by averaging, or by nearest neighbours.
        teacher: float (N, D, h', w').
        positions: How many places, drawn from torch's generator.

    Returns:
        A scalar in 0..4.
    """
    if student.shape[2:] != teacher.shape[2:]:
        student = F.adaptive_avg_pool2d(student.float(), teacher.shape[2:])
    mine, theirs = (each.float().permute(0, 2, 3, 1).flatten(0, 2) for each in (student, teacher))  # (N h' w', C)
    chosen = torch.randint(len(theirs), (positions,), device="cpu").to(theirs.device)
    return F.mse_loss(_likeness(mine[chosen]), _likeness(theirs[chosen]))


def _likeness(features: Tensor) -> Tensor:
    """(M, C) to (M, M) in -1..1."""
    unit = F.normalize(features - features.mean(dim=0), dim=1)
    return unit @ unit.T
