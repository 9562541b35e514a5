"""Losses of the perception network: which cells answer for which box, and how far their answers are off.

Assignment and scores follow TOOD (Feng et al. 2021): a cell answers for a box if it lies in it and is among the ten
that fit it best, by score^a x IoU^b; what it is to score is how well it fits, times how sure the label is. So a box
that a detector saw with a score of 0.4 is learnt as 0.4, and the network takes over how sure its teachers are.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sage_fusion_ros.networks.perception import BOX_CLASSES, MASK_CLASSES, corners_of
from sage_fusion_ros.pipeline.classes import CITYSCAPES_CLASSES, UNLABELLED
from sage_fusion_ros.training.perception.crops import PerceptionBatch
from sage_fusion_ros.training.perception.label_maps import NO_TRAFFIC

CANDIDATES = 10
_SCORE_POWER, _IOU_POWER = 0.5, 4.0
_LEAST_HALF_SIDE = 6.0  # pixels: a thing smaller than a cell still has a cell that answers for it
_EPSILON = 1e-7
# Small things count more, or the mask would be of road and sky alone.
_TRAFFIC = ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
# Buildings are the ones whose labels are doubted and left out, while trees and skies beside them stay.
_CLASS_WEIGHTS = {"person": 2.0, "rider": 2.0, "bicycle": 2.0, "motorcycle": 2.0, "pole": 2.0, "building": 2.0}


def mask_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy over the labelled pixels, a scalar; 0 where none is labelled.

    Where only NO_TRAFFIC is known, it is that of all other classes together: -log(1 - p(people and vehicles)).

    Args:
        logits: float32 (N, 19, h, w).
        mask: int64 (N, h, w), NO_TRAFFIC, or 255 unknown.
    """
    weights = logits.new_tensor([_CLASS_WEIGHTS.get(name, 1.0) for name in CITYSCAPES_CLASSES])
    assert len(weights) == MASK_CLASSES
    empty = mask == NO_TRAFFIC
    named = torch.where(empty, UNLABELLED, mask)
    weight = torch.where(named == UNLABELLED, 0.0, weights[named.clamp_max(MASK_CLASSES - 1)])  # (N, h, w)
    loss = F.cross_entropy(logits, named, weights, ignore_index=UNLABELLED, reduction="sum")
    others = [index for index, name in enumerate(CITYSCAPES_CLASSES) if name not in _TRAFFIC]
    neither = logits.logsumexp(dim=1) - logits[:, others].logsumexp(dim=1)  # (N, h, w)
    return (loss + (neither * empty).sum()) / (weight.sum() + empty.sum()).clamp_min(1.0)


def box_losses(distances: Tensor, logits: Tensor, centres: Tensor, batch: PerceptionBatch) -> tuple[Tensor, Tensor]:
    """Loss of the scores and loss of the corners, two scalars.

    Binary cross-entropy of all scores against what `assign` wants, and 1 - GIoU (Rezatofighi et al. 2019) of the
    answering cells, both over the sum of the wanted scores.

    Args:
        distances: float32 (N, cells, 4), see Perception.heads.
        logits: float32 (N, cells, 6).
        centres: float32 (cells, 2).
        batch: What is there.
    """
    corners = corners_of(distances, centres)
    wanted, boxes = assign(corners.detach(), logits.detach().sigmoid(), centres, batch)
    total = wanted.sum().clamp_min(1.0)
    scores = F.binary_cross_entropy_with_logits(logits, wanted, reduction="sum") / total
    weight = wanted.sum(dim=2)  # (N, cells)
    answering = weight > 0
    overlap = generalised_iou(corners[answering], boxes[answering])
    return scores, ((1 - overlap) * weight[answering]).sum() / total


@torch.no_grad()
def assign(corners: Tensor, scores: Tensor, centres: Tensor, batch: PerceptionBatch) -> tuple[Tensor, Tensor]:
    """What each cell is to score, and the box it answers for.

    Args:
        corners: float32 (N, cells, 4), what the cells say now.
        scores: float32 (N, cells, 6) in 0..1.
        centres: float32 (cells, 2).
        batch: The boxes that are there.

    Returns:
        float32 (N, cells, 6) in 0..1, at most one class of a cell above 0; float32 (N, cells, 4), 0 where a cell
        answers for none.
    """
    boxes, classes, confidence = batch.boxes, batch.classes, batch.confidence  # (N, M, 4), (N, M), (N, M)
    overlap = pairwise_iou(boxes, corners)  # (N, M, cells)
    of_class = scores.transpose(1, 2).gather(1, classes[..., None].expand(-1, -1, scores.shape[1]))  # (N, M, cells)
    fit = of_class.clamp_min(_EPSILON) ** _SCORE_POWER * overlap**_IOU_POWER
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2  # (N, M, 2)
    half = ((boxes[..., 2:] - boxes[..., :2]) / 2).clamp_min(_LEAST_HALF_SIDE)
    away = (centres[None, None] - middle[:, :, None]).abs()  # (N, M, cells, 2)
    inside = (away < half[:, :, None]).all(dim=3) & (confidence > 0)[..., None]
    fit = torch.where(inside, fit, fit.new_zeros(())) + inside * _EPSILON * (1 / (1 + away.sum(dim=3)))
    best = fit.topk(min(CANDIDATES, fit.shape[2]), dim=2)
    chosen = torch.zeros_like(fit).scatter_(2, best.indices, best.values)  # fit of the chosen, 0 elsewhere
    # A cell that two boxes want answers for the one it fits better.
    strongest, owner = chosen.max(dim=1)  # (N, cells)
    chosen = chosen * (torch.arange(chosen.shape[1], device=chosen.device)[None, :, None] == owner[:, None])
    # The best cell of a box is to score as high as its box is good, the others in proportion.
    top = chosen.amax(dim=2, keepdim=True).clamp_min(_EPSILON**2)
    quality = (overlap * (chosen > 0)).amax(dim=2, keepdim=True)
    value = (chosen / top * quality).amax(dim=1)  # (N, cells)
    value = value * confidence.gather(1, owner) * (strongest > 0)
    wanted = F.one_hot(classes.gather(1, owner), BOX_CLASSES) * value[..., None]
    mine = boxes.gather(1, owner[..., None].expand(-1, -1, 4)) * (value > 0)[..., None]
    return wanted, mine


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of all pairs: (N, A, 4) and (N, B, 4) to (N, A, B)."""
    low = torch.maximum(a[:, :, None, :2], b[:, None, :, :2])
    high = torch.minimum(a[:, :, None, 2:], b[:, None, :, 2:])
    common = (high - low).clamp_min(0).prod(dim=3)
    areas = [(box[..., 2:] - box[..., :2]).clamp_min(0).prod(dim=2) for box in (a, b)]
    return common / (areas[0][:, :, None] + areas[1][:, None] - common).clamp_min(_EPSILON)


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """GIoU of boxes pair by pair, (cells,) in -1..1."""
    common = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp_min(0).prod(dim=1)
    union = (a[:, 2:] - a[:, :2]).prod(dim=1) + (b[:, 2:] - b[:, :2]).prod(dim=1) - common
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(dim=1)
    return common / union.clamp_min(_EPSILON) - (hull - union) / hull.clamp_min(_EPSILON)
