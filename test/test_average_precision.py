"""Average precision against drawn boxes: by hand, against pycocotools' own accumulation, and its bootstrap."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_fusion_ros.evaluation.average_precision import (
    bootstrap_difference,
    match,
    mean_average_precision,
)
from sage_fusion_ros.evaluation.detectors import DetectedBoxes
from sage_fusion_ros.sources.boxes import BoxedImage

BOX = [10.0, 10.0, 30.0, 40.0]
FAR = [60.0, 60.0, 80.0, 90.0]


def drawn(*boxes: list[float], label: str = "person") -> BoxedImage:
    return BoxedImage("a.png", np.array(boxes, np.float32).reshape(-1, 4), [label] * len(boxes))


def seen(*boxes: tuple[list[float], float], label: str = "person") -> DetectedBoxes:
    corners = np.array([box for box, _ in boxes], np.float32).reshape(-1, 4)
    return DetectedBoxes(corners, np.array([score for _, score in boxes], np.float32), [label] * len(boxes))


def precision(truth: list[BoxedImage], found: list[DetectedBoxes]) -> float:
    return match(truth, found, ["person"])["person"].average_precision()


def test_all_found_is_one_and_nothing_found_is_none() -> None:
    truth = [drawn(BOX, FAR)]
    assert precision(truth, [seen((BOX, 0.9), (FAR, 0.3))]) == pytest.approx(1.0)
    assert precision(truth, [seen()]) == 0.0
    assert precision(truth, [seen((BOX, 0.9), label="car")]) == 0.0


def test_a_false_alarm_that_is_surer_halves_the_precision() -> None:
    assert precision([drawn(BOX)], [seen((FAR, 0.9), (BOX, 0.5))]) == pytest.approx(0.5)
    assert precision([drawn(BOX)], [seen((FAR, 0.4), (BOX, 0.5))]) == pytest.approx(1.0)


def test_half_the_boxes_is_half_the_recalls() -> None:
    assert precision([drawn(BOX, FAR)], [seen((BOX, 0.9))]) == pytest.approx(51 / 101)  # recalls 0 to 0.5


def test_a_box_is_found_once() -> None:
    assert precision([drawn(BOX, FAR)], [seen((BOX, 0.9), (BOX, 0.8), (FAR, 0.7))]) < 1.0


def test_a_class_without_boxes_is_not_a_number() -> None:
    assert np.isnan(match([drawn(BOX)], [seen((BOX, 0.9))], ["car"])["car"].average_precision())


def test_images_and_detections_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="1 images with boxes, 2 with detections"):
        match([drawn(BOX)], [seen(), seen()], ["person"])


boxes = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(4, 40), st.integers(4, 40)), max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(boxes, boxes), min_size=1, max_size=5), st.integers(0, 2**16))
def test_equals_pycocotools(images: list, seed: int) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(seed)
    truth = [drawn(*([x, y, x + w, y + h] for x, y, w, h in t)) for t, _ in images]
    found = [seen(*(([x, y, x + w, y + h], float(rng.random())) for x, y, w, h in f)) for _, f in images]
    annotations = [
        {
            "id": 1 + 10 * i + j,
            "image_id": i,
            "category_id": 1,
            "bbox": list(box),
            "area": box[2] * box[3],
            "iscrowd": 0,
        }
        for i, (t, _) in enumerate(images)
        for j, box in enumerate(t)
    ]
    results = [
        {"image_id": i, "category_id": 1, "bbox": list(box), "score": float(score)}
        for i, ((_, f), d) in enumerate(zip(images, found, strict=True))
        for box, score in zip(f, d.scores, strict=True)
    ]
    mine = precision(truth, found)
    if not annotations:
        assert np.isnan(mine)
        return
    if not results:
        assert mine == 0
        return
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i} for i in range(len(images))],
            "annotations": annotations,
            "categories": [{"id": 1, "name": "person"}],
        }
        coco.createIndex()
        reference = COCOeval(coco, coco.loadRes(results), "bbox")
        reference.evaluate()
        reference.accumulate()
    assert mine == pytest.approx(reference.eval["precision"][0, :, 0, 0, 2].mean(), abs=1e-9)


def cells(found: list[DetectedBoxes], truth: list[BoxedImage]) -> dict:
    return {"street": match(truth, found, ["person"])}


def test_bootstrap_of_equals_is_nothing_and_of_better_is_above_nothing() -> None:
    truth = [drawn(BOX, FAR) for _ in range(30)]
    good = [seen((BOX, 0.9), (FAR, 0.8)) for _ in truth]
    poor = [seen((BOX, 0.9)) for _ in truth]
    assert bootstrap_difference(cells(good, truth), cells(good, truth), ["person"], draws=50) == (0.0, 0.0, 0.0)
    difference, low, high = bootstrap_difference(cells(good, truth), cells(poor, truth), ["person"], draws=50)
    assert 0 < low <= difference <= high
    assert bootstrap_difference(cells(good, truth), cells(poor, truth), ["person"], draws=50) == (difference, low, high)


def test_bootstrap_is_wide_where_one_image_decides() -> None:
    truth = [drawn(BOX) for _ in range(6)]
    good = [seen((BOX, 0.9)) for _ in truth]
    lucky = [seen(), *good[1:]]
    _, low, high = bootstrap_difference(cells(good, truth), cells(lucky, truth), ["person"])
    assert low == 0.0
    assert high > 0.3


def test_mean_leaves_out_cells_without_boxes() -> None:
    truth = [drawn(BOX)]
    matches = {"street": match(truth, [seen((BOX, 0.9))], ["person", "car"])}
    assert mean_average_precision(matches, ["person", "car"]) == pytest.approx(1.0)
    assert np.isnan(mean_average_precision(matches, ["car"]))
