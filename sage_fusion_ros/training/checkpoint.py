"""Checkpoints: everything a run needs to go on as if it had never stopped. Tensors and plain values only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from sage_fusion_ros.errors import ModelError, ParameterError
from sage_fusion_ros.training.config import TrainSettings

FORMAT = 1
_KEYS = {"format", "recipe", "step", "settings", "model", "ema", "optimiser", "torch_rng", "seconds"}


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes beside the old file, down to the disk, and then takes its place: a kill leaves one of the two whole.

    Raises:
        ModelError: It can't be written, as on a full disk. The old file is left as it was.
    """
    beside = path.with_suffix(".partial")
    try:
        with beside.open("wb") as stream:
            torch.save({"format": FORMAT, **state}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:  # torch hides the reason of a failed write in a RuntimeError
        beside.unlink(missing_ok=True)
        earlier = f"the earlier {path.name} is whole" if path.is_file() else f"there is no earlier {path.name}"
        raise ModelError(
            f"the checkpoint {path} can't be written: {_reason(error)}; {earlier}. Make room, then go on with --resume"
        ) from error


def _reason(error: BaseException) -> str:
    """What the system said, wherever it stands among the causes."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return str(error).splitlines()[0]


def _sync_folder(folder: Path) -> None:
    """So that the new name, too, outlives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
    return {"network": state["recipe"], **state}  # a recipe had one network, of its own name, before runs told it


def differing_settings(stored: dict[str, Any], settings: TrainSettings) -> list[str]:
    """Names of the settings, as in "perception.pool", that a checkpoint's run had otherwise.

    A setting that the checkpoint does not know, since it is newer, counts as having had its default. The device is none
    of them: a run may go on elsewhere.

    Args:
        stored: The checkpoint's.
        settings: To compare.
    """
    defaults = TrainSettings(settings.recipe).as_dict()
    return [name for name in _differing(stored, settings.as_dict(), defaults) if name != "device"]


def _differing(stored: dict[str, Any], mine: dict[str, Any], defaults: dict[str, Any], within: str = "") -> list[str]:
    names: list[str] = []
    for key in sorted(stored.keys() | mine.keys()):
        default = defaults.get(key)
        theirs, ours = stored.get(key, default), mine.get(key)
        if isinstance(theirs, dict) and isinstance(ours, dict):
            names += _differing(theirs, ours, default if isinstance(default, dict) else {}, f"{within}{key}.")
        elif theirs != ours:
            names.append(f"{within}{key}")
    return names
