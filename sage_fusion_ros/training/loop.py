"""The training loop: seeded, resumable to the bit on the CPU, stopped cleanly by SIGINT, on one process or several."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sage_fusion_ros.errors import ModelError, ParameterError, TrainingError
from sage_fusion_ros.training.best import Best
from sage_fusion_ros.training.checkpoint import differing_settings, load_checkpoint, save_checkpoint
from sage_fusion_ros.training.config import TrainSettings
from sage_fusion_ros.training.device import move
from sage_fusion_ros.training.distributed import Group
from sage_fusion_ros.training.interrupt import Interrupt
from sage_fusion_ros.training.learner import Learner, learning_rate
from sage_fusion_ros.training.progress import Bar
from sage_fusion_ros.training.run_log import RunLog

CHECKPOINT = "checkpoint.pt"
BEST = "best.pt"


class Trainer:
    """One run: steps, running mean of the weights, validation, log, and how it is saved and taken up again.

    Args:
        settings: Of the run.
        learner: What a step does; built anew, of the same settings.
        sampler: Its micro-batch for each number, counted from 0; see distributed for who does which.
        folder: Where checkpoint.pt, best.pt and the logs go.
        notes: Plain values for the model card, such as the sets and the teacher.
        group: The processes; one without it.
        validate: Scores a network in eval mode, without gradients: values by name, the first of which is the score, and
            lower is better. It is given the running mean of the weights, every `settings.validate_every` steps, in
            process 0 alone.

    Raises:
        ParameterError: The settings ask for validation, and there is none.
    """

    def __init__(
        self,
        settings: TrainSettings,
        learner: Learner,
        sampler: Callable[[int], Any],
        folder: Path,
        notes: dict[str, Any] | None = None,
        group: Group | None = None,
        validate: Callable[[nn.Module], dict[str, float]] | None = None,
    ) -> None:
        if settings.validate_every and validate is None:
            raise ParameterError(
                f"validate_every is {settings.validate_every}, but the recipe '{settings.recipe}' has no validation; "
                "set it to 0"
            )
        self.settings, self._sampler, self._folder = settings, sampler, folder
        self._learner, self._group, self._validate = learner, group or Group(), validate
        self._notes = notes or {}
        self._ema = {key: value.clone() for key, value in self.network.state_dict().items()}
        self.step = 0
        self.best = Best()
        self._terms: dict[str, float] = {}
        self._seconds = 0.0

    @property
    def network(self) -> nn.Module:
        """The network that is exported, as the last step left it."""
        return self._learner.network

    @property
    def out_of_patience(self) -> bool:
        """Whether the run has ended since its score gets no better."""
        return 0 < self.settings.patience <= self.best.without

    def start_from(self, checkpoint: Path) -> None:
        """Starts from the weights of another run of the same network, for a second stage or for a user's own pairs.

        Raises:
            ModelError, ParameterError: It is no checkpoint, or another network's.
        """
        state = self._group.share(lambda: load_checkpoint(checkpoint))
        if state["network"] != self.settings.network:
            raise ParameterError(
                f"checkpoint {checkpoint} is of the network '{state['network']}'; this run trains "
                f"'{self.settings.network}'"
            )
        _fill(self._learner.start_from, state, checkpoint)
        self._ema = {key: value.clone() for key, value in self.network.state_dict().items()}
        first = {"steps": state["step"], "seed": state["settings"]["seed"], "settings": state["settings"]}
        self._notes["first_stage"] = first

    def resume(self) -> None:
        """Takes up the folder's checkpoint. Settings that are newer than it count as having had their defaults.

        Raises:
            ModelError, ParameterError: There is none, it is damaged, of another recipe, of other settings or of another
                number of processes.
        """
        state = self._group.share(lambda: load_checkpoint(self._folder / CHECKPOINT, self.settings.recipe))
        if differing := differing_settings(state["settings"], self.settings):
            raise ParameterError(
                f"the run in {self._folder} has other settings ({', '.join(differing)}); "
                "resume it with its own, or start anew in another folder"
            )
        if (processes := state.get("processes", 1)) != self._group.size:
            raise ParameterError(
                f"the run in {self._folder} is of {processes} processes, not {self._group.size}; resume it with as "
                "many (torchrun --nproc_per_node), or give its checkpoint.pt to --start and another --out"
            )
        _fill(self._learner.load_state_dict, state, self._folder / CHECKPOINT)
        self._ema = move(state["ema"], self._group.device)
        self.step, self._seconds, self._notes = state["step"], state["seconds"], state.get("notes", {})
        self.best, self._terms = Best(**state.get("best", {})), state.get("terms", {})
        torch.set_rng_state(state["torch_rng"])
        if "cuda_rng" in state and self._group.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"], self._group.device)

    def run(self, until: int | None = None) -> bool:
        """Trains to the last step, or to `until`, or until patience ends.

        Returns:
            True when the run is finished, False when it was stopped before.

        Raises:
            ModelError, TrainingError: A checkpoint can't be written; the log can't, or a loss is no number.
        """
        settings = self.settings
        last = min(settings.steps, until if until is not None else settings.steps)
        started = time.monotonic() - self._seconds
        log = self._open_log()
        bar = Bar(
            settings.recipe, self.step, settings.steps, settings.validate_every, settings.patience > 0, self._group.main
        )
        saved = None
        try:
            # The first SIGINT ends the loop after the running step, in all processes.
            with Interrupt() as interrupt:
                while self.step < last and not self.out_of_patience and not self._group.any([interrupt.asked])[0]:
                    self._one_step()
                    self._seconds = time.monotonic() - started
                    if log and (self.step % settings.log_every == 0 or self.step == last):
                        log.training(self.step, learning_rate(settings, self.step - 1), self._terms, self._seconds)
                    bar.stepped(self._words())
                    if settings.validate_every and self.step % settings.validate_every == 0:
                        self._score(log)
                        bar.validated()
                    if self.step % settings.checkpoint_every == 0:
                        self.save()
                        saved = self.step
            if saved != self.step:
                self.save()
        finally:
            bar.close()
            if log:
                log.close()
        return self.step >= settings.steps or self.out_of_patience

    def save(self, name: str = CHECKPOINT) -> None:
        """Writes a checkpoint into the folder, in process 0.

        Raises:
            ModelError: It can't be written; an earlier one of this name is left as it was.
        """
        if not self._group.main:
            return
        state = {
            "recipe": self.settings.recipe,
            "network": self.settings.network,
            "step": self.step,
            "settings": self.settings.as_dict(),
            "ema": self._ema,
            "torch_rng": torch.get_rng_state(),
            "seconds": self._seconds,
            "notes": self._notes,
            "processes": self._group.size,
            "best": self.best.as_dict(),
            "terms": self._terms,
            **self._learner.state_dict(),
        }
        if self._group.device.type == "cuda":
            state["cuda_rng"] = torch.cuda.get_rng_state(self._group.device)
        save_checkpoint(self._folder / name, state)

    def _one_step(self) -> None:
        numbers = self._group.indices(self.step, self.settings.accumulate)
        batches = [move(self._sampler(number), self._group.device) for number in numbers]
        # Terms that come in some steps only keep their last value in the log.
        self._terms = {**self._terms, **self._learner.update(self.step, batches)}
        if lost := [name for name, value in self._terms.items() if not math.isfinite(value)]:
            raise TrainingError(
                f"at step {self.step + 1} the loss's {', '.join(lost)} is no finite number; the last checkpoint in "
                f"{self._folder} is from before. Lower the learning rate, or set bf16_share to 0"
            )
        self._follow()
        self.step += 1

    @torch.no_grad()
    def _follow(self) -> None:
        """Moves the running mean towards the weights; in the first steps faster, so that it forgets the start."""
        decay = min(self.settings.ema_decay, (1 + self.step) / (10 + self.step))
        for key, value in self.network.state_dict().items():
            if value.dtype.is_floating_point and self.settings.ema_decay > 0:
                self._ema[key].lerp_(value, 1 - decay)
            else:
                self._ema[key].copy_(value)

    def _score(self, log: RunLog | None) -> None:
        """Validates the running mean, and keeps it as best.pt where its score is the best so far."""
        values = self._group.share(self._validated)
        better = self.best.judge(self.step, next(iter(values.values())))
        if log:
            log.validation(self.step, values, self.best.score)
        if better:
            self.save(BEST)

    def _validated(self) -> dict[str, float]:
        assert self._validate is not None
        network = copy.deepcopy(self.network)
        network.load_state_dict(self._ema)
        devices = [self._group.device] if self._group.device.type == "cuda" else []
        # What validation draws at random does not change what training draws.
        with torch.no_grad(), torch.random.fork_rng(devices):
            return {name: float(value) for name, value in self._validate(network.eval()).items()}

    def _words(self) -> str:
        words = f"loss={sum(self._terms.values()):.4f}"
        if self.best.step:
            words += f", best={self.best.score:.4f} at {self.best.step}"
        if self.settings.patience:
            words += f", patience {self.settings.patience - self.best.without}"
        return words

    def _open_log(self) -> RunLog | None:
        if not self._group.main:
            return None
        return RunLog(self._folder, self.step)


def _fill(load: Callable[[dict[str, Any]], None], state: dict[str, Any], path: Path) -> None:
    try:
        load(state)
    except (KeyError, RuntimeError, ValueError) as error:
        raise ModelError(
            f"checkpoint {path} holds other networks than this run's: {str(error).splitlines()[0]}; was it made by "
            "another version, or with other settings?"
        ) from error
