"""Networks that are not what they should be are refused by name, before any image comes."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from mock_models import make_model
from mock_perception import (
    Graph,
    make_perception,
    write_rtdetr_deployed,
    write_segmenter,
    write_yolov8,
)
from onnx import TensorProto
from perception_rig import NONE, THREE, bright, load

from sage_fusion_ros.engines import onnx_engine
from sage_fusion_ros.errors import EngineError, ModelError
from sage_fusion_ros.pipeline.network import NetworkOptions
from sage_fusion_ros.pipeline.perceive import PerceptionChoice, load_perceiver


def nan_network(path: Path) -> Path:
    graph = Graph(("x", TensorProto.FLOAT, [1, 3, 64, 64]))
    below = graph.add("Sub", [graph.add("AveragePool", ["x"], kernel_shape=[4, 4], strides=[4, 4]), graph.value(2.0)])
    graph.add("Sqrt", [below], "y")
    graph.give("y", [1, 3, 16, 16])
    return graph.save(path)


def plain_network(path: Path, shape: list[int | str], kind: int = TensorProto.FLOAT) -> Path:
    """One that gives back what it takes."""
    graph = Graph(("x", kind, shape))
    graph.add("Identity", ["x"], "y")
    graph.give("y", shape, kind)
    return graph.save(path)


def test_networks_that_are_none_of_it_are_refused_by_name(tmp_path: Path) -> None:
    cases = [
        (write_yolov8(tmp_path / "a.onnx", 20), THREE, r"a.onnx takes 'images' float32 1x3x64x64 and gives 'output0' "),
        (write_yolov8(tmp_path / "b.onnx", 20), THREE, "as yolov8 it gives 20 classes, while the class list has 3"),
        (write_rtdetr_deployed(tmp_path / "c.onnx", label=7), THREE, "as rtdetr it gives class 7"),
        (plain_network(tmp_path / "d.onnx", [1, 64, 64, 3]), THREE, r"takes 'x' float32 1x64x64x3; expected one image"),
        (plain_network(tmp_path / "e.onnx", [4, 3, 64, 64]), THREE, "takes 'x' float32 4x3x64x64; expected one image"),
        (plain_network(tmp_path / "f.onnx", [1, 3, 64, 64], TensorProto.DOUBLE), THREE, "'x' float64 1x3x64x64; exp"),
        (plain_network(tmp_path / "g.onnx", [1, 3, "h", "w"]), THREE, r"takes 'x' float32 1x3x\?x\? and gives"),
        (make_model(tmp_path / "fuse") / "model.onnx", THREE, "takes 'rgb_luma' .*, 'thermal' .*; expected one image"),
        (tmp_path / "gone.onnx", THREE, r"the network .*gone\.onnx does not exist"),
        (write_yolov8(tmp_path / "h.onnx", 3), ("",), "classes are not known; give their names in detection.classes"),
        (write_yolov8(tmp_path / "i.onnx", 3), "3", "while the class list has 1 names"),
    ]
    for path, classes, text in cases:
        with pytest.raises(ModelError, match=text):
            load(detection_model=path, detection_classes=classes)
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(ModelError, match=r"text\.onnx can't be loaded as a network"):
        load(detection_model=tmp_path / "text.onnx", detection_classes=THREE)


def test_segmenters_that_are_none_are_refused_by_name(tmp_path: Path) -> None:
    logits, ids = write_segmenter(tmp_path / "a.onnx"), write_segmenter(tmp_path / "b.onnx", ids=True)
    cases = [
        (logits, THREE, "auto", "'output' gives 19 classes, while the class list has 3 names"),
        (logits, THREE, "auto", r"expected floats 1 x 3 x h x w or whole numbers 1 x h x w"),
        (logits, "cityscapes", "ids", r"gives 'output' float32 1x19x16x16.*; expected whole numbers 1 x h x w$"),
        (ids, "cityscapes", "logits", "expected floats 1 x 19 x h x w$"),
        (ids, "cityscapes", "colours", "segmentation.layout is 'colours'; expected auto, logits"),
        (ids, (), "auto", "classes are not known; give their names in segmentation.classes"),
        (nan_network(tmp_path / "c.onnx"), THREE, "auto", r"c\.onnx gives values in 'y' that are no numbers"),
    ]
    for path, classes, layout, text in cases:
        with pytest.raises(ModelError, match=text):
            load(segmentation_model=path, segmentation_classes=classes, segmentation_layout=layout)


def edit_card(folder: Path, **changes) -> Path:
    card = yaml.safe_load((folder / "card.yaml").read_text())
    (folder / "card.yaml").write_text(yaml.safe_dump(card | changes))
    return folder


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"mask_classes": list(THREE)}, "'mask_logits' gives 19 classes, while the class list has 3 names"),
        ({"detection_classes": list(THREE)}, "as yolov8 it gives 6 classes, while the class list has 3 names"),
        ({"mask_classes": []}, r"with 0 mask_classes and 6 detection_classes; expected 'mask_logits' with the first"),
        ({"outputs": [{"name": "boxes"}]}, r"gives \['boxes'\] with 19 mask_classes"),
        ({"mask_classes": ["a", "a"]}, "mask_classes has the name 'a' twice, for the ids 0 and 1"),
        ({"mask_classes": "abc"}, "mask_classes is 'abc'; expected a list of names"),
        ({"detection_classes": ["a", ""]}, "detection_classes has no name for the id 1"),
        ({"mask_classes": [str(i) for i in range(256)]}, "has 256 names; expected at most 255"),
        ({"input_side": 100}, "input_side is 100; expected 0, or a multiple of 32 from 32 to 8192"),
        ({"task": "fusion"}, "is for the task 'fusion'; a model for 'perception' is needed"),
    ],
)
def test_a_perception_model_that_is_not_what_its_card_says_is_refused(tmp_path: Path, changes: dict, text: str) -> None:
    with pytest.raises(ModelError, match=text):
        load(edit_card(make_perception(tmp_path / "both"), **changes))


def test_a_device_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And with allow_cpu the note says so, as for fusion models."""
    choice = PerceptionChoice(str(make_perception(tmp_path / "both")))
    real = onnx_engine._onnxruntime()
    monkeypatch.setattr(real, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(EngineError, match="engine.device is 'cuda'"):
        load_perceiver(choice, NetworkOptions(device="cuda"))
    assert "cuda" in load_perceiver(choice, NetworkOptions(device="cuda", allow_cpu=True)).infos[0].note


def test_a_size_that_a_network_can_not_take_is_named_when_it_comes(tmp_path: Path) -> None:
    """Open sizes in the file are a promise that some exports break: this one's mask has fixed 24x32 cells."""
    path = write_segmenter(tmp_path / "s.onnx", 3, bright=2, side=None, unit=True)
    model = onnx.load(path)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 3, 24, 32], np.int64), "fixed"))
    model.graph.node[-1].CopyFrom(
        onnx.helper.make_node("Reshape", [model.graph.node[-1].input[0], "fixed"], ["output"])
    )
    onnx.save(model, path)
    perceiver = load(segmentation_model=path, segmentation_classes=THREE, segmentation_layout="logits_unit")
    with pytest.raises(ModelError, match="network s failed on an image of 256x192"):
        perceiver.perceive(bright(192, 256), **NONE | {"mask": True})
