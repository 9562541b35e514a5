"""`sage_distilled`: the SAGE student, distilled from the published one's outputs, with SAGE's own picture terms.

The teacher only ever gives pictures and features; its weights are neither copied nor a start. The teacher in turn was
distilled by its authors from a network with SAM's priors, whose weights are not published.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sage_fusion_ros.networks.sage import SageStudent
from sage_fusion_ros.training.data import Batch
from sage_fusion_ros.training.losses import directional_gradient, feature_cosine, sage_student_terms

DEFAULT_TERMS = {"pixel": 10.0, "edges": 5.0, "features": 1.0, "sage": 0.02}


class SageDistilledRecipe:
    """Loss: pixel L1 |F - R|, L1 of its gradients, 1 - cos of five features, and the SAGE student's own terms.

    Args:
        teacher: A SAGE student in eval mode.
        terms: Weights of the four.
    """

    name = "sage_distilled"

    def __init__(self, teacher: SageStudent, terms: dict[str, float]) -> None:
        self._teacher = teacher.to(memory_format=torch.channels_last)
        self._weights = {**DEFAULT_TERMS, **terms}

    def to(self, device: torch.device) -> None:
        """See Recipe."""
        self._teacher.to(device)

    def terms(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """See Recipe; the batch's noise is shown to both, so that the student learns what the teacher does with it."""
        assert isinstance(network, SageStudent)
        with torch.no_grad():
            reference, teacher_features = self._teacher.features(batch.rgb_luma, batch.thermal)
        fused, features = network.features(batch.rgb_luma, batch.thermal)
        reference, fused = reference.float(), fused.float()
        weight = self._weights
        return {
            "pixel": weight["pixel"] * F.l1_loss(fused, reference),
            "edges": weight["edges"] * directional_gradient(fused, reference),
            "features": weight["features"] * feature_cosine(features, teacher_features),
            "sage": weight["sage"] * sage_student_terms(fused, batch.rgb_luma, batch.thermal, reference),
        }
