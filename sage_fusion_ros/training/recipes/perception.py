"""`perception`: mask and boxes of fused images, learnt from label maps, drawn boxes and what frozen detectors see."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sage_fusion_ros.networks.perception import Perception
from sage_fusion_ros.training.frozen.feature_networks import FeatureNetwork
from sage_fusion_ros.training.perception.crops import PerceptionBatch
from sage_fusion_ros.training.perception.losses import box_losses, mask_loss
from sage_fusion_ros.training.perception.relations import relation_gap

DEFAULT_TERMS = {"mask": 1.0, "scores": 1.0, "corners": 2.0, "relations": 0.0}


class PerceptionRecipe:
    """Loss: cross-entropy of the mask, binary cross-entropy of the boxes' scores, 1 - GIoU of their corners.

    Where "relations" has a weight, what is alike to a frozen detector shall be alike to the network (see relations).

    Args:
        terms: Weights of the four.
        hints: The frozen detector's features, for the term "relations".
    """

    name = "perception"

    def __init__(self, terms: dict[str, float], hints: FeatureNetwork | None = None) -> None:
        self._weights = {**DEFAULT_TERMS, **terms}
        self._hints = hints

    def to(self, device: torch.device) -> None:
        """See Recipe; the hints follow the pictures."""

    def terms(self, network: nn.Module, batch: PerceptionBatch) -> dict[str, Tensor]:
        """See Recipe."""
        assert isinstance(network, Perception)
        quarter, levels = network.pyramid(batch.image)
        mask, distances, logits, centres = network.read(batch.image, quarter, levels)
        scores, corners = box_losses(distances.float(), logits.float(), centres, batch)
        weight = self._weights
        terms = {
            "mask": weight["mask"] * mask_loss(mask.float(), batch.mask),
            "scores": weight["scores"] * scores,
            "corners": weight["corners"] * corners,
        }
        if self._hints is not None:
            with torch.no_grad():
                hints = self._hints(batch.rgb)
            gaps = [relation_gap(level[: len(batch.rgb)], hint) for hint in hints for level in levels[:2]]
            terms["relations"] = weight["relations"] * torch.stack(gaps).mean()
        return terms
