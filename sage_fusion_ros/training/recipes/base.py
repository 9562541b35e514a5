"""What a recipe is."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Recipe(Protocol):
    """One way to train one network."""

    name: str

    def to(self, device: torch.device) -> None:
        """Moves the frozen networks that look on, if there are any."""

    def terms(self, network: nn.Module, batch: Any) -> dict[str, Tensor]:
        """The loss of a batch, as the recipe's sampler gives it: scalars by name, weighted, to be summed."""
