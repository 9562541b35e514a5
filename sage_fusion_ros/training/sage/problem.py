"""The two losses of SAGE: what the student (lower) and the teacher (upper) are to make small.

With F the student's picture, R the teacher's, Y and T the cameras' (the paper's terms, the released code's weights):

    student:  sources(F)                3 [3 MSE(F, Y) + 2 MSE(F, T)] + 27 grad(F, Y, T)
            + pixel(F, R)               12 MSE(F, R) + 9 grad(F, R, R)
            + 0.3 features              sum of 1 - cos over five features
            + contrast(F, R) / 3000     like the teacher's picture inside the masks, unlike one camera's
    teacher:  MSE(R, Y) + MSE(R, T) + 2 grad(R, Y, T)
            + 0.3 task                  what a frozen segmentation network makes of R, against integer labels
            + 0.1 [sources(R) + pixel(R, F) + contrast(R, F) / 3000] + 0.01 features

Each loss is differentiable in both networks; which of them is held is the solver's affair.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.training.frozen.feature_networks import FeatureNetwork
from sage_fusion_ros.training.frozen.task_network import TaskNetwork
from sage_fusion_ros.training.losses import (
    feature_cosine,
    reference_terms,
    source_terms,
    teacher_terms,
)
from sage_fusion_ros.training.sage.batch import SageBatch
from sage_fusion_ros.training.semantic_losses import contrastive_semantic, fused_rgb, task_loss

DEFAULT_TERMS = {"sources": 1.0, "pixel": 1.0, "features": 0.3, "contrast": 1 / 3000, "task": 0.3}
"""Weights of the student's four terms, and of the teacher's task."""
_TEACHER_SHARE = 0.1  # of the student's loss in the teacher's
_TEACHER_FEATURES = 0.01 / 0.3  # of the student's weight for features


class SageProblem:
    """The losses of a batch.

    Attributes:
        student, teacher, features, task: As given.

    Args:
        student: Gives a picture and five features from the two images.
        teacher: The same from the two images and the masked images.
        weights: Of the terms by name; missing ones keep DEFAULT_TERMS.
        features: Frozen network whose features tell how far apart two masked pictures are; needed for "contrast".
        task: Frozen segmentation network; needed for "task".

    Raises:
        ParameterError: A term has a weight and its network is missing, or the other way round.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        weights: Mapping[str, float],
        features: FeatureNetwork | None = None,
        task: TaskNetwork | None = None,
    ) -> None:
        self.student, self.teacher = student, teacher
        self._weight = {**DEFAULT_TERMS, **weights}
        for term, network, option in (("contrast", features, "--feature-network"), ("task", task, "--task-network")):
            if (self._weight[term] > 0) != (network is not None):
                raise ParameterError(
                    f"the settings give the term '{term}' a weight; give {option} a frozen network for it"
                    if network is None
                    else f"the settings give the term '{term}' no weight; leave {option} out, or give it one"
                )
        self.features, self.task = features, task

    def student_terms(self, batch: SageBatch) -> dict[str, Tensor]:
        """The student's loss as weighted scalars by name, to be summed."""
        fused, student_features = self._student(batch)
        if not any(self._weight[term] > 0 for term in ("pixel", "features", "contrast")):
            return {"sources": self._weight["sources"] * source_terms(fused, batch.rgb_luma, batch.thermal)}
        reference, teacher_features = self._teacher(batch)
        return {
            **self._picture(fused, reference, batch),
            "features": self._weight["features"] * _between(student_features, teacher_features),
        }

    def teacher_terms(self, batch: SageBatch) -> dict[str, Tensor]:
        """The teacher's."""
        reference, teacher_features = self._teacher(batch)
        fused, student_features = self._student(batch)
        terms = {"own": teacher_terms(reference, batch.rgb_luma, batch.thermal)}
        if self.task is not None:
            seen = fused_rgb(batch.rgb, batch.rgb_luma, reference)
            terms["task"] = self._weight["task"] * task_loss(self.task(seen), batch.labels)
        mutual = self._picture(reference, fused, batch)
        terms["mutual"] = _TEACHER_SHARE * torch.stack(list(mutual.values())).sum()
        weight = _TEACHER_FEATURES * self._weight["features"]
        terms["features"] = weight * _between(student_features, teacher_features)
        return {f"teacher_{name}": value for name, value in terms.items()}

    def notes(self) -> dict[str, str]:
        """Which frozen networks the losses rest on, for the model card."""
        given = {"feature_network": self.features, "task_network": self.task}
        return {term: network.name for term, network in given.items() if network is not None}

    def score(self, network: nn.Module, batch: SageBatch) -> dict[str, Tensor]:
        """How good a student's pictures are without asking the teacher, which changes as the run goes on.

        Returns:
            "sources", and "task" where there is a task network: unweighted scalars, lower is better.
        """
        fused, _ = network.features(batch.rgb_luma, batch.thermal)
        fused = fused.float()
        found = {"sources": source_terms(fused, batch.rgb_luma, batch.thermal)}
        if self.task is not None:
            found["task"] = task_loss(self.task(fused_rgb(batch.rgb, batch.rgb_luma, fused)), batch.labels)
        return found

    def weigh(self, score: Mapping[str, float]) -> float:
        """One figure from score's, with the weights of the terms."""
        return sum(self._weight[name] * value for name, value in score.items())

    def _student(self, batch: SageBatch) -> tuple[Tensor, tuple[Tensor, ...]]:
        fused, features = self.student.features(batch.rgb_luma, batch.thermal)
        return fused.float(), features

    def _teacher(self, batch: SageBatch) -> tuple[Tensor, tuple[Tensor, ...]]:
        rgb, thermal = shown(batch.rgb_luma, batch.rgb_masks), shown(batch.thermal, batch.thermal_masks)
        fused, features = self.teacher.features(batch.rgb_luma, batch.thermal, rgb, thermal)
        return fused.float(), features

    def _picture(self, mine: Tensor, other: Tensor, batch: SageBatch) -> dict[str, Tensor]:
        """What is asked of one network's picture, the other's being its reference."""
        weight = self._weight
        terms = {
            "sources": weight["sources"] * source_terms(mine, batch.rgb_luma, batch.thermal),
            "pixel": weight["pixel"] * reference_terms(mine, other),
        }
        if self.features is not None:
            masks = batch.rgb_masks, batch.thermal_masks
            distance = contrastive_semantic(self.features, mine, other, batch.rgb_luma, batch.thermal, *masks)
            terms["contrast"] = weight["contrast"] * distance
        return terms


def shown(image: Tensor, masks: Tensor) -> Tensor:
    """The image inside each mask; the whole image for a mask that is empty, as in the released code.

    Args:
        image: float32 (N, 1, H, W).
        masks: float32 (N, K, H, W) of 0 and 1.

    Returns:
        float32 (N, K, H, W).
    """
    empty = masks.flatten(2).amax(dim=2) == 0  # (N, K)
    return image * torch.where(empty[..., None, None], masks.new_ones(()), masks)


def _between(student: tuple[Tensor, ...], teacher: tuple[Tensor, ...]) -> Tensor:
    """feature_cosine; the teacher's features are brought to the sizes of a student on a coarser grid."""
    matched: list[Any] = [
        t if t.shape[2:] == s.shape[2:] else F.adaptive_avg_pool2d(t.float(), s.shape[2:])
        for s, t in zip(student, teacher, strict=True)
    ]
    return feature_cosine(student, matched)
