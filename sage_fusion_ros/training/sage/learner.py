"""One step of SAGE's co-training: student and teacher, by turns or with an unrolled step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sage_fusion_ros.training.bilevel import held, hypergradient, statistics_kept
from sage_fusion_ros.training.config import TrainSettings
from sage_fusion_ros.training.distributed import Group, gradients
from sage_fusion_ros.training.learner import GRADIENT_NORM, follow_batches, learning_rate
from sage_fusion_ros.training.sage.batch import SageBatch
from sage_fusion_ros.training.sage.problem import SageProblem


class BilevelLearner:
    """Trains the two networks of a problem. Even steps are the student's, odd ones the teacher's.

    Attributes:
        network: The student; what is exported.
        teacher: What it learns from.

    Args:
        problem: The networks and their losses.
        settings: Of the run; `settings.sage` says which solver.
        group: The processes that share the step; one without it.
    """

    def __init__(self, problem: SageProblem, settings: TrainSettings, group: Group | None = None) -> None:
        self.network, self.teacher = problem.student, problem.teacher
        self._problem, self._settings, self._group = problem, settings, group or Group()
        self._optimisers = [
            torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
            for network in (self.network, self.teacher)
        ]

    def update(self, step: int, batches: Sequence[SageBatch]) -> dict[str, float]:
        """One optimiser step of one of the networks; see Learner."""
        settings = self._settings
        rate = learning_rate(settings, step)
        share = settings.sage.teacher_learning_rate / settings.learning_rate
        follow_batches(self.network, step < settings.batch_norm_share * settings.steps)
        student_s_turn = step % 2 == 0 and step >= settings.sage.teacher_warmup
        network, optimiser = (
            (self.network, self._optimisers[0]) if student_s_turn else (self.teacher, self._optimisers[1])
        )
        for group in optimiser.param_groups:
            group["lr"] = rate if student_s_turn else rate * share

        def slopes(networks: Sequence[nn.Module], terms: Callable[[SageBatch], dict[str, Tensor]]) -> dict[str, float]:
            return gradients(self._group, networks, batches, self._in_precision(terms, step))

        problem = self._problem
        if student_s_turn:
            with held(self.teacher):
                values = slopes([self.network], problem.student_terms)
        elif settings.sage.solver == "unrolled" and step >= settings.sage.teacher_warmup:
            values = hypergradient(
                self.teacher, self.network, problem.teacher_terms, problem.student_terms, slopes, rate
            )
        else:
            with held(self.network), statistics_kept(self.network):
                values = slopes([self.teacher], problem.teacher_terms)
        nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_NORM)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return values

    def start_from(self, state: dict[str, Any]) -> None:
        """The student's weights, and the teacher's where the checkpoint has one of this width; see Learner."""
        self.network.load_state_dict(state["ema"])
        teacher, mine = state.get("teacher"), self.teacher.state_dict()
        if teacher is not None and all(teacher[name].shape == mine[name].shape for name in mine):
            self.teacher.load_state_dict(teacher)

    def state_dict(self) -> dict[str, Any]:
        """Both networks and both optimisers."""
        return {
            "model": self.network.state_dict(),
            "teacher": self.teacher.state_dict(),
            "optimiser": self._optimisers[0].state_dict(),
            "teacher_optimiser": self._optimisers[1].state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """What state_dict gave."""
        self.network.load_state_dict(state["model"])
        self.teacher.load_state_dict(state["teacher"])
        for optimiser, name in zip(self._optimisers, ("optimiser", "teacher_optimiser"), strict=True):
            optimiser.load_state_dict(state[name])

    def _in_precision(
        self, terms: Callable[[SageBatch], dict[str, Tensor]], step: int
    ) -> Callable[[SageBatch], dict[str, Tensor]]:
        low = step < self._settings.bf16_share * self._settings.steps

        def computed(batch: SageBatch) -> dict[str, Tensor]:
            with torch.autocast(self._group.device.type, torch.bfloat16, enabled=low):
                return terms(batch)

        return computed
