"""The mask of an image: a segmenter's logits or ids, brought to the image's pixels."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.engines.base import Array
from sage_fusion_ros.engines.models import ModelFolder
from sage_fusion_ros.errors import ModelError
from sage_fusion_ros.pipeline.classes import UNLABELLED, named_classes
from sage_fusion_ros.pipeline.letterbox import Letterbox
from sage_fusion_ros.pipeline.network import Network, NetworkOptions, Probe, find_network
from sage_fusion_ros.pipeline.preprocessing import Preprocessing

if TYPE_CHECKING:
    from sage_fusion_ros.pipeline.fusion_pipeline import Stopwatch

# What it gives; "_unit" where it wants RGB in 0..1 instead of ImageNet's mean and deviation.
SEGMENTATION_LAYOUTS = ("logits", "ids", "logits_unit", "ids_unit")


@dataclass(frozen=True)
class MaskHead:
    """The output of a network that is a mask.

    Attributes:
        output: Its name.
        classes: How many there are.
    """

    output: str
    classes: int

    def decode(self, output: Array, box: Letterbox) -> npt.NDArray[np.uint8]:
        """Logits or ids over the network's input to ids in the image's size.

        Args:
            output: Logits 1xCxhxw, or whole numbers 1xhxw or 1x1xhxw.
            box: Where the image lay in the input.

        Returns:
            uint8 HxW ids; UNLABELLED where the network gave an id that has no name.
        """
        # The class is chosen on the network's own grid: on the image's, it would cost tens of times as much.
        if output.dtype.kind == "f":
            return box.sample(output[0].argmax(axis=0).astype(np.uint8))
        ids = output.reshape(output.shape[-2:])
        if ids.size and not (ids.min() >= 0 and ids.max() < self.classes):
            ids = np.where((ids >= 0) & (ids < self.classes), ids, UNLABELLED)
        return box.sample(ids.astype(np.uint8))


def find_mask(probe: Probe, classes: int, layout: str = "auto") -> tuple[MaskHead, Preprocessing]:
    """The output that is a mask, and how the image is shown.

    Args:
        probe: What the network gave.
        classes: How many classes it should know.
        layout: One of SEGMENTATION_LAYOUTS, or "auto" for either kind with ImageNet's mean and deviation.

    Raises:
        ModelError: None fits; the message says what was expected and what was found.
    """
    if layout not in ("auto", *SEGMENTATION_LAYOUTS):
        raise ModelError(f"segmentation.layout is '{layout}'; expected auto, {', '.join(SEGMENTATION_LAYOUTS)}")
    kinds = ("logits", "ids") if layout == "auto" else (layout.removesuffix("_unit"),)
    near = ""
    for name, output in probe.outputs.items():
        shape, whole = output.shape, output.dtype.kind in "iu"
        if "logits" in kinds and output.ndim == 4 and shape[0] == 1 and output.dtype.kind == "f" and shape[1] > 1:
            if shape[1] == classes:
                break
            near = near or f" ('{name}' gives {shape[1]} classes, while the class list has {classes} names)"
        if "ids" in kinds and whole and output.ndim in (3, 4) and shape[:-2] in ((1,), (1, 1)):
            break
    else:
        expected = {"logits": f"floats 1 x {classes} x h x w", "ids": "whole numbers 1 x h x w"}
        raise ModelError(
            f"the segmenter {probe}, which is no mask of {classes} classes{near}; expected "
            + " or ".join(expected[kind] for kind in kinds)
        )
    values = "unit" if layout.endswith("_unit") else "imagenet"
    return MaskHead(name, classes), Preprocessing("rgb", values, "top_left")


class Segmenter:
    """A network that gives a mask.

    Attributes:
        classes: Names of the ids.
        network: What runs it.

    Args:
        model: A verified model folder, or an ONNX file.
        classes: Names of its classes, in their order.
        layout: As in find_mask.
        options: How to run it.

    Raises:
        ModelError: It gives no mask of as many classes.
        EngineError: The device can't be had.
    """

    def __init__(
        self, model: ModelFolder | Path, classes: tuple[str, ...], layout: str, options: NetworkOptions
    ) -> None:
        self.classes = classes

        def find(probe: Probe) -> tuple[Preprocessing, Sequence[Sequence[str]]]:
            self._head, preprocessing = find_mask(probe, len(classes), layout)
            return preprocessing, [[self._head.output]]

        self.network = Network(model, options, find)

    def sharing(self) -> Segmenter:
        """The same for another thread; see NetworkOptions.workers."""
        other = copy.copy(self)
        other.network = self.network.sharing()
        return other

    def segment(self, rgb: npt.NDArray[np.uint8], watch: Stopwatch | None = None) -> npt.NDArray[np.uint8]:
        """Gives each pixel a class.

        Args:
            rgb: uint8 HxWx3 RGB.
            watch: Told the time as "segment".

        Returns:
            uint8 HxW ids, which count in `classes`.
        """
        (output,), box = self.network.run(rgb, [self._head.output])
        mask = self._head.decode(output, box)
        if watch is not None:
            watch.lap("segment")
        return mask


def load_segmenter(model: str | Path, classes: str | Sequence[str], layout: str, options: NetworkOptions) -> Segmenter:
    """Finds, verifies, loads and warms a segmenter.

    Args:
        model: An ONNX file, or the name or path of a model folder for the task "segmentation".
        classes: As read_classes takes them; nothing: as the folder's card says.
        layout: As in find_mask.
        options: How to run it.

    Raises:
        ModelError: It is missing, damaged, or gives no mask of these classes.
        ParameterError: The class list can't be read.
        EngineError: The device can't be had.
    """
    found = find_network(model, options.models_path, "segmentation")
    own = found.card.mask_classes if isinstance(found, ModelFolder) else ()
    return Segmenter(found, named_classes(model, classes, own, "segmentation"), layout, options)
