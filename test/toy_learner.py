"""A learner of a few weights, for tests of what a run does around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sage_fusion_ros.training.config import TrainSettings
from sage_fusion_ros.training.distributed import Group, gradients


class ToyLearner:
    """A batch norm and a line, fitted to x -> 2 x; draws from torch's generator as it goes."""

    def __init__(self, settings: TrainSettings, group: Group | None = None) -> None:
        torch.manual_seed(settings.seed)
        self._group = group or Group()
        self.network = nn.Sequential(nn.BatchNorm1d(1), nn.Linear(1, 1))
        self._optimiser = torch.optim.AdamW(self.network.parameters(), lr=0.05)

    def update(self, step: int, batches: Sequence[Tensor]) -> dict[str, float]:
        means = gradients(self._group, [self.network], batches, self.terms)
        self._optimiser.step()
        return means

    def terms(self, batch: Tensor) -> dict[str, Tensor]:
        noisy = self.network(batch + 0.01 * torch.randn_like(batch))
        return {"square": (noisy - 2 * batch).square().mean()}

    def start_from(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["ema"])

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.network.state_dict(), "optimiser": self._optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])


def toy_batch(number: int) -> Tensor:
    """float32 (8, 1), its micro-batch of a number."""
    return torch.randn(8, 1, generator=torch.Generator().manual_seed(number))


def toy_settings(**changes: Any) -> TrainSettings:
    """Six steps, of a recipe whose name is all that counts here."""
    given = {"seed": 3, "steps": 6, "ema_decay": 0.9, "checkpoint_every": 2, "log_every": 1, "device": "cpu", **changes}
    return TrainSettings("sage_fast", **given)
