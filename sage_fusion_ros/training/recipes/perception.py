"""`perception`: mask and boxes of fused images, learnt from label maps, drawn boxes and what frozen detectors see."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sage_fusion_ros.networks.perception import Perception
from sage_fusion_ros.training.perception.crops import PerceptionBatch
from sage_fusion_ros.training.perception.losses import box_losses, mask_loss

DEFAULT_TERMS = {"mask": 1.0, "scores": 1.0, "corners": 2.0}


class PerceptionRecipe:
    """Loss: cross-entropy of the mask, binary cross-entropy of the boxes' scores, 1 - GIoU of their corners.

    Args:
        terms: Weights of the three.
    """

    name = "perception"

    def __init__(self, terms: dict[str, float]) -> None:
        self._weights = {**DEFAULT_TERMS, **terms}

    def to(self, device: torch.device) -> None:
        """See Recipe; nobody looks on."""

    def terms(self, network: nn.Module, batch: PerceptionBatch) -> dict[str, Tensor]:
        """See Recipe."""
        assert isinstance(network, Perception)
        mask, distances, logits, centres = network.heads(batch.image)
        scores, corners = box_losses(distances.float(), logits.float(), centres, batch)
        weight = self._weights
        return {
            "mask": weight["mask"] * mask_loss(mask.float(), batch.mask),
            "scores": weight["scores"] * scores,
            "corners": weight["corners"] * corners,
        }
