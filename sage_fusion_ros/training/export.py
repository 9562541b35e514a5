"""From a checkpoint to a model folder: ONNX file, card and thinned log. Nothing is written unless ONNX equals torch."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from sage_fusion_ros import safe_yaml
from sage_fusion_ros.engines.card import ModelCard
from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.networks.registry import build_network
from sage_fusion_ros.training.checkpoint import load_checkpoint
from sage_fusion_ros.training.model_folder import write_model_folder
from sage_fusion_ros.training.onnx_file import interface_of
from sage_fusion_ros.training.run_log import LOG

LOG_ROWS = 300
_NOTES = {"description", "licence", "version", "training", "measured"}


def export_checkpoint(
    checkpoint: Path,
    folder: Path,
    notes: Sequence[Path] = (),
    average_with: Sequence[Path] = (),
    size: tuple[int, int] | None = None,
) -> ModelCard:
    """Writes model.onnx, card.yaml and, where the run's log is beside the checkpoint, training_log.csv.

    Args:
        checkpoint: Of any recipe; the running mean of its weights is exported.
        folder: Model folder; its name becomes the model's. Made where it is missing.
        notes: YAML files with what only people know: description, licence, version, training, measured. Sections of
            several files are joined; where two say something, the later one counts.
        average_with: Checkpoints of the same network, of runs that started from one another; the plain mean of all
            their weights is exported, which lies between what they are good at (Wortsman et al. 2022, model soups).
        size: Height and width that the file shall fix, for the perception network; free when None.

    Raises:
        ModelError: No checkpoint, the ONNX file's results differ from the network's, or the folder can't be written to.
        ParameterError: The notes can't be read or have unknown keys, or a checkpoint is of another network.
    """
    state = load_checkpoint(checkpoint)
    others = [_load_other(path, state["network"]) for path in average_with]
    text = _join_notes(notes)
    network = build_network(state["network"])
    network.load_state_dict(_mean([state["ema"], *(other["ema"] for other in others)]))
    network.eval()
    interface = interface_of(network)
    if size and (interface.task != "perception" or any(side % network.size_multiple for side in size)):
        raise ParameterError(
            f"a fixed size {size[0]}x{size[1]} was asked for; only the perception network is exported with one, and "
            f"its sides must be multiples of {network.size_multiple}"
        )
    rows = _read_log(checkpoint.parent / LOG)
    settings = dict(state["settings"])
    training = {
        **text.get("training", {}),
        "recipe": state["recipe"],
        "seed": settings["seed"],
        "steps": state["step"],
        "minutes": round(state["seconds"] / 60, 1),
        **({"last_loss": _last_loss(rows)} if rows else {}),
        **_plain(state.get("notes", {})),
        **({"averaged_with": [_run_of(other) for other in others]} if others else {}),
        "settings": _plain(settings),
    }
    card = write_model_folder(
        network,
        folder,
        licence=str(text.get("licence", "not stated")),
        description=str(text.get("description", f"Trained by the recipe {state['recipe']}.")),
        version=str(text.get("version", "1")),
        training=training,
        measured=text.get("measured", {}),
        input_side=settings["perception"]["input_side"] if interface.task == "perception" else 0,
        size=size,
    )
    if rows:
        _write_log(folder / "training_log.csv", rows)
    return card


def _load_other(path: Path, network: str) -> dict[str, Any]:
    state = load_checkpoint(path)
    if state["network"] != network:
        raise ParameterError(
            f"checkpoint {path} is of the network '{state['network']}'; it can't be averaged with one of '{network}'"
        )
    return state


def _join_notes(paths: Sequence[Path]) -> dict[str, Any]:
    joined: dict[str, Any] = {}
    for path in paths:
        for key, value in _read_notes(path).items():
            joined[key] = {**joined[key], **value} if isinstance(joined.get(key), dict) else value
    return joined


def _read_notes(path: Path) -> dict[str, Any]:
    try:
        notes = safe_yaml.read(path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ParameterError(f"card notes {path} can't be read: {error}") from error
    if not isinstance(notes, dict) or not notes.keys() <= _NOTES:
        raise ParameterError(f"card notes {path} must be a mapping with keys of {', '.join(sorted(_NOTES))}")
    for key in ("training", "measured"):
        if not isinstance(notes.get(key, {}), dict):
            raise ParameterError(f"card notes {path}: {key} must be a mapping; it is {type(notes[key]).__name__}")
    return notes


def _mean(weights: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Tensor by tensor; whole numbers, such as a count of batches, are the first one's."""
    return {
        name: torch.stack([each[name] for each in weights]).mean(dim=0) if tensor.is_floating_point() else tensor
        for name, tensor in weights[0].items()
    }


def _run_of(state: dict[str, Any]) -> dict[str, Any]:
    return {"steps": state["step"], "seed": state["settings"]["seed"], "settings": _plain(dict(state["settings"]))}


def _read_log(path: Path) -> list[list[str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))


def _write_log(path: Path, rows: list[list[str]]) -> None:
    """The header, every n-th row and the last one: LOG_ROWS rows at most and one more."""
    stride = max(1, -(-(len(rows) - 1) // LOG_ROWS))
    kept = rows[:1] + rows[1::stride] + ([rows[-1]] if (len(rows) - 2) % stride else [])
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(kept)


def _last_loss(rows: list[list[str]]) -> float:
    """Mean of the loss over the last twentieth of the log."""
    column = rows[0].index("loss")
    values = [float(row[column]) for row in rows[1:]]
    return round(float(np.mean(values[-max(1, len(values) // 20) :])), 5)


def _plain(value: Any) -> Any:
    """Tuples as lists, so that the card stays plain YAML."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
