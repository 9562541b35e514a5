"""A network that looks at one image: the image as its input, and what it makes of noise before it is trusted."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.engines.base import Array, Engine, Port
from sage_fusion_ros.engines.load import load_engine
from sage_fusion_ros.engines.models import ModelFolder, find_model
from sage_fusion_ros.engines.options import EngineOptions
from sage_fusion_ros.engines.shared import load_shared
from sage_fusion_ros.errors import ModelError
from sage_fusion_ros.pipeline.letterbox import Letterbox
from sage_fusion_ros.pipeline.preprocessing import Preprocessing

MULTIPLE = 32  # what the deepest grids of usual networks need
_IMAGE_TYPES = ("float32", "float16", "uint8")


@dataclass(frozen=True)
class NetworkOptions(EngineOptions):
    """How networks are found, run and warmed.

    Attributes:
        models_path: Folders searched before the package's own models/.
        warm_up_size: Height and width of the images to come.
        pairs: How many pairs of cameras share a network.
        workers: How many pairs of each are fused side by side, by as many copies of the network. Where either is more
            than one, the network may be called by several threads, each through what its `sharing` gives.
    """

    models_path: Sequence[str | Path] = ()
    warm_up_size: tuple[int, int] = (480, 640)
    pairs: int = 1
    workers: int = 1


USUAL = NetworkOptions()


@dataclass(frozen=True)
class Probe:
    """What a network takes, and what it made of noise: what a layout is found by.

    Attributes:
        path: The file.
        inputs: What it takes.
        outputs: What it gave, by name.
        height: Of the image it was shown.
        width: Likewise.
    """

    path: Path
    inputs: tuple[Port, ...]
    outputs: dict[str, Array] = field(default_factory=dict)
    height: int = 0
    width: int = 0

    def __str__(self) -> str:
        takes = ", ".join(map(str, self.inputs))
        gives = ", ".join(f"'{k}' {v.dtype} {'x'.join(map(str, v.shape))}" for k, v in self.outputs.items())
        return f"{self.path} takes {takes} and gives {gives or 'nothing'}"


class Network:
    """An engine that is shown images.

    Attributes:
        name: The model's name, or its file's.
        engine: What runs it.

    Args:
        model: A verified model folder, or an ONNX file without a card.
        options: How to run it.
        find: Told what the network made of noise, gives the preprocessing and the groups of outputs that will be
            asked for; raises ModelError where the network is not what is needed.

    Raises:
        ModelError: It is no such network, or gives values that are no numbers.
        EngineError: The device can't be had.
    """

    def __init__(
        self,
        model: ModelFolder | Path,
        options: NetworkOptions,
        find: Callable[[Probe], tuple[Preprocessing, Sequence[Sequence[str]]]],
    ) -> None:
        card = None if isinstance(model, Path) else model.card
        path = model if isinstance(model, Path) else model.path
        self.name = path.stem if card is None else card.name
        self._side = card.input_side if card else 0
        self._multiple = card.size_multiple if card else 1
        self._scratch: npt.NDArray[Any] = np.empty(0)
        self._box: Letterbox | None = None

        def warm_up(engine: Engine) -> None:
            self._image, self._sizes = _image_inputs(path, engine.inputs)
            height, width = self.net_size(*options.warm_up_size)
            noise = np.random.default_rng(0).uniform(0, 1, (1, 3, height, width))
            tensor = (noise * 255 if self._image.dtype == "uint8" else noise).astype(self._image.dtype)
            feeds = self._feeds(tensor)
            names = [port.name for port in engine.outputs]
            outputs = dict(zip(names, engine.run(feeds), strict=True))
            self._preprocessing, groups = find(Probe(path, engine.inputs, outputs, height, width))
            self._groups = [list(group) for group in groups]
            for group in self._groups:
                engine.run(feeds, group)
                engine.run(feeds, group)

        def call() -> tuple[dict[str, Array], Sequence[str]]:
            tensor = np.zeros((1, 3, *self.net_size(*options.warm_up_size)), self._image.dtype)
            return self._feeds(tensor), self._groups[-1]

        self.engine = load_shared(lambda: load_engine(model, options, warm_up), options.workers, options.pairs, call)
        self._check_numbers(path, options.warm_up_size)

    def _check_numbers(self, path: Path, size: tuple[int, int]) -> None:
        """Shows it noise the way images will be shown, which also readies the buffers; its answers must be numbers."""
        noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
        for group in self._groups:
            for name, output in zip(group, self.run(noise, group)[0], strict=True):
                if output.dtype.kind == "f" and not np.isfinite(output).all():
                    self.close()
                    raise ModelError(
                        f"{path} gives values in '{name}' that are no numbers (NaN or infinite) when shown noise; "
                        "a broken export, or float16 that runs out of its range"
                    )

    def net_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the network's input for an image's; see input_size."""
        return input_size(self._side, self._multiple, self._image.shape[2:], height, width)

    def run(self, rgb: npt.NDArray[np.uint8], outputs: Sequence[str]) -> tuple[list[Array], Letterbox]:
        """Shows the network an image.

        Args:
            rgb: uint8 HxWx3 RGB.
            outputs: Names of the outputs wanted; only these are computed.

        Returns:
            The outputs, and where the image lay in the input.

        Raises:
            ModelError: It fails, for one because it takes no image of this size.
        """
        box = self.letterbox(*rgb.shape[:2])
        image = self._preprocessing.place(rgb, box)
        feeds = self._feeds(self._to_tensor(image))
        try:
            return self.engine.run(feeds, outputs), box
        except Exception as error:  # the inference libraries' errors have no common public base
            raise ModelError(f"network {self.name} failed on an image of {box.width}x{box.height}: {error}") from error

    def letterbox(self, height: int, width: int) -> Letterbox:
        """Where an image of this size lies in the network's input."""
        if self._box is None or (self._box.height, self._box.width) != (height, width):
            net_height, net_width = self.net_size(height, width)
            upscale = bool(self._side) or None not in self._image.shape[2:]
            self._box = Letterbox.fit(height, width, net_height, net_width, self._preprocessing.anchor, upscale)
        return self._box

    def _to_tensor(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """uint8 HxWx3 RGB to 1x3xHxW in the network's order, values and type; the next call writes over it."""
        shape = (1, 3, *image.shape[:2])
        if self._scratch.shape != shape:
            self._scratch = np.empty(shape, np.uint8 if self._image.dtype == "uint8" else np.float32)
        self._preprocessing.fill(image, self._scratch[0])
        return self._scratch.astype(np.float16) if self._image.dtype == "float16" else self._scratch

    def _feeds(self, tensor: npt.NDArray[Any]) -> dict[str, Array]:
        feeds: dict[str, Array] = {self._image.name: tensor}
        if self._sizes is not None:
            # Boxes then come in pixels of the network's input; Letterbox alone takes them to the image.
            feeds[self._sizes.name] = np.array([[tensor.shape[3], tensor.shape[2]]], self._sizes.dtype)
        return feeds

    def sharing(self) -> Network:
        """The same network for another thread, with buffers of its own; see NetworkOptions.workers."""
        other = copy.copy(self)
        other._scratch, other._box = np.empty(0), None
        return other

    def close(self) -> None:
        """Frees the network."""
        self.engine.close()


def input_size(
    input_side: int, size_multiple: int, fixed: Sequence[int | None], height: int, width: int
) -> tuple[int, int]:
    """Height and width of a network's input for an image's.

    A size that the file fixes is taken. Otherwise the image is scaled so that its longer side is the card's input_side,
    or stays as it is, and is padded up to the card's size_multiple, or 32.

    Args:
        input_side: The card's, in pixels; 0: none.
        size_multiple: The card's; 1: none.
        fixed: Height and width as the file declares them; None where it leaves one open.
        height: Of the image.
        width: Likewise.
    """
    longest = max(height, width)
    if input_side:
        height, width = (max(1, side * input_side // longest) for side in (height, width))
    multiple = size_multiple if size_multiple > 1 else MULTIPLE
    rounded = (-(-side // multiple) * multiple for side in (height, width))
    net_height, net_width = (given or side for given, side in zip(fixed, rounded, strict=True))
    return net_height, net_width


def find_network(given: str | Path, models_path: Iterable[str | Path], task: str) -> ModelFolder | Path:
    """An ONNX file as it is, or a verified model folder by name or path.

    Raises:
        ModelError: Neither is there, or the folder's card is for another task.
    """
    path = Path(given).expanduser()
    if path.suffix == ".onnx" or path.is_file():
        if not path.is_file():
            raise ModelError(f"the network {path} does not exist; give an ONNX file, or the name of a model folder")
        return path
    return find_model(given, models_path, task=task)


def _image_inputs(path: Path, inputs: tuple[Port, ...]) -> tuple[Port, Port | None]:
    """The input for the image, and the one for its size that the deployed form of RT-DETR and D-FINE has.

    Raises:
        ModelError: There is no such input, or another one besides.
    """
    images = [port for port in inputs if len(port.shape) == 4]
    sizes = [port for port in inputs if port.dtype in ("int64", "int32") and port.shape in ((1, 2), (None, 2))]
    if len(images) == 1 and len(images) + len(sizes) == len(inputs) and len(sizes) <= 1:
        image = images[0]
        if image.dtype in _IMAGE_TYPES and image.shape[0] in (1, None) and image.shape[1] in (3, None):
            return image, sizes[0] if sizes else None
    raise ModelError(
        f"{path} takes {', '.join(map(str, inputs)) or 'nothing'}; expected one image, 1x3xHxW (N or H and W may be "
        f"open) of {', '.join(_IMAGE_TYPES)}, and beside it at most orig_target_sizes, int64 1x2"
    )
