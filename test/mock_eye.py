"""A tiny perception model: what is brighter than half is a person, in the mask and, cell by cell, in the boxes."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sage_fusion_ros.engines.card import ModelCard, Tensor, sha256_of, write_card
from sage_fusion_ros.pipeline.classes import CITYSCAPES_CLASSES, DRIVING_CLASSES

CELL, MASK_STRIDE, STEEPNESS = 32, 4, 100.0


def make_eye(folder: Path, *, blind: bool = False, mask: bool = True, boxes: bool = True, side: int = 128) -> Path:
    """A model folder for images of side x side. A blind one sees road everywhere and no box."""
    folder.mkdir(parents=True, exist_ok=True)
    bias = -10 * STEEPNESS if blind else -STEEPNESS / 2
    nodes = [helper.make_node("ReduceMean", ["image"], ["grey"], axes=[1], keepdims=1)]
    weights, outputs = [], []
    if mask:
        kernel = np.zeros((len(CITYSCAPES_CLASSES), 1, MASK_STRIDE, MASK_STRIDE), np.float32)
        kernel[CITYSCAPES_CLASSES.index("person")] = STEEPNESS / MASK_STRIDE**2
        biases = np.full(len(CITYSCAPES_CLASSES), -1000, np.float32)
        biases[CITYSCAPES_CLASSES.index("person")], biases[CITYSCAPES_CLASSES.index("road")] = bias, 0
        weights += [numpy_helper.from_array(kernel, "mask_w"), numpy_helper.from_array(biases, "mask_b")]
        stride = {"strides": [MASK_STRIDE, MASK_STRIDE]}
        nodes.append(helper.make_node("Conv", ["grey", "mask_w", "mask_b"], ["mask_logits"], **stride))
        outputs.append(("mask_logits", [1, len(CITYSCAPES_CLASSES), side // MASK_STRIDE, side // MASK_STRIDE]))
    if boxes:
        rows, columns = np.mgrid[: side // CELL, : side // CELL].reshape(2, -1)
        size = np.full(rows.size, CELL)
        where = np.stack([CELL * (columns + 0.5), CELL * (rows + 0.5), size, size]).astype(np.float32)[None]
        kernel = np.full((1, 1, CELL, CELL), STEEPNESS / CELL**2, np.float32)
        weights += [
            numpy_helper.from_array(kernel, "box_w"),
            numpy_helper.from_array(np.array([bias], np.float32), "box_b"),
            numpy_helper.from_array(where, "where"),
            numpy_helper.from_array(np.zeros((1, len(DRIVING_CLASSES) - 1, rows.size), np.float32), "others"),
            numpy_helper.from_array(np.array([1, 1, -1], np.int64), "flat"),
        ]
        nodes += [
            helper.make_node("Conv", ["grey", "box_w", "box_b"], ["cells"], strides=[CELL, CELL]),
            helper.make_node("Reshape", ["cells", "flat"], ["row"]),
            helper.make_node("Sigmoid", ["row"], ["scores"]),
            helper.make_node("Concat", ["where", "scores", "others"], ["boxes"], axis=1),
        ]
        outputs.append(("boxes", [1, 4 + len(DRIVING_CLASSES), rows.size]))
    graph = helper.make_graph(
        nodes,
        "eye",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(folder / "model.onnx"))
    card = ModelCard(
        name=folder.name,
        task="perception",
        sha256=sha256_of(folder / "model.onnx"),
        licence="Apache-2.0",
        inputs=(Tensor("image"),),
        outputs=tuple(Tensor(name) for name, _ in outputs),
        size_multiple=32,
        mask_classes=CITYSCAPES_CLASSES if mask else (),
        detection_classes=DRIVING_CLASSES if boxes else (),
    )
    write_card(folder, card)
    return folder
