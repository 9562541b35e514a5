"""What one step of a run does; the Trainer knows the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.networks.registry import build_network
from sage_fusion_ros.training.config import TrainSettings
from sage_fusion_ros.training.distributed import Group, gradients
from sage_fusion_ros.training.recipes.base import Recipe

GRADIENT_NORM = 10.0  # L2 norm that gradients are cut to


class Learner(Protocol):
    """Networks and how they learn.

    Attributes:
        network: The one that is exported. The Trainer keeps its running mean.
    """

    network: nn.Module

    def update(self, step: int, batches: Sequence[Any]) -> dict[str, float]:
        """One step, the same in all processes.

        Args:
            step: Counted from 0.
            batches: This process's micro-batches, on its device.

        Returns:
            The terms of the loss by name, for the log.
        """

    def start_from(self, state: dict[str, Any]) -> None:
        """Takes the running mean of the weights of another run's checkpoint, and nothing of how it got there."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values from which the run goes on to the bit.

        Among them are "model", the network's weights, and "optimiser"; none has a name of the Trainer's (Trainer.save).
        """

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up a state; it may have other keys besides."""


class SingleLearner:
    """One network, one loss, AdamW.

    Gradients are cut to an L2 norm of 10. `bf16_share` and `batch_norm_share` are kept by step.

    Args:
        settings: Of the run. Its seed makes the first weights.
        recipe: The loss.
        group: The processes; one without it.
    """

    def __init__(self, settings: TrainSettings, recipe: Recipe, group: Group | None = None) -> None:
        self._settings, self._recipe, self._group = settings, recipe, group or Group()
        torch.manual_seed(settings.seed)
        network = build_network(settings.network)
        self.network = network.to(self._group.device, memory_format=torch.channels_last).train()
        if settings.learns:
            _hold_the_rest(self.network, settings.learns)
        recipe.to(self._group.device)
        self._optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )

    def update(self, step: int, batches: Sequence[Any]) -> dict[str, float]:
        """See Learner."""
        settings, device = self._settings, self._group.device.type
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate(settings, step)
        follow_batches(self.network, step < settings.batch_norm_share * settings.steps)
        low_precision = step < settings.bf16_share * settings.steps

        def terms(batch: Any) -> dict[str, torch.Tensor]:
            with torch.autocast(device, torch.bfloat16, enabled=low_precision):
                return self._recipe.terms(self.network, batch)

        seeds = draw_seeds(settings.seed, self._group, step, len(batches))
        means = gradients(self._group, [self.network], batches, terms, seeds)
        nn.utils.clip_grad_norm_(self.network.parameters(), GRADIENT_NORM)
        self._optimiser.step()
        return means

    def start_from(self, state: dict[str, Any]) -> None:
        """See Learner."""
        self.network.load_state_dict(state["ema"])

    def state_dict(self) -> dict[str, Any]:
        """See Learner."""
        return {"model": self.network.state_dict(), "optimiser": self._optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Learner."""
        self.network.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])


def _hold_the_rest(network: nn.Module, learns: tuple[str, ...]) -> None:
    names = {name.split(".")[0] for name, _ in network.named_parameters()}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith(learns))
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ParameterError(
            f"learns is {list(learns)}, with which no parameter begins; they begin with {', '.join(sorted(names))}"
        )


def learning_rate(settings: TrainSettings, step: int) -> float:
    """Linear warm-up, then half a cosine from learning_rate to learning_rate_end at the last step."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    span = settings.learning_rate - settings.learning_rate_end
    return settings.learning_rate_end + span * 0.5 * (1 + math.cos(math.pi * done))


def follow_batches(network: nn.Module, follow: bool) -> None:
    """Batch norms follow their batch, or keep their running statistics as at run time."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.train(follow)


def draw_seeds(seed: int, group: Group, step: int, count: int) -> list[int] | None:
    """Seeds of torch's random generators for a step's micro-batches, by their numbers.

    So a micro-batch draws the same whichever process does it. A single one a step needs none: there the generator runs
    on from step to step, and its state is in the checkpoint.
    """
    if group.size * count == 1:
        return None
    numbers = group.indices(step, count)
    return [int(np.random.SeedSequence([seed, 4, number]).generate_state(1)[0]) for number in numbers]
