"""`sage_fast`: learns to draw `targets.fusion_target` of the clean pair, from the pair as the sensors give it.

A frozen detector may look on, so that what it sees in either camera stays readable in the fused picture.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sage_fusion_ros.training.data import Batch
from sage_fusion_ros.training.losses import directional_gradient, energy_gap, scd_gap
from sage_fusion_ros.training.reader import ReaderTerm
from sage_fusion_ros.training.targets import TargetSettings, fusion_target

DEFAULT_TERMS = {"pixel": 10.0, "edges": 10.0, "energy": 0.0, "scd": 0.0, "reading": 0.0}


class SageFastRecipe:
    """Loss: pixel L1 to the target, L1 of the gradients; optionally detail energy, SCD, reading.

    Args:
        target: How the target is made.
        terms: Weights of the terms.
        reader: What looks at the pictures, where "reading" has a weight.
    """

    name = "sage_fast"

    def __init__(self, target: TargetSettings, terms: dict[str, float], reader: ReaderTerm | None = None) -> None:
        self._target = target
        self._weights = {**DEFAULT_TERMS, **terms}
        self._reader = reader

    def to(self, device: torch.device) -> None:
        """See Recipe."""
        if self._reader is not None:
            self._reader.to(device)

    def terms(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """See Recipe."""
        fused = network(batch.rgb_luma, batch.thermal).float()
        target = fusion_target(batch.clean_rgb_luma, batch.clean_thermal, self._target)
        weight = self._weights
        terms = {
            "pixel": weight["pixel"] * F.l1_loss(fused, target),
            "edges": weight["edges"] * directional_gradient(fused, target),
        }
        if weight["energy"] > 0:
            terms["energy"] = weight["energy"] * energy_gap(fused, target)
        if weight["scd"] > 0:
            terms["scd"] = weight["scd"] * scd_gap(fused, batch.clean_rgb_luma, batch.clean_thermal)
        if self._reader is not None:
            terms["reading"] = weight["reading"] * self._reader(network, batch.whole)
        return terms
