"""Where the mask and the boxes of one network meet: a vehicle in the mask needs a box."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from mock_perception import make_perception
from perception_rig import NONE, bright, load

from sage_fusion_ros.pipeline.classes import CITYSCAPES_CLASSES, DRIVING_CLASSES
from sage_fusion_ros.pipeline.letterbox import Letterbox
from sage_fusion_ros.pipeline.perception_network import VEHICLE_SCORE, boxed_vehicles
from sage_fusion_ros.pipeline.types import Detections

ROAD, PERSON, CAR = (CITYSCAPES_CLASSES.index(name) for name in ("road", "person", "car"))
BOX = Letterbox.fit(96, 128, 96, 128)  # a cell of the mask is 4x4 pixels


def logits_of(ids: np.ndarray, second: int = ROAD) -> np.ndarray:
    """Logits whose largest is the id's, then `second`'s."""
    logits = np.zeros((1, len(CITYSCAPES_CLASSES), *ids.shape), np.float32)
    logits[0, second] = 1
    np.put_along_axis(logits[0], ids[None].astype(np.int64), 2, axis=0)
    return logits


def seen(xyxy: list[list[float]], scores: list[float], names: list[str]) -> Detections:
    ids = [DRIVING_CLASSES.index(name) for name in names]
    return Detections(np.array(xyxy, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(ids, np.int64))


def agreed(ids: np.ndarray, found: Detections, detection_classes=DRIVING_CLASSES) -> np.ndarray:
    return boxed_vehicles(logits_of(ids), BOX, found, CITYSCAPES_CLASSES, detection_classes)[0].argmax(axis=0)


def test_a_vehicle_without_a_box_is_what_is_next_likely() -> None:
    ids = np.full((24, 32), CAR)
    boxed = np.zeros(ids.shape, bool)
    boxed[4:12, 8:24] = True  # 32..96 by 16..48 pixels: the box and a tenth of its sides around it, in whole cells
    np.testing.assert_array_equal(agreed(ids, seen([[38, 20, 88, 44]], [0.16], ["truck"])) == CAR, boxed)
    assert (agreed(ids, seen([], [], [])) == ROAD).all()


def test_unsure_boxes_and_boxes_of_people_bear_no_vehicle_out() -> None:
    ids = np.full((24, 32), CAR)
    everywhere = [0.0, 0.0, 128.0, 96.0]
    assert (agreed(ids, seen([everywhere], [VEHICLE_SCORE / 2], ["car"])) == ROAD).all()
    assert (agreed(ids, seen([everywhere], [0.9], ["person"])) == ROAD).all()
    assert (agreed(ids, seen([everywhere], [0.9], ["bus"])) == CAR).all()


def test_a_detector_that_knows_no_vehicles_takes_none_away() -> None:
    ids = np.full((24, 32), CAR)
    assert (agreed(ids, seen([], [], []), ("person", "dog")) == CAR).all()


@given(
    st.lists(
        st.tuples(
            st.tuples(*[st.floats(-50, 200, width=32)] * 4), st.floats(0, 1, width=32), st.sampled_from(DRIVING_CLASSES)
        ),
        max_size=6,
    ),
    st.integers(0, 2**32 - 1),
)
def test_nothing_but_vehicles_changes(rows: list[tuple], seed: int) -> None:
    """Whatever the boxes are: people stay, and no vehicle comes where there was none."""
    ids = np.random.default_rng(seed).integers(0, len(CITYSCAPES_CLASSES), (24, 32))
    found = seen([list(row[0]) for row in rows], [row[1] for row in rows], [row[2] for row in rows])
    after = agreed(ids, found)
    vehicles = np.isin(ids, [CITYSCAPES_CLASSES.index(name) for name in ("car", "truck", "bus", "train")])
    np.testing.assert_array_equal(after[~vehicles], ids[~vehicles])
    assert np.isin(after[vehicles & (after != ids)], [ROAD]).all()


def test_the_mask_is_the_same_whoever_asks_for_boxes(tmp_path: Path) -> None:
    """And what is published of the boxes does not depend on the mask."""
    classes = ("road", "person", "car")
    perceiver = load(make_perception(tmp_path / "both", mask_classes=classes, input_side=128))
    wanted = NONE | {"score_threshold": 0.6}
    alone, _ = perceiver.perceive(bright(), **wanted | {"mask": True})
    _, boxes = perceiver.perceive(bright(), **wanted | {"detections": True})
    mask, found = perceiver.perceive(bright(), **wanted | {"mask": True, "detections": True})
    np.testing.assert_array_equal(alone, mask)
    np.testing.assert_array_equal(boxes.xyxy, found.xyxy)
    np.testing.assert_array_equal(boxes.scores, found.scores)
    assert (found.scores > 0.6).all()
