"""From a checkpoint to a model folder: ONNX file, card and thinned log. Nothing is written unless ONNX equals torch."""

from __future__ import annotations

import csv
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
import yaml
from torch import nn

from sage_fusion_ros.engines.card import ModelCard, sha256_of, write_card
from sage_fusion_ros.errors import ModelError, ParameterError
from sage_fusion_ros.networks.fold import fold_batch_norm
from sage_fusion_ros.networks.registry import build_network, count_parameters
from sage_fusion_ros.training.checkpoint import load_checkpoint
from sage_fusion_ros.training.loop import LOG

OPSET = 17
TOLERANCE = 1e-4
LOG_ROWS = 300
_SIZES = ((1, 64, 64), (1, 480, 640), (2, 61, 83), (1, 37, 130), (3, 16, 8))
_NOTES = {"description", "licence", "version", "training", "measured"}


def export_checkpoint(
    checkpoint: Path, folder: Path, notes: Sequence[Path] = (), average_with: Sequence[Path] = ()
) -> ModelCard:
    """Writes model.onnx, card.yaml and, where the run's log is beside the checkpoint, training_log.csv.

    Args:
        checkpoint: Of any recipe; the running mean of its weights is exported.
        folder: Model folder; its name becomes the model's. Made where it is missing.
        notes: YAML files with what only people know: description, licence, version, training, measured. Sections of
            several files are joined; where two say something, the later one counts.
        average_with: Checkpoints of the same recipe, of runs that started from one another; the plain mean of all their
            weights is exported, which lies between what they are good at (Wortsman et al. 2022, model soups).

    Raises:
        ModelError: No checkpoint, or the ONNX file's results differ from the network's.
        ParameterError: The notes can't be read or have unknown keys, or a checkpoint is of another recipe.
    """
    state = load_checkpoint(checkpoint)
    others = [load_checkpoint(path, state["recipe"]) for path in average_with]
    text = _join_notes(notes)
    network = build_network(state["recipe"])
    network.load_state_dict(_mean([state["ema"], *(other["ema"] for other in others)]))
    network.eval()
    rows = _read_log(checkpoint.parent / LOG)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "model.onnx"
        write_onnx(network, file)
        difference = check_against_torch(network, file)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, folder / "model.onnx")
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
    card = ModelCard(
        name=folder.resolve().name,
        task="fusion",
        sha256=sha256_of(folder / "model.onnx"),
        licence=str(text.get("licence", "not stated")),
        description=str(text.get("description", f"Trained by the recipe {state['recipe']}.")),
        version=str(text.get("version", "1")),
        size_multiple=network.size_multiple,
        parameters=count_parameters(network),
        training=training,
        measured={**text.get("measured", {}), "onnx_against_torch_max_abs": float(f"{difference:.1e}")},
    )
    write_card(folder, card)
    if rows:
        _write_log(folder / "training_log.csv", rows)
    return card


def write_onnx(network: nn.Module, path: Path) -> None:
    """Writes a network, batch norms folded, as one ONNX file with free batch, height and width."""
    folded = fold_batch_norm(network).to(memory_format=torch.contiguous_format)
    example = (torch.rand(1, 1, 64, 64), torch.rand(1, 1, 64, 64))
    free = {0: "batch", 2: "height", 3: "width"}
    with warnings.catch_warnings():
        # The exporter by tracing is the one that writes a plain single file of the operators chosen here.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            folded,
            example,
            str(path),
            input_names=["rgb_luma", "thermal"],
            output_names=["fused_luma"],
            dynamic_axes={"rgb_luma": free, "thermal": free, "fused_luma": free},
            opset_version=OPSET,
            dynamo=False,
        )
    onnx.checker.check_model(str(path))


def check_against_torch(network: nn.Module, path: Path, tolerance: float = TOLERANCE) -> float:
    """The greatest difference between the ONNX file in ONNX Runtime (CPU) and the network, over several sizes.

    Sizes are rounded up to the network's multiple, as the runtime pads them.

    Raises:
        ModelError: The difference is above the tolerance, or a shape or range is wrong.
    """
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    multiple = network.size_multiple
    worst = 0.0
    for count, height, width in _SIZES:
        shape = (count, 1, height + -height % multiple, width + -width % multiple)
        pair = [rng.random(shape, dtype=np.float32) for _ in range(2)]
        (result,) = session.run(["fused_luma"], {"rgb_luma": pair[0], "thermal": pair[1]})
        with torch.no_grad():
            expected = network(*(torch.from_numpy(image) for image in pair)).numpy()
        if result.shape != shape or result.dtype != np.float32 or result.min() < 0 or result.max() > 1:
            raise ModelError(f"the exported model gives {result.dtype} {result.shape} for {shape}; not exported")
        worst = max(worst, float(np.abs(result - expected).max()))
        if not worst <= tolerance:
            raise ModelError(
                f"the exported model differs from the network by {worst:.1e} at {shape}, more than {tolerance:.0e}; "
                "not exported"
            )
    return worst


def _join_notes(paths: Sequence[Path]) -> dict[str, Any]:
    joined: dict[str, Any] = {}
    for path in paths:
        for key, value in _read_notes(path).items():
            joined[key] = {**joined[key], **value} if isinstance(joined.get(key), dict) else value
    return joined


def _read_notes(path: Path) -> dict[str, Any]:
    try:
        notes = yaml.safe_load(path.read_text(encoding="utf-8"))
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
