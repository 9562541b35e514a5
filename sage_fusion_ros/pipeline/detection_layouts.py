"""How published detectors take an image and give boxes: found by shapes, decoded to corners and scores.

- yolox (Ge et al. 2021): (1, cells, 5 + C) over strides 8, 16 and 32 (or 64 too), box centres and logarithmic sizes
  not yet decoded; input BGR 0..255, top left letterbox.
- yolov8 (Ultralytics, and later ones in this form): (1, 4 + C, cells), centres and sizes in pixels, scores; input RGB
  0..1, letterbox in the middle.
- yolo_end2end (YOLOv10 and later without suppression): (1, N, 6), corners in pixels, score, class; input likewise.
- rtdetr (Zhao et al. 2024, D-FINE: Peng et al. 2024): boxes (1, Q, 4) as shares of the image and logits (1, Q, C);
  or the deployed form with an input orig_target_sizes and labels, boxes, scores; or Ultralytics' (1, Q, 4 + C); input
  RGB 0..1, squeezed.
- fastestdet (Xuehao Ma 2022): (1, 5 + C, rows, columns), offsets by tanh, sizes by sigmoid; input BGR 0..1, squeezed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from sage_fusion_ros.engines.base import Array
from sage_fusion_ros.errors import ModelError
from sage_fusion_ros.pipeline import detection_decoders as decoders
from sage_fusion_ros.pipeline.detection_decoders import Candidates
from sage_fusion_ros.pipeline.network import Probe
from sage_fusion_ros.pipeline.preprocessing import Preprocessing

Decode = Callable[[Sequence[Array], int, int, float], Candidates]
_STRIDES = ((8, 16, 32), (8, 16, 32, 64))


@dataclass(frozen=True)
class Layout:
    """One way of giving boxes.

    Attributes:
        name: As the parameter detection.layout has it.
        gives: Its shapes in words, for messages.
        preprocessing: How the image is shown.
        overlapping: Whether one thing is found several times, so that suppression is needed.
        read: Whether outputs have this layout, for a number of classes.
    """

    name: str
    gives: str
    preprocessing: Preprocessing
    overlapping: bool
    read: Callable[[Probe, int], Reading | str | None]


@dataclass(frozen=True)
class Reading:
    """A network's boxes, found.

    Attributes:
        outputs: Names of the outputs to ask for.
        decode: (those outputs, height and width of the input, least score) to Candidates.
    """

    outputs: tuple[str, ...]
    decode: Decode


def find_layout(probe: Probe, classes: int, name: str = "auto") -> tuple[Reading, Layout]:
    """The layout that a detector's outputs have.

    Args:
        probe: What it gave.
        classes: How many classes it should know.
        name: One of LAYOUTS, or "auto" to try each.

    Raises:
        ModelError: None fits; the message says what was expected and what was found.
    """
    if name != "auto" and name not in LAYOUTS:
        raise ModelError(f"detection.layout is '{name}'; expected auto, {', '.join(LAYOUTS)}")
    tried = list(LAYOUTS.values()) if name == "auto" else [LAYOUTS[name]]
    near = []
    for layout in tried:
        found = layout.read(probe, classes)
        if isinstance(found, Reading):
            return found, layout
        if found:
            near.append(f"as {layout.name} {found}")
    known = "; ".join(f"{layout.name}: {layout.gives}" for layout in tried)
    raise ModelError(
        f"the detector {probe}, which is no layout known here for {classes} classes"
        + (f" ({'; '.join(near)})" if near else "")
        + f". {'Known are' if name == 'auto' else 'Expected is'} {known}, with C = {classes}"
    )


def _names(probe: Probe, rank: int) -> list[str]:
    """Outputs of floats with this many axes, for one image."""
    return [k for k, v in probe.outputs.items() if v.ndim == rank and v.dtype.kind == "f" and v.shape[0] == 1]


def _count(found: int, classes: int) -> str:
    return f"it gives {found} classes, while the class list has {classes} names"


def _read_yolox(probe: Probe, classes: int) -> Reading | str | None:
    for name in _names(probe, 3):
        _, cells, channels = probe.outputs[name].shape
        for strides in _STRIDES:
            if cells != len(decoders.grid(probe.height, probe.width, strides)[0]) or channels < 6:
                continue
            if channels != 5 + classes:
                return _count(channels - 5, classes)
            if probe.outputs[name][..., 2:4].max() > 30:  # e^30 pixels
                return "its boxes are decoded already; export it without --decode_in_inference"
            return Reading((name,), partial(decoders.decode_yolox, strides=strides))
    return None


def _read_yolov8(probe: Probe, classes: int) -> Reading | str | None:
    near = None
    for name in _names(probe, 3):
        _, channels, cells = probe.outputs[name].shape
        if channels == 4 + classes:
            return Reading((name,), decoders.decode_yolov8)
        if channels > 4 and cells > channels:
            near = _count(channels - 4, classes)
    return near


def _read_end2end(probe: Probe, classes: int) -> Reading | str | None:
    for name in _names(probe, 3):
        output = probe.outputs[name]
        if output.shape[2] == 6 and (output[..., 5] == np.floor(output[..., 5])).all():
            if output.size and not 0 <= output[..., 5].max() < classes:
                return f"it gives class {output[..., 5].max():g}, while the class list has {classes} names"
            return Reading((name,), partial(decoders.decode_end2end, classes=classes))
    return None


def _read_rtdetr(probe: Probe, classes: int) -> Reading | str | None:
    labels = [k for k, v in probe.outputs.items() if v.ndim == 2 and v.dtype.kind in "iu" and v.shape[0] == 1]
    scores, threes = _names(probe, 2), _names(probe, 3)
    fours = [name for name in threes if probe.outputs[name].shape[2] == 4]
    if len(labels) == len(scores) == len(fours) == 1:
        if probe.outputs[labels[0]].size and (highest := int(probe.outputs[labels[0]].max())) >= classes:
            return f"it gives class {highest}, while the class list has {classes} names"
        if not any(len(port.shape) == 2 for port in probe.inputs):
            return "it has no input orig_target_sizes, int64 1x2"
        return Reading((labels[0], fours[0], scores[0]), partial(decoders.decode_deployed, classes=classes))
    if len(threes) == 1 and not labels:
        output = probe.outputs[threes[0]]
        if output.shape[2] == 4 + classes and output.shape[1] <= 1000 and np.abs(output[..., :4]).max() <= 2:
            return Reading((threes[0],), decoders.decode_ultralytics_rtdetr)
    pairs = [
        (boxes, logits)
        for boxes in sorted(fours, key=lambda name: "box" not in name.lower())  # four classes look the same
        for logits in threes
        if logits != boxes and probe.outputs[logits].shape[1] == probe.outputs[boxes].shape[1]
    ]
    if not pairs:
        return None
    boxes, logits = next((pair for pair in pairs if probe.outputs[pair[1]].shape[2] == classes), pairs[0])
    if (found := probe.outputs[logits].shape[2]) != classes:
        return _count(found, classes)
    if (largest := np.abs(probe.outputs[boxes]).max()) > 2:
        return f"its boxes go up to {largest:.0f}; expected shares of the image, 0 to 1"
    return Reading((boxes, logits), decoders.decode_rtdetr)


def _read_fastestdet(probe: Probe, classes: int) -> Reading | str | None:
    for name in _names(probe, 4):
        _, channels, rows, columns = probe.outputs[name].shape
        if channels == 5 + classes:
            return Reading((name,), decoders.decode_fastestdet)
        if channels > 5 and rows * columns < probe.height * probe.width:
            return _count(channels - 5, classes)
    return None


_ULTRALYTICS = Preprocessing("rgb", "unit", "centre")
_LAYOUTS = (
    Layout(
        "yolox",
        "1 x cells x (5 + C), cells of strides 8, 16, 32",
        Preprocessing("bgr", "levels", "top_left"),
        True,
        _read_yolox,
    ),
    Layout("yolov8", "1 x (4 + C) x cells", _ULTRALYTICS, True, _read_yolov8),
    Layout("yolo_end2end", "1 x N x 6, the last of them class numbers below C", _ULTRALYTICS, False, _read_end2end),
    Layout(
        "rtdetr",
        "boxes 1 x Q x 4 in 0..1 and logits 1 x Q x C; or labels 1 x Q, boxes 1 x Q x 4, scores 1 x Q beside an input "
        "orig_target_sizes; or 1 x Q x (4 + C)",
        Preprocessing("rgb", "unit", "squeeze"),
        False,
        _read_rtdetr,
    ),
    Layout(
        "fastestdet",
        "1 x (5 + C) x rows x columns",
        Preprocessing("bgr", "unit", "squeeze", cv2.INTER_AREA),
        True,
        _read_fastestdet,
    ),
)
LAYOUTS: Mapping[str, Layout] = {layout.name: layout for layout in _LAYOUTS}
DETECTION_LAYOUTS = tuple(LAYOUTS)
