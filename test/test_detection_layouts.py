"""Layouts of detectors: boxes placed by hand come out where they were put, and what does not fit is refused by name."""

from pathlib import Path

import numpy as np
import pytest

from sage_fusion_ros.engines.base import Port
from sage_fusion_ros.errors import ModelError
from sage_fusion_ros.pipeline.detect import suppress
from sage_fusion_ros.pipeline.detection_layouts import DETECTION_LAYOUTS, LAYOUTS, find_layout
from sage_fusion_ros.pipeline.network import Probe
from sage_fusion_ros.pipeline.preprocessing import Preprocessing

IMAGE = Port("images", "float32", (1, 3, None, None))
SIZES = Port("orig_target_sizes", "int64", (None, 2))


def probe(height: int, width: int, inputs: tuple[Port, ...] = (IMAGE,), **outputs: np.ndarray) -> Probe:
    return Probe(Path("net.onnx"), inputs, outputs, height, width)


def zeros(*shape: int, dtype: type = np.float32) -> np.ndarray:
    return np.zeros(shape, dtype)


def test_yolox_cells_are_decoded_in_order() -> None:
    raw = zeros(1, 64 + 16 + 4, 85)
    raw[..., 4] = 0.5
    raw[..., 5 + 2] = 0.8
    raw[0, 9, :4] = [0.5, 0.25, np.log(2), np.log(3)]  # stride 8, second row, second column
    reading, layout = find_layout(probe(64, 64, output=raw), 80)
    assert layout.name == "yolox"
    xyxy, scores = reading.decode([raw], 64, 64, 0.1)
    assert xyxy[9].tolist() == pytest.approx([12 - 8, 10 - 12, 12 + 8, 10 + 12])
    assert xyxy[-1].tolist() == pytest.approx([32 - 16, 32 - 16, 32 + 16, 32 + 16])  # stride 32, last cell
    assert scores.shape == (84, 80)
    assert scores[0].argmax() == 2
    assert scores[0, 2] == pytest.approx(0.4)
    assert reading.decode([raw], 64, 64, 0.45)[0].shape == (0, 4)


def test_yolox_on_an_oblong_input_and_with_a_fourth_stride() -> None:
    """64x128 has 8x16 + 4x8 + 2x4 cells; with stride 64, one row of two more."""
    cells = 8 * 16 + 4 * 8 + 2 * 4
    for extra in (0, 2):
        raw = zeros(1, cells + extra, 8)
        raw[0, 17, 4:6] = 1  # stride 8, second row, second column
        reading, _ = find_layout(probe(64, 128, output=raw), 3)
        assert reading.decode([raw], 64, 128, 0.5)[0].tolist() == [[4, 4, 12, 12]]


def test_yolov8_boxes_are_pixels_already() -> None:
    raw = zeros(1, 10, 6300)
    raw[0, :, 7] = [100, 50, 20, 10, 0, 0, 0.75, 0.5, 0, 0]
    reading, layout = find_layout(probe(480, 640, boxes=raw), 6)
    assert layout.name == "yolov8"
    xyxy, scores = reading.decode([raw], 480, 640, 0.3)
    assert xyxy.tolist() == [[90, 45, 110, 55]]
    assert scores.tolist() == [[0, 0, 0.75, 0.5, 0, 0]]


def test_yolo_end2end_names_its_class() -> None:
    raw = zeros(1, 300, 6)
    raw[0, 0] = [10, 20, 30, 40, 0.75, 2]
    reading, layout = find_layout(probe(640, 640, output0=raw), 3)
    assert layout.name == "yolo_end2end"
    xyxy, scores = reading.decode([raw], 640, 640, 0.3)
    assert xyxy.tolist() == [[10, 20, 30, 40]]
    assert scores.tolist() == [[0, 0, 0.75]]


def rtdetr(queries: int = 300, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    boxes, logits = zeros(1, queries, 4), np.full((1, queries, classes), -9, np.float32)
    boxes[0, 5] = [0.5, 0.25, 0.5, 0.125]
    logits[0, 5, 3] = np.log(3)  # 0.75
    return boxes, logits


@pytest.mark.parametrize("classes", [3, 4, 80])
def test_rtdetr_boxes_are_shares_of_the_input(classes: int) -> None:
    boxes, logits = rtdetr(classes=max(4, classes))
    logits = logits[..., -classes:] if classes == 3 else logits
    for names in (("pred_boxes", "logits"), ("logits", "pred_boxes")):
        arrays = {"pred_boxes": boxes, "logits": logits}
        reading, layout = find_layout(probe(320, 640, **{name: arrays[name] for name in names}), classes)
        assert layout.name == "rtdetr"
        assert not layout.overlapping
        xyxy, scores = reading.decode([arrays[name] for name in reading.outputs], 320, 640, 0.3)
        assert xyxy.tolist() == [[160, 60, 480, 100]]
        assert scores.max() == pytest.approx(0.75)


def test_rtdetr_among_other_outputs() -> None:
    boxes, logits = rtdetr(classes=4)
    others = {"hidden": zeros(1, 300, 256), "pred_boxes": boxes, "encoder": zeros(1, 900, 4), "logits": logits}
    reading, _ = find_layout(probe(320, 640, **others), 4)
    assert reading.outputs == ("pred_boxes", "logits")


def test_rtdetr_in_one_output() -> None:
    boxes, logits = rtdetr()
    raw = np.concatenate([boxes, 1 / (1 + np.exp(-logits))], axis=2).astype(np.float32)
    reading, layout = find_layout(probe(320, 640, output0=raw), 4)
    assert layout.name == "rtdetr"
    xyxy, scores = reading.decode([raw], 320, 640, 0.3)
    assert xyxy.tolist() == [[160, 60, 480, 100]]
    assert scores[0, 3] == pytest.approx(0.75)


def deployed(highest: int = 2) -> dict[str, np.ndarray]:
    labels, boxes, scores = zeros(1, 300, dtype=np.int64), zeros(1, 300, 4), zeros(1, 300)
    labels[0, 7], boxes[0, 7], scores[0, 7] = highest, [10, 20, 30, 40], 0.75
    return {"labels": labels, "boxes": boxes, "scores": scores}


def test_rtdetr_deployed_gives_corners() -> None:
    outputs = deployed()
    reading, layout = find_layout(probe(640, 640, (IMAGE, SIZES), **outputs), 3)
    assert layout.name == "rtdetr"
    assert reading.outputs == ("labels", "boxes", "scores")
    xyxy, scores = reading.decode([outputs[name] for name in reading.outputs], 640, 640, 0.3)
    assert xyxy.tolist() == [[10, 20, 30, 40]]
    assert scores.tolist() == [[0, 0, 0.75]]


def test_a_class_without_a_name_is_dropped_where_the_shapes_do_not_tell() -> None:
    reading, _ = find_layout(probe(640, 640, (IMAGE, SIZES), **deployed()), 3)
    later = deployed(highest=5)
    assert len(reading.decode([later[name] for name in reading.outputs], 640, 640, 0.3)[0]) == 0


def test_fastestdet_cells_are_shares_of_the_input() -> None:
    raw = zeros(1, 85, 2, 2)
    raw[0, 0, 1, 0], raw[0, 5 + 7, 1, 0] = 0.5, 0.25
    reading, layout = find_layout(probe(64, 32, output=raw), 80)
    assert layout.name == "fastestdet"
    xyxy, scores = reading.decode([raw], 64, 32, 0.05)
    # Row 1, column 0, no offset, sigmoid(0) = half the input in size.
    assert xyxy[0].tolist() == pytest.approx([-0.25 * 32, 0.25 * 64, 0.25 * 32, 0.75 * 64])
    assert scores.shape == (1, 80)
    assert scores[0, 7] == pytest.approx(0.5**0.6 * 0.25**0.4)


def test_fastestdet_offsets_and_sizes() -> None:
    raw = zeros(1, 6, 4, 4)
    raw[0, :, 2, 1] = [1, np.arctanh(0.5), np.arctanh(-0.5), np.log(1 / 3), np.log(3), 1]  # 0.25 and 0.75 of the input
    reading, _ = find_layout(probe(64, 64, output=raw), 1)
    (box,), _ = reading.decode([raw], 64, 64, 0.5)
    assert box.tolist() == pytest.approx([24 - 8, 24 - 24, 24 + 8, 24 + 24], abs=1e-4)


def test_half_precision_is_read() -> None:
    raw = zeros(1, 10, 21, dtype=np.float16)
    raw[0, :, 7] = [100, 50, 20, 10, 0, 0, 0.75, 0, 0, 0]
    reading, _ = find_layout(probe(32, 32, boxes=raw), 6)
    xyxy, scores = reading.decode([raw], 32, 32, 0.3)
    assert (xyxy.dtype, scores.dtype) == (np.float32, np.float32)
    assert xyxy.tolist() == [[90, 45, 110, 55]]


@pytest.mark.parametrize(
    ("shape", "classes", "name"),
    [
        ((1, 3549, 85), 80, "yolox"),
        ((1, 84, 3549), 80, "yolov8"),
        ((1, 85, 26, 26), 80, "fastestdet"),
        ((1, 3549, 6), 1, "yolox"),  # not N boxes of six numbers
        ((1, 6, 3549), 2, "yolov8"),
        ((1, 300, 6), 80, "yolo_end2end"),
        ((1, 300, 84), 80, "rtdetr"),
    ],
)
def test_layouts_by_shape(shape: tuple[int, ...], classes: int, name: str) -> None:
    assert find_layout(probe(416, 416, output=zeros(*shape)), classes)[1].name == name
    assert find_layout(probe(416, 416, output=zeros(*shape)), classes, name)[1].name == name


def test_how_each_is_shown_the_image() -> None:
    shown = {name: layout.preprocessing for name, layout in LAYOUTS.items()}
    assert DETECTION_LAYOUTS == ("yolox", "yolov8", "yolo_end2end", "rtdetr", "fastestdet")
    assert shown["yolox"] == Preprocessing("bgr", "levels", "top_left")
    assert shown["yolov8"] == shown["yolo_end2end"] == Preprocessing("rgb", "unit", "centre")
    assert shown["rtdetr"] == Preprocessing("rgb", "unit", "squeeze")
    assert (shown["fastestdet"].order, shown["fastestdet"].anchor) == ("bgr", "squeeze")


def pixels() -> dict[str, np.ndarray]:
    return {"boxes": np.full((1, 8400, 4), 300, np.float32), "scores": zeros(1, 8400, 3)}


@pytest.mark.parametrize(
    ("found", "classes", "name", "text"),
    [
        (probe(416, 416, output=zeros(1, 3549, 85)), 3, "auto", "as yolox it gives 80 classes, .* list has 3 names"),
        (probe(640, 640, output=zeros(1, 84, 8400)), 3, "auto", "as yolov8 it gives 80 classes, .* list has 3 names"),
        (probe(352, 352, output=zeros(1, 85, 22, 22)), 3, "auto", "as fastestdet it gives 80 classes"),
        (probe(64, 64, b=zeros(1, 300, 4), l=zeros(1, 300, 91)), 80, "auto", "as rtdetr it gives 91 classes"),
        (probe(64, 64, (IMAGE, SIZES), **deployed(57)), 3, "auto", "as rtdetr it gives class 57, .* has 3 names"),
        (probe(64, 64, **deployed()), 3, "auto", "as rtdetr it has no input orig_target_sizes"),
        (probe(640, 640, **pixels()), 3, "auto", "as rtdetr its boxes go up to 300; expected shares"),
        (probe(416, 416, output=np.full((1, 3549, 85), 400, np.float32)), 80, "auto", "decoded already"),
        (probe(640, 640, output=zeros(1, 25200, 85)), 80, "auto", r"no layout known here for 80 classes"),
        (probe(416, 416, output=zeros(1, 3549, 85)), 80, "yolov8", r"Expected is yolov8: 1 x \(4 \+ C\) x cells"),
        (probe(416, 416), 80, "auto", "gives nothing"),
        (probe(416, 416, output=zeros(2, 84, 3549)), 80, "auto", "2x84x3549"),
        (
            probe(416, 416, output=zeros(1, 84, 3549)),
            80,
            "yolov5",
            "layout is 'yolov5'; expected auto, yolox",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_what_was_found(found: Probe, classes: int, name: str, text: str) -> None:
    with pytest.raises(ModelError, match=text):
        find_layout(found, classes, name)


def test_suppression_keeps_the_best_of_a_class_and_both_of_two() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 11], [0, 0, 10, 10], [50, 50, 60, 60]], np.float32)
    scores = zeros(4, 80)
    scores[0, 0], scores[1, 0], scores[2, 2], scores[3, 0] = 0.6, 0.9, 0.5, 0.04
    xyxy, best, classes = suppress((boxes, scores), 0.05, 0.65)
    assert classes.tolist() == [0, 2]
    assert best.tolist() == pytest.approx([0.9, 0.5])
    assert xyxy[0].tolist() == [0, 0, 10, 11]
    assert len(suppress((boxes, scores), 0.05, None)[1]) == 3, "without suppression all stay"


def test_a_box_stands_for_its_surest_class_or_for_several() -> None:
    candidates = np.array([[0, 0, 5, 5]], np.float32), zeros(1, 80)
    candidates[1][0, 2], candidates[1][0, 7] = 0.3, 0.2
    assert suppress(candidates, 0.05, 0.65)[2].tolist() == [2]
    assert suppress(candidates, 0.05, 0.65, several=True)[2].tolist() == [2, 7]


def test_suppression_of_nothing_and_of_the_boundless() -> None:
    empty = np.zeros((0, 4), np.float32), zeros(0, 3)
    assert [len(part) for part in suppress(empty, 0.1, 0.5)] == [0, 0, 0]
    endless = np.array([[-np.inf, 0, np.inf, 9], [0, 0, 9, 9], [0, 0, 9, 9]], np.float32)
    scores = np.array([[0.9, 0], [0.8, 0], [0, 0.7]], np.float32)
    assert suppress((endless, scores), 0.1, 0.5)[2].tolist() == [0, 0, 1]


def test_classes_beyond_the_edge_do_not_meet() -> None:
    """Suppression shifts classes apart; boxes with negative corners must not slide into the next class's place."""
    boxes = np.array([[0, 0, 40, 40], [-40, -40, 0, 0], [-80, -80, 40, 40], [-39, -39, 41, 41]], np.float32)
    scores = np.eye(4, dtype=np.float32) * 0.9
    assert len(suppress((boxes, scores), 0.1, 0.01)[1]) == 4


def test_the_values_that_a_network_is_shown() -> None:
    image = np.array([[[255, 0, 128]]], np.uint8)
    for preprocessing, expected in (
        (Preprocessing("rgb", "unit"), [1, 0, 128 / 255]),
        (Preprocessing("bgr", "levels"), [128, 0, 255]),
        (Preprocessing("rgb", "imagenet"), [(1 - 0.485) / 0.229, -0.456 / 0.224, (128 / 255 - 0.406) / 0.225]),
        (Preprocessing("bgr", "imagenet"), [(128 / 255 - 0.406) / 0.225, -0.456 / 0.224, (1 - 0.485) / 0.229]),
    ):
        planes = np.empty((3, 1, 1), np.float32)
        preprocessing.fill(image, planes)
        assert planes.ravel().tolist() == pytest.approx(expected, rel=1e-6)
    levels = np.empty((3, 1, 1), np.uint8)
    Preprocessing("bgr", "imagenet").fill(image, levels)
    assert levels.ravel().tolist() == [128, 0, 255]
