"""The training loop: seeded, resumable to the bit, stopped cleanly by SIGINT."""

from __future__ import annotations

import csv
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.networks.registry import build_network
from sage_fusion_ros.training.checkpoint import load_checkpoint, save_checkpoint
from sage_fusion_ros.training.config import TrainSettings
from sage_fusion_ros.training.recipes.base import Recipe

CHECKPOINT = "checkpoint.pt"
LOG = "log.csv"


class Trainer:
    """One run: network, optimiser, running mean and step, and how they are saved.

    Args:
        settings: Of the run.
        recipe: Its loss.
        sampler: Its batch for each step, counted from 0.
        folder: Where checkpoint.pt and log.csv go.
        notes: Plain values for the model card, such as the sets and the teacher.
    """

    def __init__(
        self,
        settings: TrainSettings,
        recipe: Recipe,
        sampler: Callable[[int], Any],
        folder: Path,
        notes: dict[str, Any] | None = None,
    ) -> None:
        self.settings, self._recipe, self._sampler, self._folder = settings, recipe, sampler, folder
        self._notes = notes or {}
        torch.manual_seed(settings.seed)
        self.network = build_network(settings.recipe).to(memory_format=torch.channels_last).train()
        self._optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self._ema = {key: value.clone() for key, value in self.network.state_dict().items()}
        self.step = 0
        self._seconds = 0.0
        self._stop = False

    def start_from(self, checkpoint: Path) -> None:
        """Starts from the weights of another run of the same recipe, for a second stage or for a user's own pairs.

        Raises:
            ModelError, ParameterError: It is no checkpoint, or another recipe's.
        """
        state = load_checkpoint(checkpoint, self.settings.recipe)
        self.network.load_state_dict(state["ema"])
        self._ema = {key: value.clone() for key, value in state["ema"].items()}
        first = {"steps": state["step"], "seed": state["settings"]["seed"], "settings": state["settings"]}
        self._notes["first_stage"] = first

    def resume(self) -> None:
        """Takes up the folder's checkpoint.

        Raises:
            ModelError, ParameterError: There is none, it is damaged, of another recipe or of other settings.
        """
        state = load_checkpoint(self._folder / CHECKPOINT, self.settings.recipe)
        mine = self.settings.as_dict()
        differing = sorted(key for key in mine if state["settings"].get(key) != mine[key])
        if differing:
            raise ParameterError(
                f"the run in {self._folder} has other settings ({', '.join(differing)}); "
                "resume it with its own, or start anew in another folder"
            )
        self.network.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._ema = state["ema"]
        self.step, self._seconds, self._notes = state["step"], state["seconds"], state.get("notes", {})
        torch.set_rng_state(state["torch_rng"])
        _cut_log(self._folder / LOG, self.step)

    def run(self, until: int | None = None) -> bool:
        """Trains to the last step, or to `until`.

        Returns:
            True when the run is finished, False when it was stopped before.
        """
        last = min(self.settings.steps, until if until is not None else self.settings.steps)
        started = time.monotonic() - self._seconds
        self._folder.mkdir(parents=True, exist_ok=True)
        bar = tqdm(
            total=self.settings.steps, initial=self.step, desc=self.settings.recipe, unit="step", file=sys.stderr
        )
        with bar, _log_writer(self._folder / LOG) as log, self._interruptible():
            while self.step < last and not self._stop:
                terms = self._one_step()
                self.step += 1
                self._seconds = time.monotonic() - started
                bar.update()
                if self.step % self.settings.log_every == 0 or self.step == last:
                    log(self.step, self._optimiser.param_groups[0]["lr"], terms, self._seconds)
                    bar.set_postfix(loss=f"{sum(terms.values()):.4f}")
                if self.step % self.settings.checkpoint_every == 0:
                    self.save()
        self.save()
        return self.step >= self.settings.steps

    def save(self) -> None:
        """Writes checkpoint.pt."""
        state = {
            "recipe": self.settings.recipe,
            "step": self.step,
            "settings": self.settings.as_dict(),
            "model": self.network.state_dict(),
            "ema": self._ema,
            "optimiser": self._optimiser.state_dict(),
            "torch_rng": torch.get_rng_state(),
            "seconds": self._seconds,
            "notes": self._notes,
        }
        save_checkpoint(self._folder / CHECKPOINT, state)

    def _one_step(self) -> dict[str, float]:
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate(self.settings, self.step)
        low_precision = self.step < self.settings.bf16_share * self.settings.steps
        follow_batch = self.step < self.settings.batch_norm_share * self.settings.steps
        for module in self.network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train(follow_batch)
        with torch.autocast("cpu", torch.bfloat16, enabled=low_precision):
            terms = self._recipe.terms(self.network, self._sampler(self.step))
            loss = torch.stack(list(terms.values())).sum()
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
        self._optimiser.step()
        self._follow()
        return {name: float(value.detach()) for name, value in terms.items()}

    @torch.no_grad()
    def _follow(self) -> None:
        """Moves the running mean towards the weights; in the first steps faster, so that it forgets the start."""
        decay = min(self.settings.ema_decay, (1 + self.step) / (10 + self.step))
        for key, value in self.network.state_dict().items():
            if value.dtype.is_floating_point and self.settings.ema_decay > 0:
                self._ema[key].lerp_(value, 1 - decay)
            else:
                self._ema[key].copy_(value)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """SIGINT ends the loop after the running step; a second one ends it at once."""

        def stop(_signal: int, _frame: object) -> None:
            self._stop = True
            signal.signal(signal.SIGINT, before)

        before = signal.getsignal(signal.SIGINT)
        signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def learning_rate(settings: TrainSettings, step: int) -> float:
    """Linear warm-up, then half a cosine from learning_rate to learning_rate_end at the last step."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    span = settings.learning_rate - settings.learning_rate_end
    return settings.learning_rate_end + span * 0.5 * (1 + math.cos(math.pi * done))


@contextmanager
def _log_writer(path: Path) -> Iterator:
    """Appends rows (step, learning rate, loss, each term, seconds) to a CSV file."""
    with path.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)

        def write(step: int, rate: float, terms: dict[str, float], seconds: float) -> None:
            if stream.tell() == 0:
                writer.writerow(["step", "learning_rate", "loss", *terms, "seconds"])
            values = [f"{value:.6g}" for value in (rate, sum(terms.values()), *terms.values())]
            writer.writerow([step, *values, f"{seconds:.1f}"])
            stream.flush()

        yield write


def _cut_log(path: Path, step: int) -> None:
    """Drops the rows a killed run wrote after its last checkpoint; they are about to be written again."""
    if path.is_file():
        rows = path.read_text(encoding="utf-8").splitlines()
        kept = rows[:1] + [row for row in rows[1:] if row and int(row.split(",")[0]) <= step]
        path.write_text("".join(f"{row}\n" for row in kept), encoding="utf-8")
