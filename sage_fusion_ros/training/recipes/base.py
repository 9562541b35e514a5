"""What a recipe is."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from sage_fusion_ros.training.data import Batch


class Recipe(Protocol):
    """One way to train one network."""

    name: str

    def terms(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The loss of a batch: scalars by name, weighted, to be summed."""
