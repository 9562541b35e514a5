"""Checkpoints: everything a run needs to go on as if it had never stopped. Tensors and plain values only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from sage_fusion_ros.errors import ModelError, ParameterError

FORMAT = 1
_KEYS = {"format", "recipe", "step", "settings", "model", "ema", "optimiser", "torch_rng", "seconds"}


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes beside the old file first and then takes its place, so that a kill leaves one of the two whole."""
    beside = path.with_suffix(".partial")
    torch.save({"format": FORMAT, **state}, beside)
    os.replace(beside, path)


def load_checkpoint(path: Path, recipe: str | None = None) -> dict[str, Any]:
    """Reads a checkpoint.

    Args:
        path: The file.
        recipe: The recipe it must be of, or None for any.

    Raises:
        ModelError: Missing, unreadable, or no checkpoint of ours.
        ParameterError: Another recipe's.
    """
    if not path.is_file():
        raise ModelError(f"no checkpoint at {path}; give the checkpoint.pt of a run, or start without --resume")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ModelError(f"checkpoint {path} can't be read: {error}") from error
    if not isinstance(state, dict) or not state.keys() >= _KEYS or state["format"] != FORMAT:
        raise ModelError(f"{path} is no checkpoint of a training run")
    if recipe is not None and state["recipe"] != recipe:
        raise ParameterError(f"checkpoint {path} is of the recipe '{state['recipe']}'; '{recipe}' was asked for")
    return state
