"""A network as a model folder: ONNX file and card. Nothing is written unless ONNX equals torch."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from torch import nn

from sage_fusion_ros.engines.card import ModelCard, sha256_of, write_card
from sage_fusion_ros.errors import ModelError
from sage_fusion_ros.networks.registry import count_parameters
from sage_fusion_ros.training.onnx_file import check_against_torch, interface_of, write_onnx


def write_model_folder(
    network: nn.Module,
    folder: Path,
    *,
    licence: str,
    description: str,
    version: str,
    training: dict[str, Any],
    measured: dict[str, Any] | None = None,
    input_side: int = 0,
    size: tuple[int, int] | None = None,
) -> ModelCard:
    """Writes model.onnx and card.yaml.

    Args:
        network: One of ours, in eval mode.
        folder: Model folder; its name becomes the model's. Made where it is missing; the two files are replaced.
        licence: Of the card, as are the next five.
        description: One paragraph for people.
        version: Of the weights.
        training: How and on what it was trained.
        measured: The greatest difference between ONNX Runtime and torch is added to it.
        input_side: The longer side that images are scaled to, 0 for none.
        size: Height and width that the file shall fix; free when None.

    Returns:
        The card.

    Raises:
        ModelError: The ONNX file's results differ from the network's, or the folder can't be written to.
    """
    interface = interface_of(network)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "model.onnx"
        write_onnx(network, file, size)
        difference = check_against_torch(network, file, size=size)
        card = ModelCard(
            name=folder.resolve().name,
            task=interface.task,
            sha256=sha256_of(file),
            licence=licence,
            description=description,
            version=version,
            inputs=interface.inputs,
            outputs=interface.outputs,
            mask_classes=interface.mask_classes,
            detection_classes=interface.detection_classes,
            input_side=input_side,
            size_multiple=network.size_multiple,
            parameters=count_parameters(network),
            training=training,
            measured={**(measured or {}), "onnx_against_torch_max_abs": float(f"{difference:.1e}")},
        )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / "model.onnx")
            write_card(folder, card)
        except OSError as error:
            raise ModelError(f"model folder {folder} can't be written: {error.strerror or error}") from error
    return card
