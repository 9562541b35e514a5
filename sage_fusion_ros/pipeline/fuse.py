"""Fuses one RGB and one thermal image with a fusion model: the network sees luma, colour is carried around it."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.engines.base import Engine
from sage_fusion_ros.engines.card import FUSION_INPUTS, FUSION_OUTPUTS, ModelCard
from sage_fusion_ros.engines.load import load_engine
from sage_fusion_ros.engines.models import ModelFolder, find_model
from sage_fusion_ros.engines.shared import load_shared
from sage_fusion_ros.errors import ImageFormatError, ModelError
from sage_fusion_ros.pipeline.colour import find_colour
from sage_fusion_ros.pipeline.network import USUAL, NetworkOptions

_TO_UNIT = np.float32(1 / 255)
_MIN_SIDE = 8  # below this the networks' pooling has nothing left to pool


class Fuser:
    """A fusion model behind the call `fuse`.

    The network fuses luma with the thermal image; the colour formula does the rest.

    Attributes:
        engine: As given, like the others.
        card: Likewise.
        colour: Likewise.
        warm_size: Height and width of the pairs to come, where they are known.

    Args:
        engine: Runs the network.
        card: Its card.
        colour: "standard", or "published" for the formula of SAGE's own code; see colour.py.

    Raises:
        ModelError: The card's tensors are not those of a fusion model.
        ParameterError: No such colour formula.
    """

    def __init__(self, engine: Engine, card: ModelCard, colour: str = "standard") -> None:
        if (card.inputs, card.outputs) != (FUSION_INPUTS, FUSION_OUTPUTS):
            raise ModelError(
                f"model {card.name} takes {[t.name for t in card.inputs]} and gives {[t.name for t in card.outputs]}; "
                f"a fusion model takes {[t.name for t in FUSION_INPUTS]} and gives "
                f"{[t.name for t in FUSION_OUTPUTS]}, all float32 in 0..1"
            )
        self.engine = engine
        self.card = card
        self.colour = colour
        self.warm_size: tuple[int, int] | None = None
        self._colour = find_colour(colour)
        self._scratch: dict[str, npt.NDArray[Any]] = {}

    def fuse(self, rgb: npt.NDArray[np.uint8], thermal: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Fuses one registered pair.

        Args:
            rgb: uint8 HxWx3 RGB.
            thermal: uint8 HxW, of the same height and width, white is hot.

        Returns:
            uint8 HxWx3 RGB.

        Raises:
            ImageFormatError: The sizes differ or are too small for the network.
            ModelError: The network gives values that are no numbers.
        """
        self.check(rgb.shape[:2] if rgb.ndim == 3 and rgb.shape[2] == 3 else rgb.shape, thermal)
        return self._colour.recolour(rgb, *self._run(self._colour.luma(rgb), thermal))

    def fuse_luma(self, rgb_luma: npt.NDArray[np.uint8], thermal: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """What the network makes of one registered pair, before colour is carried over.

        Args:
            rgb_luma: uint8 HxW, BT.601.
            thermal: uint8 HxW, of the same height and width, white is hot.

        Returns:
            uint8 HxW, rounded.

        Raises:
            ImageFormatError: The sizes differ or are too small for the network.
            ModelError: The network gives values that are no numbers.
        """
        self.check(rgb_luma.shape, thermal)
        _, after = self._run(rgb_luma, thermal)
        return np.asarray(np.clip(np.rint(after * np.float32(255)), 0, 255), np.uint8)

    def _run(
        self, luma: npt.NDArray[np.uint8], thermal: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Luma before and after fusion, float32 HxW in 0..1; the next call writes over the first."""
        height, width = thermal.shape
        feeds = {"rgb_luma": self._to_tensor("rgb_luma", luma), "thermal": self._to_tensor("thermal", thermal)}
        fused = self.engine.run(feeds)[0]
        if not math.isfinite(float(fused.sum())):  # cast to bytes, NaN would go out as black
            raise self.no_numbers(width, height)
        return feeds["rgb_luma"][0, 0, :height, :width], fused[0, 0, :height, :width]

    def check(self, rgb_shape: tuple[int, ...], thermal: npt.NDArray[np.uint8]) -> None:
        """Refuses a pair of two sizes, or of one too small for the network.

        Raises:
            ImageFormatError: It is such a pair.
        """
        height, width = thermal.shape
        if rgb_shape != (height, width):
            raise ImageFormatError(f"RGB is {rgb_shape} and thermal is {thermal.shape}; register the pair first")
        if min(height, width) < _MIN_SIDE:
            raise ImageFormatError(f"size {width}x{height} is too small to fuse; each side needs {_MIN_SIDE} pixels")

    def no_numbers(self, width: int, height: int) -> ModelError:
        """The error for a pair of this size of which the network made something that is no number."""
        return ModelError(
            f"model {self.card.name} gave no numbers (NaN or infinite) for a {width}x{height} pair; "
            "a broken export, or float16 that runs out of its range"
        )

    def _to_tensor(self, name: str, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """uint8 HxW in 0..255 to float32 1x1xHxW in 0..1, edge-padded to the card's multiple."""
        multiple = self.card.size_multiple
        height, width = image.shape
        bottom, right = -height % multiple, -width % multiple
        if bottom or right:
            image = np.asarray(cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE), np.uint8)
        tensor = self._buffer(name, image.shape, np.float32)
        np.multiply(image, _TO_UNIT, out=tensor)
        return tensor[None, None]

    def _buffer(self, name: str, shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
        buffer = self._scratch.get(name)
        if buffer is None or buffer.shape != shape:
            buffer = self._scratch[name] = np.empty(shape, dtype)
        return buffer

    def sharing(self) -> Fuser:
        """The same model for another thread, with buffers of its own; see NetworkOptions.workers."""
        other = copy.copy(self)
        other._scratch = {}
        return other

    def close(self) -> None:
        """Frees the model."""
        self.engine.close()


def load_fuser(
    model: str | Path,
    options: NetworkOptions = USUAL,
    colour: str = "standard",
) -> Fuser:
    """Finds, verifies, loads and warms a fusion model.

    Args:
        model: Name or folder.
        options: Where to look for it and how to run it.
        colour: Formula for the colours of the fused image, "standard" or "published"; see colour.py.

    Raises:
        ModelError: The model is missing, damaged or no fusion model.
        ParameterError: No such colour formula.
        EngineError: The device can't be had.
    """
    folder = find_model(model, options.models_path, task="fusion")
    size = options.warm_up_size
    engine = load_shared(
        lambda: load_engine(folder, options, lambda engine: _warm_up(engine, folder, size)),
        options.workers,
        options.pairs,
        lambda: (_noise(folder, size), None),
    )
    fuser = Fuser(engine, folder.card, colour)
    fuser.warm_size = size
    # The engine is warm; the colour path and its buffers are not, and the first real pair should not pay for them.
    fuser.fuse(np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8))
    return fuser


def _warm_up(engine: Engine, model: ModelFolder, size: tuple[int, int]) -> None:
    """Runs the engine on noise of a pair's size.

    Raises:
        ModelError: What comes out is of another size, or no numbers.
    """
    feeds = _noise(model, size)
    height, width = next(iter(feeds.values())).shape[2:]
    for _ in range(3):
        outputs = engine.run(feeds)
    for tensor, output in zip(model.card.outputs, outputs, strict=True):
        if output.shape[-2:] != (height, width) or not np.isfinite(output).all():
            raise ModelError(
                f"model file {model.path} gave '{tensor.name}' of shape {output.shape} for a {width}x{height} pair; "
                "expected finite values in the pair's size"
            )


def _noise(model: ModelFolder, size: tuple[int, int]) -> dict[str, npt.NDArray[Any]]:
    """Something to warm the network with, of a pair's size padded to the card's multiple."""
    height, width = (-(-side // model.card.size_multiple) * model.card.size_multiple for side in size)
    rng = np.random.default_rng(0)
    return {
        tensor.name: rng.uniform(*tensor.range, (1, 1, height, width)).astype(tensor.dtype)
        for tensor in model.card.inputs
    }
