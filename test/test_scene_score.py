"""Masks and boxes held against a known scene: by pycocotools' rules, and by acts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_fusion_ros.evaluation.average_precision import AP50_95, match
from sage_fusion_ros.evaluation.box_matching import match_boxes
from sage_fusion_ros.evaluation.detectors import DetectedBoxes
from sage_fusion_ros.evaluation.recording import Found
from sage_fusion_ros.evaluation.scene_score import SceneScore
from sage_fusion_ros.pipeline.classes import CITYSCAPES_CLASSES, DRIVING_CLASSES
from sage_fusion_ros.sources.base import SceneTruth
from sage_fusion_ros.sources.boxes import BoxedImage

ROAD, SKY, PERSON, CAR = (CITYSCAPES_CLASSES.index(name) for name in ("road", "sky", "person", "car"))
CLASSES = dict(enumerate(CITYSCAPES_CLASSES))
LABELS = ("person", "car")

# A coarse grid makes equal scores, equal overlaps, boxes upon boxes and empty ones.
corner = st.integers(0, 6).map(lambda value: value * 10.0)
box = st.tuples(corner, corner, corner, corner).map(lambda b: (b[0], b[1], b[0] + b[2] + 1, b[1] + b[3] + 1))
labelled = st.tuples(box, st.sampled_from(LABELS))
scored = st.tuples(box, st.sampled_from(LABELS), st.integers(1, 5).map(lambda value: value / 5))
images = st.lists(st.tuples(st.lists(labelled, max_size=5), st.lists(scored, max_size=8)), min_size=1, max_size=4)


def corners(rows) -> np.ndarray:
    return np.array([row[0] for row in rows], np.float32).reshape(-1, 4)


@settings(max_examples=150, deadline=None)
@given(images)
def test_matches_are_pycocotools(drawn):
    truth = [BoxedImage("", corners(true), [row[1] for row in true]) for true, _ in drawn]
    found = [DetectedBoxes(corners(s), np.array([r[2] for r in s], np.float32), [r[1] for r in s]) for _, s in drawn]
    theirs = match(truth, found, LABELS, AP50_95)
    ours = match_boxes(
        [(one.xyxy, one.labels) for one in truth],
        [(one.xyxy, one.labels) for one in found],
        [one.scores for one in found],
        LABELS,
        AP50_95,
    )
    for label in LABELS:
        np.testing.assert_array_equal(ours[label].hit, theirs[label].hit)
        np.testing.assert_array_equal(ours[label].image, theirs[label].image)
        np.testing.assert_array_equal(ours[label].score, theirs[label].score)
        np.testing.assert_array_equal(ours[label].boxes, theirs[label].boxes)
        assert ours[label].average_precision() == pytest.approx(theirs[label].average_precision(), nan_ok=True)


def test_at_most_a_hundred_boxes_of_a_class_count_in_an_image():
    one = np.array([[0, 0, 10, 10]], np.float32)
    many = np.concatenate([np.full((100, 4), (50, 50, 60, 60)), one]).astype(np.float32)
    scores = np.linspace(0.9, 0.1, 101).astype(np.float32)
    (matches,) = match_boxes([(one, ["car"])], [(many, ["car"] * 101)], [scores], ["car"]).values()
    assert matches.hit.shape == (10, 100)
    assert not matches.hit.any()


def found(*rows: tuple[tuple[float, float, float, float], str, float]) -> Found:
    return Found(0, "", corners(rows), np.array([row[2] for row in rows], np.float32), [row[1] for row in rows])


def truth(mask: np.ndarray, *rows: tuple[tuple[float, float, float, float], str]) -> SceneTruth:
    return SceneTruth(mask, corners(rows), [row[1] for row in rows])


def halves(top: int, bottom: int) -> np.ndarray:
    mask = np.full((10, 10), top, np.uint8)
    mask[5:] = bottom
    return mask


HERE, SHIFTED, AWAY = (0, 0, 10, 10), (0, 0, 10, 7), (50, 50, 60, 60)


def test_scores_by_act_and_in_all():
    score = SceneScore(CLASSES, DRIVING_CLASSES)
    scene = truth(halves(SKY, ROAD), (HERE, "person"))
    score.add("day", scene, halves(SKY, ROAD), found((HERE, "person", 0.9)))
    score.add("night", scene, halves(SKY, SKY), found((SHIFTED, "person", 0.8), (AWAY, "car", 0.9)))
    scores = score.result()
    assert list(scores) == ["day", "night", "all"]
    assert scores["day"] == {
        "pairs": 1,
        "boxes": 1,
        "ap50": 1.0,
        "ap50_95": 1.0,
        "classes": {"person": {"boxes": 1, "ap50": 1.0, "ap50_95": 1.0}},
        "miou": 1.0,
        "ious": {"road": 1.0, "sky": 1.0},
    }
    # Overlap 0.7: found at five of the ten overlaps. A car where the truth knows none counts nowhere.
    assert (scores["night"]["ap50"], scores["night"]["ap50_95"]) == (1.0, 0.5)
    assert scores["night"]["ious"] == {"road": 0.0, "sky": 0.5}
    assert (scores["all"]["pairs"], scores["all"]["boxes"], scores["all"]["ap50"]) == (2, 2, 1.0)
    assert scores["all"]["miou"] == pytest.approx((0.5 + 2 / 3) / 2, abs=1e-4)


def test_one_act_is_all():
    score = SceneScore(CLASSES, DRIVING_CLASSES)
    score.add("day", truth(halves(SKY, ROAD)), halves(SKY, ROAD), found())
    assert list(score.result()) == ["all"]


def test_nothing_added_is_no_score():
    assert SceneScore(CLASSES, DRIVING_CLASSES).result() is None


def test_boxes_without_masks_and_masks_without_boxes():
    scene = truth(halves(SKY, ROAD), (HERE, "car"))
    boxes = SceneScore({}, DRIVING_CLASSES)
    boxes.add("day", scene, None, found((HERE, "car", 0.5)))
    assert boxes.result()["all"].keys() == {"pairs", "boxes", "ap50", "ap50_95", "classes"}
    masks = SceneScore(CLASSES, ())
    masks.add("day", scene, halves(SKY, ROAD), None)
    assert masks.result()["all"].keys() == {"pairs", "miou", "ious"}


def test_a_pair_whose_detections_did_not_come_is_not_scored_for_boxes():
    score = SceneScore({}, DRIVING_CLASSES)
    scene = truth(halves(SKY, ROAD), (HERE, "car"))
    score.add("day", scene, None, found((HERE, "car", 0.5)))
    score.add("day", scene, None, None)
    assert (score.result()["all"]["boxes"], score.result()["all"]["ap50"]) == (1, 1.0)


def test_nothing_true_to_find_has_no_precision():
    score = SceneScore(CLASSES, DRIVING_CLASSES)
    score.add("day", truth(np.full((10, 10), 255, np.uint8)), halves(SKY, ROAD), found((HERE, "car", 0.5)))
    scores = score.result()["all"]
    assert (scores["boxes"], scores["ap50"], scores["ap50_95"], scores["miou"]) == (0, None, None, None)


@pytest.mark.parametrize(("classes", "label"), [(DRIVING_CLASSES, "person"), ((*DRIVING_CLASSES, "rider"), "rider")])
def test_a_rider_is_a_person_to_a_detector_without_riders(classes, label):
    score = SceneScore({}, classes)
    score.add("day", truth(halves(SKY, ROAD), (HERE, "rider")), None, found((HERE, label, 0.5)))
    assert score.result()["all"]["classes"] == {label: {"boxes": 1, "ap50": 1.0, "ap50_95": 1.0}}


def test_masks_of_other_ids_are_compared_by_name_and_unknown_classes_are_left_out():
    """A network of its own three classes: road is scored, "pavement" is nothing of ours, sky it does not know."""
    score = SceneScore({0: "pavement", 1: "road", 2: "person"}, ())
    score.add("day", truth(halves(SKY, ROAD)), halves(0, 1), None)
    assert score.result()["all"]["ious"] == {"road": 1.0}
    assert score.result()["all"]["miou"] == 1.0
    strange = SceneScore({0: "pavement"}, ())
    strange.add("day", truth(halves(SKY, ROAD)), halves(0, 0), None)
    assert strange.result()["all"]["miou"] is None


def test_unlabelled_pixels_are_missed_where_the_truth_knows_better():
    score = SceneScore(CLASSES, ())
    score.add("day", truth(halves(SKY, ROAD)), halves(255, ROAD), None)
    assert score.result()["all"]["ious"] == {"road": 1.0, "sky": 0.0}
