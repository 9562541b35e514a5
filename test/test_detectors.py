"""Frozen detectors as readers: what published evaluations ask of them."""

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from mock_detector import write_detector
from mock_perception import write_fastestdet
from onnx import TensorProto, helper

from sage_fusion_ros.errors import ModelError
from sage_fusion_ros.evaluation.average_precision import match
from sage_fusion_ros.evaluation.detectors import Detector
from sage_fusion_ros.sources.boxes import read_boxes


def bright_square(height: int, width: int, top: int, left: int, side: int) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    image[top : top + side, left : left + side] = 255
    return image


def test_a_detector_finds_what_is_there_in_pixels_of_the_image(tmp_path: Path) -> None:
    detector = Detector(write_detector(tmp_path / "d.onnx"))
    assert detector.layout == "yolox"
    assert detector.name == "d"
    seen = detector.detect(bright_square(128, 128, 64, 32, 32))  # scaled to 64: the cell of stride 16 at (2, 1)
    assert set(seen.labels) == {"person"}
    sure = seen.xyxy[seen.scores > 0.9]
    # Cells of stride 8 and the one of stride 16, as pixels of the 128x128 image.
    assert [32.0, 64.0, 64.0, 96.0] in sure.tolist()
    assert all((box[:2] >= [32, 64]).all() and (box[2:] <= [64, 96]).all() for box in sure)
    assert (np.diff(seen.scores) <= 0).all()


def test_boxes_are_mapped_by_the_one_scale_of_published_evaluations(tmp_path: Path) -> None:
    """An image of 100x61 is rounded to 64x39 rows; the bottom of a box at row 32 is at 32 / 0.64 all the same."""
    seen = Detector(write_detector(tmp_path / "d.onnx")).detect(np.full((61, 100, 3), 255, np.uint8))
    assert any(box == pytest.approx([0, 0, 50, 50]) for box in seen.xyxy.tolist())


def test_boxes_are_not_cut_at_the_edges(tmp_path: Path) -> None:
    seen = Detector(write_fastestdet(tmp_path / "d.onnx")).detect(np.full((50, 50, 3), 255, np.uint8))
    assert len(seen.xyxy) == 16
    detector = Detector(write_detector(tmp_path / "e.onnx", side=96))
    seen = detector.detect(np.full((40, 96, 3), 255, np.uint8))  # cells of stride 16 in rows 32 to 48
    assert seen.xyxy[:, 3].max() > 40


def test_one_box_may_stand_for_two_classes(tmp_path: Path) -> None:
    path = write_detector(tmp_path / "d.onnx")
    model = onnx.load(path)
    for weight in model.graph.initializer:
        if weight.name.endswith("_b"):
            bias = onnx.numpy_helper.to_array(weight).copy()
            bias[5 + 2] = 7.0  # a car nearly as surely as a person
            weight.CopyFrom(onnx.numpy_helper.from_array(bias, weight.name))
    onnx.save(model, path)
    seen = Detector(path).detect(bright_square(64, 64, 16, 16, 16))
    of_the_square = [
        label for box, label in zip(seen.xyxy.tolist(), seen.labels, strict=True) if box == [16, 16, 32, 32]
    ]
    assert of_the_square == ["person", "car"]


def test_nothing_is_seen_in_the_dark(tmp_path: Path) -> None:
    seen = Detector(write_detector(tmp_path / "d.onnx")).detect(np.zeros((50, 90, 3), np.uint8))
    assert seen.xyxy.shape == (0, 4)
    assert seen.scores.shape == (0,)
    assert seen.labels == []


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gone\.onnx can't be loaded"):
        Detector(tmp_path / "gone.onnx")


def test_a_file_that_is_no_detector_is_named(tmp_path: Path) -> None:
    shape = [1, 3, 64, 64]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", value[:1], value[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "r.onnx")
    with pytest.raises(ModelError, match=r"r\.onnx takes .* and gives .*Known are yolox"):
        Detector(tmp_path / "r.onnx")


@pytest.mark.parametrize("name", ["yolox_nano", "fastestdet"])
def test_published_detectors_read_what_others_measured(shared_data: Path, name: str) -> None:
    """AP50 on RoadScene's thermal images, against figures measured with the detectors' own code."""
    files = list((shared_data.parent / "weights").glob(f"{name}*.onnx"))
    if not files:
        pytest.skip("no shared data beside the project")
    figures = json.loads((shared_data / "detector_baselines.json").read_text())[name]["sets"]["roadscene"]["thermal"]
    detector, images = Detector(files[0], threads=2), {p.stem: p for p in (shared_data / "roadscene" / "ir").iterdir()}
    truth = read_boxes(shared_data / "roadscene" / "boxes_coco.json")
    found = [
        detector.detect(cv2.cvtColor(cv2.imread(str(images[Path(image.file_name).stem])), cv2.COLOR_BGR2RGB))
        for image in truth
    ]
    matches = match(truth, found, ["person", "bicycle", "car"])
    read = {"bike" if label == "bicycle" else label: m.average_precision() for label, m in matches.items()}
    assert read == pytest.approx({label: figures[label] for label in read}, abs=6e-4)
