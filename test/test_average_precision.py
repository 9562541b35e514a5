"""Average precision against drawn boxes: by hand, against pycocotools' own accumulation, and its bootstrap."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_fusion_ros.evaluation.average_precision import (
    AP50_95,
    bootstrap_difference,
    join_classes,
    join_images,
    match,
    mean_average_precision,
)
from sage_fusion_ros.evaluation.bootstrap import draw_weights, interval
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


def test_ap50_95_counts_at_how_many_overlaps_a_box_is_found() -> None:
    """Shifted by 5 of 30 rows the overlap is 25 / 35 = 0.714: found at 0.50 to 0.70, five of the ten overlaps."""
    matches = match([drawn(BOX)], [seen(([10, 15, 30, 45], 0.9))], ["person"], AP50_95)["person"]
    assert matches.by_overlap(np.ones((1, 1)))[0].tolist() == pytest.approx([1] * 5 + [0] * 5)
    assert matches.average_precision() == pytest.approx(0.5)


def test_ap50_95_with_a_loose_and_a_tight_box() -> None:
    """The surer of two is loose (0.714), the other exact: up to 0.70 both count, beyond it the first is a miss.

    Then one of two boxes is found, at a precision of 1/2, in 51 of the 101 recalls.
    """
    found = [seen(([10, 15, 30, 45], 0.9), (FAR, 0.8))]
    matches = match([drawn(BOX, FAR)], found, ["person"], AP50_95)["person"]
    assert matches.average_precision() == pytest.approx((5 * 1 + 5 * 51 / 101 / 2) / 10)


def test_sets_and_classes_are_ranked_together() -> None:
    """In one set the surer detection is a false alarm, in the other the less sure one: together 1/2, then 2/3."""
    one = match([drawn(BOX)], [seen((FAR, 0.9), (BOX, 0.8))], ["person"])["person"]
    other = match([drawn(BOX)], [seen((BOX, 0.7), (FAR, 0.6))], ["person"])["person"]
    joined = join_images([one, other])
    assert joined.score.tolist() == pytest.approx([0.9, 0.8, 0.7, 0.6])
    assert joined.hit[0].tolist() == [False, True, True, False]
    assert joined.image.tolist() == [0, 0, 1, 1]
    assert joined.boxes.tolist() == [1, 1]
    assert joined.average_precision() == pytest.approx(2 / 3)  # 2/3 at full recall, which is the best beyond 1/2 too
    as_classes = join_classes([one, other])
    assert as_classes.boxes.tolist() == [2]
    assert as_classes.average_precision() == pytest.approx(2 / 3)


def test_false_alarms_where_nothing_is_drawn_count_when_sets_are_joined() -> None:
    """A class of which a set has boxes elsewhere."""
    empty = match([BoxedImage("a.png", np.array([FAR], np.float32), ["car"])], [seen((BOX, 0.9))], ["person"])["person"]
    assert np.isnan(empty.average_precision())
    other = match([drawn(BOX)], [seen((BOX, 0.5))], ["person"])["person"]
    assert join_images([empty, other]).average_precision() == pytest.approx(0.5)


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
    matches = match(truth, found, ["person"], AP50_95)["person"]
    mine = matches.by_overlap(np.ones((1, len(truth))))[0]
    if not annotations:
        assert np.isnan(mine).all()
        return
    if not results:
        assert (mine == 0).all()
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
        reference.summarize()
    assert mine == pytest.approx(reference.eval["precision"][:, :, 0, 0, 2].mean(axis=1), abs=1e-9)
    assert matches.average_precision() == pytest.approx(reference.stats[0], abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(boxes, boxes), min_size=1, max_size=5), st.integers(0, 2**16))
def test_weights_are_repeated_images(images: list, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = [drawn(*([x, y, x + w, y + h] for x, y, w, h in t)) for t, _ in images]
    found = [seen(*(([x, y, x + w, y + h], float(rng.random())) for x, y, w, h in f)) for _, f in images]
    weights = rng.integers(0, 4, len(images))
    weighted = match(truth, found, ["person"], AP50_95)["person"].average_precision(weights.astype(float))
    repeated = [i for i, times in enumerate(weights) for _ in range(times)]
    if not any(truth[i].labels for i in repeated):
        assert np.isnan(weighted)
        return
    again = match([truth[i] for i in repeated], [found[i] for i in repeated], ["person"], AP50_95)["person"]
    assert weighted == pytest.approx(again.average_precision(), abs=1e-9)


def test_draws_are_the_same_each_time_and_stay_in_their_set() -> None:
    one, again = (draw_weights({"a": 4, "b": 9}, 200, seed=3) for _ in range(2))
    assert all((one[name] == again[name]).all() for name in ("a", "b"))
    assert (one["a"].sum(axis=1) == 4).all()
    assert (one["b"].sum(axis=1) == 9).all()
    assert one["a"].shape == (200, 4)
    assert len(np.unique(one["a"], axis=0)) > 10
    assert (draw_weights({"a": 4, "b": 9}, 200, seed=4)["a"] != one["a"]).any()


def test_an_interval_leaves_out_draws_without_a_value() -> None:
    assert interval(np.append(np.arange(101.0), [np.nan] * 50)) == (2.5, 97.5)
    assert np.isnan(interval(np.array([np.nan]))).all()


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
