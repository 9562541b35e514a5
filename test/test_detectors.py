"""Frozen detectors: layouts, letterbox, decoding, suppression."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mock_detector import write_detector
from onnx import TensorProto, helper

from sage_fusion_ros.errors import ModelError
from sage_fusion_ros.evaluation.detectors import (
    COCO_CLASSES,
    Detector,
    decode_fastestdet,
    decode_yolox,
    find_layout,
    letterbox,
    suppress,
)


def bright_square(height: int, width: int, top: int, left: int, side: int) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    image[top : top + side, left : left + side] = 255
    return image


def test_a_detector_finds_what_is_there_in_pixels_of_the_image(tmp_path: Path) -> None:
    detector = Detector(write_detector(tmp_path / "d.onnx"))
    assert detector.layout == "yolox"
    seen = detector.detect(bright_square(128, 128, 64, 32, 32))  # scaled to 64: the cell of stride 16 at (2, 1)
    assert set(seen.labels) == {"person"}
    sure = seen.xyxy[seen.scores > 0.9]
    # Cells of stride 8 and the one of stride 16, as pixels of the 128x128 image.
    assert [32.0, 64.0, 64.0, 96.0] in sure.tolist()
    assert all((box[:2] >= [32, 64]).all() and (box[2:] <= [64, 96]).all() for box in sure)
    assert (np.diff(seen.scores) <= 0).all()


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
    with pytest.raises(ModelError, match=r"r\.onnx takes .* and gives .*known are YOLOX"):
        Detector(tmp_path / "r.onnx")


def test_layouts_by_shape() -> None:
    assert find_layout(Path("a"), [1, 3, 416, 416], [1, 3549, 85]) == "yolox"
    assert find_layout(Path("a"), [1, 3, 352, 352], [1, 85, 22, 22]) == "fastestdet"
    for given_shape, wanted in (([1, 3, "h", "w"], [1, 3549, 85]), ([1, 3, 416, 416], [1, 3549, 84])):
        with pytest.raises(ModelError):
            find_layout(Path("a"), given_shape, wanted)


@given(st.integers(1, 700), st.integers(1, 700))
def test_letterbox_keeps_the_shape_and_fills_the_rest(height: int, width: int) -> None:
    square, scale = letterbox(np.full((height, width, 3), 200, np.uint8), 64)
    assert square.shape == (64, 64, 3)
    filled = (square == 200).all(axis=2)
    assert filled.sum() == filled.any(axis=1).sum() * filled.any(axis=0).sum()  # one rectangle
    assert filled[0, 0]
    assert (square[~filled] == 114).all()
    assert abs(filled.any(axis=1).sum() - height * scale) <= 1
    assert abs(filled.any(axis=0).sum() - width * scale) <= 1


def test_yolox_cells_are_decoded_in_order() -> None:
    raw = np.zeros((64 + 16 + 4, 85), np.float32)
    raw[:, 4] = 0.5
    raw[:, 5 + 2] = 0.8
    raw[9, :4] = [0.5, 0.25, np.log(2), np.log(3)]  # stride 8, second row, second column
    xyxy, scores = decode_yolox(raw, 64)
    assert xyxy[9].tolist() == pytest.approx([12 - 8, 10 - 12, 12 + 8, 10 + 12])
    assert xyxy[-1].tolist() == pytest.approx([32 - 16, 32 - 16, 32 + 16, 32 + 16])  # stride 32, last cell
    assert scores[0].argmax() == 2
    assert scores[0, 2] == pytest.approx(0.4)


def test_fastestdet_cells_are_shares_of_the_image() -> None:
    raw = np.zeros((85, 2, 2), np.float32)
    raw[0, 1, 0], raw[5 + 7, 1, 0] = 0.5, 0.25
    xyxy, scores = decode_fastestdet(raw)
    # Row 1, column 0, no offset, sigmoid(0) = half the image in size.
    assert xyxy[2].tolist() == pytest.approx([-0.25, 0.25, 0.25, 0.75])
    assert scores[2, 7] == pytest.approx(0.5**0.6 * 0.25**0.4)
    assert scores.sum() == pytest.approx(scores[2, 7])


def test_suppression_keeps_the_best_of_a_class_and_both_of_two() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 11], [0, 0, 10, 10], [50, 50, 60, 60]], np.float32)
    scores = np.zeros((4, len(COCO_CLASSES)), np.float32)
    scores[0, 0], scores[1, 0], scores[2, 2], scores[3, 0] = 0.6, 0.9, 0.5, 0.04
    kept = suppress(boxes, scores, 0.05)
    assert kept.labels == ["person", "car"]
    assert kept.scores.tolist() == pytest.approx([0.9, 0.5])
    assert kept.xyxy[0].tolist() == [0, 0, 10, 11]


def test_one_box_may_stand_for_two_classes() -> None:
    scores = np.zeros((1, len(COCO_CLASSES)), np.float32)
    scores[0, 2], scores[0, 7] = 0.3, 0.2
    assert suppress(np.array([[0, 0, 5, 5]], np.float32), scores, 0.05).labels == ["car", "truck"]
