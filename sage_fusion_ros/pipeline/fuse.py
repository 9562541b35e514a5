"""Fuses one RGB and one thermal image with a fusion model: the network sees luma, colour is carried around it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.engines.base import Engine
from sage_fusion_ros.engines.card import FUSION_INPUTS, FUSION_OUTPUTS, ModelCard
from sage_fusion_ros.engines.models import ModelFolder, find_model
from sage_fusion_ros.engines.onnx_engine import OnnxEngine
from sage_fusion_ros.errors import ImageFormatError, ModelError

_TO_UNIT = np.float32(1 / 255)
_MIN_SIDE = 8  # below this the networks' pooling has nothing left to pool


def recolour(
    rgb: npt.NDArray[np.uint8], before: npt.NDArray[np.float32], after: npt.NDArray[np.float32]
) -> npt.NDArray[np.uint8]:
    """Carries colour from the RGB image to the fused one: the change of luma is added to R, G and B alike.

    That equals replacing Y in YCbCr while Cb and Cr stay, without their rounding.

    Args:
        rgb: uint8 HxWx3.
        before: Its luma, float32 HxW in 0..1.
        after: The fused luma, likewise.

    Returns:
        uint8 HxWx3, clipped.
    """
    # Few calls on whole images: between any two of them another thread may take the interpreter away.
    change = cv2.addWeighted(after, 255, before, -255, 0, dtype=cv2.CV_16S)  # rounded
    return np.asarray(cv2.add(rgb, cv2.merge([change] * 3), dtype=cv2.CV_8U), np.uint8)


class Fuser:
    """A fusion model behind the call `fuse`.

    The network fuses luma Y = 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601) with the thermal image; `recolour` does
    the rest.
    """

    def __init__(self, engine: Engine, card: ModelCard) -> None:
        if (card.inputs, card.outputs) != (FUSION_INPUTS, FUSION_OUTPUTS):
            raise ModelError(
                f"model {card.name} takes {[t.name for t in card.inputs]} and gives {[t.name for t in card.outputs]}; "
                f"a fusion model takes {[t.name for t in FUSION_INPUTS]} and gives "
                f"{[t.name for t in FUSION_OUTPUTS]}, all float32 in 0..1"
            )
        self.engine = engine
        self.card = card
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
        """
        self._check(rgb.shape[:2] if rgb.ndim == 3 and rgb.shape[2] == 3 else rgb.shape, thermal)
        luma = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
        return recolour(rgb, *self._run(luma, thermal))

    def fuse_luma(self, rgb_luma: npt.NDArray[np.uint8], thermal: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """What the network makes of one registered pair, before colour is carried over.

        Args:
            rgb_luma: uint8 HxW, BT.601.
            thermal: uint8 HxW, of the same height and width, white is hot.

        Returns:
            uint8 HxW, rounded.

        Raises:
            ImageFormatError: The sizes differ or are too small for the network.
        """
        self._check(rgb_luma.shape, thermal)
        _, after = self._run(rgb_luma, thermal)
        return np.asarray(np.clip(np.rint(after * np.float32(255)), 0, 255), np.uint8)

    def _run(
        self, luma: npt.NDArray[np.uint8], thermal: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Luma before and after fusion, float32 HxW in 0..1; the next call writes over the first."""
        height, width = thermal.shape
        feeds = {"rgb_luma": self._to_tensor("rgb_luma", luma), "thermal": self._to_tensor("thermal", thermal)}
        fused = self.engine.run(feeds)[0]
        return feeds["rgb_luma"][0, 0, :height, :width], fused[0, 0, :height, :width]

    def _check(self, rgb_shape: tuple[int, ...], thermal: npt.NDArray[np.uint8]) -> None:
        height, width = thermal.shape
        if rgb_shape != (height, width):
            raise ImageFormatError(f"RGB is {rgb_shape} and thermal is {thermal.shape}; register the pair first")
        if min(height, width) < _MIN_SIDE:
            raise ImageFormatError(f"size {width}x{height} is too small to fuse; each side needs {_MIN_SIDE} pixels")

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

    def close(self) -> None:
        """Frees the model."""
        self.engine.close()


def load_fuser(
    model: str | Path,
    *,
    device: str = "auto",
    models_path: Iterable[str | Path] = (),
    allow_cpu: bool = False,
    threads: int = 0,
    spinning: bool = False,
    warm_up_size: tuple[int, int] = (480, 640),
) -> Fuser:
    """Finds, verifies, loads and warms a fusion model.

    Args:
        model: Name or folder.
        device: "auto", "cuda", "tensorrt" or "cpu".
        models_path: Folders searched before the package's own models/.
        allow_cpu: Take the CPU where the GPU that was asked for can't be had.
        threads: CPU threads inside an operator; 0 takes every core.
        spinning: Let idle threads spin.
        warm_up_size: Height and width of the warm-up pair.

    Raises:
        ModelError: The model is missing, damaged or no fusion model.
        EngineError: The device can't be had.
    """
    folder = find_model(model, models_path, task="fusion")
    engine = OnnxEngine(
        folder,
        device,
        warm_up=lambda engine: _warm_up(engine, folder, warm_up_size),
        allow_cpu=allow_cpu,
        threads=threads,
        spinning=spinning,
    )
    fuser = Fuser(engine, folder.card)
    # The engine is warm; the colour path and its buffers are not, and the first real pair should not pay for them.
    fuser.fuse(np.zeros((*warm_up_size, 3), np.uint8), np.zeros(warm_up_size, np.uint8))
    return fuser


def _warm_up(engine: Engine, model: ModelFolder, size: tuple[int, int]) -> None:
    """Runs the engine on noise of a pair's size.

    Raises:
        ModelError: What comes out is of another size, or no numbers.
    """
    height, width = (-(-side // model.card.size_multiple) * model.card.size_multiple for side in size)
    rng = np.random.default_rng(0)
    feeds = {
        tensor.name: rng.uniform(*tensor.range, (1, 1, height, width)).astype(tensor.dtype)
        for tensor in model.card.inputs
    }
    for _ in range(3):
        outputs = engine.run(feeds)
    for tensor, output in zip(model.card.outputs, outputs, strict=True):
        if output.shape[-2:] != (height, width) or not np.isfinite(output).all():
            raise ModelError(
                f"model file {model.path} gave '{tensor.name}' of shape {output.shape} for a {width}x{height} pair; "
                "expected finite values in the pair's size"
            )
