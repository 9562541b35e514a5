"""Tiny networks with the inputs and outputs of real detectors and segmenters, for tests that need no trained weights.

Each calls what is brighter than half the first class ("bright"), one cell of its grid in size, and the rest nothing:
the mask has `bright` there and 0 elsewhere. A letterbox's grey is dark to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from mock_detector import write_detector
from onnx import TensorProto, helper, numpy_helper

from sage_fusion_ros.engines.card import ModelCard, Tensor, sha256_of, write_card
from sage_fusion_ros.pipeline.classes import CITYSCAPES_CLASSES, DRIVING_CLASSES

STRIDES = (8, 16, 32)
STEEPNESS = 100.0
BRIGHT = CITYSCAPES_CLASSES.index("person")
NUMPY_TYPES = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16}


class Graph:
    """An ONNX graph in the making."""

    def __init__(self, image: tuple[str, int, list[Any]]) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.inputs = [helper.make_tensor_value_info(*image)]
        self.outputs: list[Any] = []
        self.real = NUMPY_TYPES.get(image[1], np.float32)

    def value(self, array: Any, dtype: Any = None) -> str:
        """A constant; returns its name."""
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.array(array, dtype or self.real), name))
        return name

    def add(self, operator: str, inputs: Sequence[str], name: str = "", **attributes: Any) -> str:
        """A node; returns the name of what it gives."""
        name = name or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def give(self, name: str, shape: list[Any], kind: int | None = None) -> None:
        """Declares an output."""
        kind = kind or helper.np_dtype_to_tensor_dtype(np.dtype(self.real))
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def save(self, path: Path) -> Path:
        """Writes the file."""
        graph = helper.make_graph(self.nodes, "mock", self.inputs, self.outputs, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(model, str(path))
        return path


def _start(side: int | None, kind: int = TensorProto.FLOAT, name: str = "images") -> Graph:
    graph = Graph((name, kind, [1, 3, side or "h", side or "w"]))
    if kind == TensorProto.UINT8:  # its values are levels
        graph.real = np.float32
        image = graph.add("Cast", [name], to=TensorProto.FLOAT)
        graph.add("Mul", [image, graph.value(1 / 255)], "unit")
    else:
        graph.add("Identity", [name], "unit")
    return graph


def _excess(graph: Graph, stride: int, middle: float = 0.5) -> str:
    """How much brighter than the middle the cells of a stride are, steeply: 1x1xh/sxw/s."""
    kernel = np.full((1, 3, stride, stride), STEEPNESS / (3 * stride * stride))
    bias = [-STEEPNESS * middle]
    return graph.add("Conv", ["unit", graph.value(kernel), graph.value(bias)], strides=[stride] * 2)


def _spread(graph: Graph, excess: str, classes: int) -> str:
    """Logits of classes, of which the first is the excess and the others are low: 1xCxhxw."""
    weights = np.zeros((classes, 1, 1, 1))
    weights[0] = 1
    return graph.add("Conv", [excess, graph.value(weights), graph.value([0.0] + [-8.0] * (classes - 1))])


def _cells(graph: Graph, classes: int, strides: Sequence[int] = STRIDES) -> str:
    """The layout of YOLOv8: 1x(4+C)xcells."""
    flat = []
    shape = graph.value([1, 4 + classes, -1], np.int64)
    for stride in strides:
        excess = _excess(graph, stride)
        ones = graph.add("Add", [graph.add("Mul", [excess, graph.value(0.0)]), graph.value(1.0)])
        half = graph.value(0.5)
        places = [
            graph.add("Mul", [graph.add("Sub", [graph.add("CumSum", [ones, graph.value(axis, np.int64)]), half]), size])
            for axis, size in ((3, graph.value(float(stride))), (2, graph.value(float(stride))))
        ]
        size = graph.add("Mul", [ones, graph.value(float(stride))])
        scores = graph.add("Sigmoid", [_spread(graph, excess, classes)])
        flat.append(graph.add("Reshape", [graph.add("Concat", [*places, size, size, scores], axis=1), shape]))
    return graph.add("Concat", flat, axis=2)


def _mask(graph: Graph, classes: int, bright: int, middle: float = 0.5) -> str:
    """Logits on a quarter of the size: the class `bright` where it is bright, else 0."""
    weights = np.zeros((classes, 1, 1, 1))
    bias = np.full(classes, -1000.0)
    weights[bright], bias[bright], bias[0] = 1, 0, 0
    return graph.add("Conv", [_excess(graph, 4, middle), graph.value(weights), graph.value(bias)])


def make_perception(
    folder: Path,
    *,
    mask_classes: tuple[str, ...] = CITYSCAPES_CLASSES,
    detection_classes: tuple[str, ...] = DRIVING_CLASSES,
    input_side: int = 640,
) -> Path:
    """A model folder for the task "perception": mask, boxes, or both, as the class lists say."""
    graph = _start(None, name="image")
    if mask_classes:
        bright = mask_classes.index("person") if "person" in mask_classes else len(mask_classes) - 1
        graph.add("Identity", [_mask(graph, len(mask_classes), bright)], "mask_logits")
        graph.give("mask_logits", [1, len(mask_classes), "h4", "w4"])
    if detection_classes:
        graph.add("Identity", [_cells(graph, len(detection_classes))], "boxes")
        graph.give("boxes", [1, 4 + len(detection_classes), "cells"])
    path = graph.save(folder / "model.onnx")
    card = ModelCard(
        name=folder.name,
        task="perception",
        sha256=sha256_of(path),
        licence="Apache-2.0",
        inputs=(Tensor("image"),),
        outputs=tuple(Tensor(output.name) for output in graph.outputs),
        size_multiple=32,
        mask_classes=mask_classes,
        detection_classes=detection_classes,
        input_side=input_side,
    )
    write_card(folder, card)
    return folder


def write_yolox(path: Path, classes: int = 80, side: int = 64) -> Path:
    """YOLOX, raw: 1 x cells x (5 + C), levels, BGR."""
    return write_detector(path, side, classes)


def write_yolov8(path: Path, classes: int = 80, side: int | None = 64, kind: int = TensorProto.FLOAT) -> Path:
    """YOLOv8 and later: 1 x (4 + C) x cells; `side` None leaves the size open."""
    graph = _start(side, kind)
    graph.add("Identity", [_cells(graph, classes)], "output0")
    graph.give("output0", [1, 4 + classes, "cells"])
    return graph.save(path)


def _corners(graph: Graph, cells: str) -> tuple[str, str]:
    """Corners 1xNx4 and the first class's score 1xNx1, from the layout of YOLOv8."""
    rows = graph.add("Transpose", [cells], perm=[0, 2, 1])
    axis = graph.value([2], np.int64)

    def part(first: int, last: int) -> str:
        ends = [graph.value([end], np.int64) for end in (first, last)]
        return graph.add("Slice", [rows, *ends, axis])

    centre, half = part(0, 2), graph.add("Mul", [part(2, 4), graph.value(0.5)])
    corners = [graph.add(operator, [centre, half]) for operator in ("Sub", "Add")]
    return graph.add("Concat", corners, axis=2), part(4, 5)


def write_yolo_end2end(path: Path, side: int = 64) -> Path:
    """YOLOv10 and later without suppression: 1 x N x 6; every box is of class 0. Each thing is found once."""
    graph = _start(side)
    corners, scores = _corners(graph, _cells(graph, 1, (16,)))
    labels = graph.add("Mul", [scores, graph.value(0.0)])
    graph.add("Concat", [corners, scores, labels], "output0", axis=2)
    graph.give("output0", [1, "n", 6])
    return graph.save(path)


def write_rtdetr(path: Path, classes: int = 80, side: int = 64, joined: bool = False) -> Path:
    """RT-DETR and D-FINE as trained, boxes and logits; `joined`: as Ultralytics exports it."""
    graph = _start(side)
    centres = (np.arange(side // 16) + 0.5) * 16 / side
    places = np.array([[x, y, 16 / side, 16 / side] for y in centres for x in centres])
    boxes = graph.value(places[None])
    logits = _spread(graph, _excess(graph, 16), classes)
    flat = graph.add("Reshape", [logits, graph.value([1, classes, -1], np.int64)])
    rows = graph.add("Transpose", [flat], perm=[0, 2, 1])
    if joined:
        graph.add("Concat", [boxes, graph.add("Sigmoid", [rows])], "output0", axis=2)
        graph.give("output0", [1, len(places), 4 + classes])
    else:
        graph.add("Identity", [boxes], "pred_boxes")
        graph.add("Identity", [rows], "logits")
        graph.give("logits", [1, len(places), classes])
        graph.give("pred_boxes", [1, len(places), 4])
    return graph.save(path)


def write_rtdetr_deployed(path: Path, side: int = 64, label: int = 0) -> Path:
    """RT-DETR and D-FINE for deployment: labels, boxes and scores, with orig_target_sizes (width, height)."""
    graph = _start(side)
    graph.inputs.append(helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, ["n", 2]))
    corners, scores = _corners(graph, _cells(graph, 1, (16,)))
    sizes = graph.add("Cast", ["orig_target_sizes"], to=TensorProto.FLOAT)
    scale = graph.add("Unsqueeze", [graph.add("Concat", [sizes, sizes], axis=1), graph.value([1], np.int64)])
    shares = graph.add("Mul", [corners, graph.value(1 / side)])
    flat = graph.add("Squeeze", [scores, graph.value([2], np.int64)])
    zero = graph.add("Cast", [graph.add("Mul", [flat, graph.value(0.0)])], to=TensorProto.INT64)
    graph.add("Add", [zero, graph.value(label, np.int64)], "labels")
    graph.add("Mul", [shares, scale], "boxes")
    graph.add("Identity", [flat], "scores")
    graph.give("labels", [1, "q"], TensorProto.INT64)
    graph.give("boxes", [1, "q", 4])
    graph.give("scores", [1, "q"])
    return graph.save(path)


def write_fastestdet(path: Path, classes: int = 80, side: int = 64) -> Path:
    """FastestDet: 1 x (5 + C) x rows x columns, BGR."""
    graph = _start(side)
    excess = _excess(graph, 16)
    weights = np.zeros((4, 1, 1, 1))
    share = 16 / side
    box = graph.add(
        "Conv", [excess, graph.value(weights), graph.value([np.arctanh(0.5)] * 2 + [np.log(share / (1 - share))] * 2)]
    )
    scores = graph.add("Sigmoid", [_spread(graph, excess, classes)])
    graph.add("Concat", [graph.add("Sigmoid", [excess]), box, scores], "output", axis=1)
    graph.give("output", [1, 5 + classes, side // 16, side // 16])
    return graph.save(path)


def write_segmenter(
    path: Path,
    classes: int = 19,
    *,
    bright: int = BRIGHT,
    side: int | None = 64,
    ids: bool = False,
    unit: bool = False,
    kind: int = TensorProto.FLOAT,
) -> Path:
    """Logits 1xCxh/4xw/4, or `ids` 1xh/4xw/4; for ImageNet's mean and deviation, or `unit` for 0..1."""
    graph = _start(side, kind, "input")
    logits = _mask(graph, classes, bright, 0.5 if unit else 0.0)
    if ids:
        graph.add("ArgMax", [logits], "output", axis=1, keepdims=0)
        graph.give("output", [1, "h4", "w4"], TensorProto.INT64)
    else:
        graph.add("Identity", [logits], "output")
        graph.give("output", [1, classes, "h4", "w4"])
    return graph.save(path)
