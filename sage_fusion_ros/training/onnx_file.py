"""A network as one ONNX file, and the proof that the file computes what the network does."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from sage_fusion_ros.engines.card import FUSION_INPUTS, FUSION_OUTPUTS, Tensor
from sage_fusion_ros.errors import ModelError
from sage_fusion_ros.networks.fold import fold_batch_norm
from sage_fusion_ros.networks.perception import Perception
from sage_fusion_ros.pipeline.classes import CITYSCAPES_CLASSES, DRIVING_CLASSES

OPSET = 17
TOLERANCE = 1e-4
_SIZES = ((1, 64, 64), (1, 480, 640), (2, 61, 83), (1, 37, 130), (3, 16, 8))


@dataclass(frozen=True)
class Interface:
    """What a kind of network takes and gives.

    Attributes:
        task: Of the model card.
        inputs, outputs: Of the model card.
        channels: Of every input.
        axes: Names of each output's free axes, by axis.
        mask_classes, detection_classes: Of the model card.
    """

    task: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    channels: int
    axes: tuple[dict[int, str], ...]
    mask_classes: tuple[str, ...] = ()
    detection_classes: tuple[str, ...] = ()


_FREE = {0: "batch", 2: "height", 3: "width"}
FUSION = Interface("fusion", FUSION_INPUTS, FUSION_OUTPUTS, 1, (_FREE,))
PERCEPTION = Interface(
    "perception",
    (Tensor("image"),),
    # The ranges are what is usual, not limits: logits are free, and a box may reach beyond the image.
    (Tensor("mask_logits", range=(-50.0, 50.0)), Tensor("boxes", range=(0.0, 8192.0))),
    3,
    ({0: "batch", 2: "mask_height", 3: "mask_width"}, {0: "batch", 2: "cells"}),
    CITYSCAPES_CLASSES,
    DRIVING_CLASSES,
)


def interface_of(network: nn.Module) -> Interface:
    """What a network of ours takes and gives."""
    return PERCEPTION if isinstance(network, Perception) else FUSION


def write_onnx(network: nn.Module, path: Path, size: tuple[int, int] | None = None) -> None:
    """Writes a network, batch norms folded, as one ONNX file.

    Args:
        network: In any mode; it is left as it was.
        path: The file.
        size: Height and width to fix, with a batch of one, for runtimes that want that; free when None.
    """
    interface = interface_of(network)
    folded = fold_batch_norm(network).to(memory_format=torch.contiguous_format)
    height, width = size or (64, 64)
    example = tuple(torch.rand(1, interface.channels, height, width) for _ in interface.inputs)
    names = [[tensor.name for tensor in tensors] for tensors in (interface.inputs, interface.outputs)]
    free = dict.fromkeys(names[0], _FREE) | dict(zip(names[1], interface.axes, strict=True))
    with warnings.catch_warnings():
        # The exporter by tracing is the one that writes a plain single file of the operators chosen here.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            folded,
            example,
            str(path),
            input_names=names[0],
            output_names=names[1],
            dynamic_axes={} if size else free,
            opset_version=OPSET,
            dynamo=False,
        )
    onnx.checker.check_model(str(path))


def check_against_torch(
    network: nn.Module, path: Path, tolerance: float = TOLERANCE, size: tuple[int, int] | None = None
) -> float:
    """The greatest difference between the ONNX file in ONNX Runtime (CPU) and the network, over several sizes.

    Sizes are rounded up to the network's multiple, as the runtime pads them. Values beyond 1, such as pixels, count
    relative to their size.

    Args:
        network: In eval mode.
        path: The file.
        tolerance: Greatest difference allowed.
        size: The height and width that the file fixes, if it does.

    Raises:
        ModelError: The difference is above the tolerance, a shape, type or range is wrong, or values are no numbers.
    """
    interface = interface_of(network)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    multiple = network.size_multiple
    worst = 0.0
    for count, height, width in [(1, *size)] if size else _SIZES:
        shape = (count, interface.channels, height + -height % multiple, width + -width % multiple)
        feeds = {tensor.name: rng.random(shape, dtype=np.float32) for tensor in interface.inputs}
        results = session.run([tensor.name for tensor in interface.outputs], feeds)
        with torch.no_grad():
            expected = network(*map(torch.from_numpy, feeds.values()))
        expected = expected if isinstance(expected, tuple) else (expected,)
        for result, wanted in zip(results, (each.numpy() for each in expected), strict=True):
            outside = interface is FUSION and (result.min() < 0 or result.max() > 1)
            if result.shape != wanted.shape or result.dtype != np.float32 or outside:
                raise ModelError(f"the exported model gives {result.dtype} {result.shape} for {shape}; not exported")
            if not np.isfinite(wanted).all():
                raise ModelError(f"the network gives values that are no numbers for {shape}; not exported")
            worst = max(worst, float((np.abs(result - wanted) / np.maximum(np.abs(wanted), 1)).max()))
        if not worst <= tolerance:
            raise ModelError(
                f"the exported model differs from the network by {worst:.1e} at {shape}, more than {tolerance:.0e}; "
                "not exported"
            )
    return worst
