"""Masks and boxes drawn into an image: what is changed, what is not, and that labels can be read."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_fusion_ros.pipeline.classes import CITYSCAPES_CLASSES, CITYSCAPES_COLOURS, UNLABELLED
from sage_fusion_ros.pipeline.overlay import colour_of_class, draw_overlay
from sage_fusion_ros.pipeline.types import Detections

HEIGHT, WIDTH = 48, 64
CLASSES = ("road", "person", "sky")
GREY = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)


def boxes(*rows: tuple[float, float, float, float], ids: tuple[int, ...] = (), scores: tuple[float, ...] = ()):
    count = len(rows)
    return Detections(
        np.array(rows, np.float32).reshape(-1, 4),
        np.array(scores or [0.5] * count, np.float32),
        np.array(ids or [0] * count, np.int64),
    )


def big(height: int = 480, width: int = 640) -> np.ndarray:
    return np.full((height, width, 3), 100, np.uint8)


def is_colour(image: np.ndarray, name: str) -> np.ndarray:
    return (image == colour_of_class(name)).all(axis=2)


def test_the_mask_tints_by_class_and_leaves_the_rest():
    mask = np.full((HEIGHT, WIDTH), UNLABELLED, np.uint8)
    mask[:10], mask[10:20], mask[20:30] = 0, 2, 3  # 3 is the first id without a class
    out = draw_overlay(GREY, mask, CLASSES, None, (), 0.4)
    for rows, name in ((slice(0, 10), "road"), (slice(10, 20), "sky")):
        expected = 0.6 * 100 + 0.4 * np.array(colour_of_class(name))
        assert np.abs(out[rows] - expected).max() <= 1
    assert (out[20:] == 100).all()


def test_the_input_stays_as_it_is():
    fused = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    before = fused.copy(), mask.copy()
    fused.flags.writeable = mask.flags.writeable = False
    for opacity in (0.0, 0.5, 1.0):
        for given_mask in (None, mask):
            out = draw_overlay(fused, given_mask, CLASSES, boxes((5, 5, 40, 40)), ("person",), opacity)
            assert out.shape == fused.shape
            assert out.dtype == np.uint8
            assert not np.shares_memory(out, fused)
            assert out.flags.writeable
    assert (fused == before[0]).all()
    assert (mask == before[1]).all()


def test_opacity_0_shows_boxes_only_and_1_the_masks_colours_only():
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    assert (draw_overlay(GREY, mask, CLASSES, None, (), 0.0) == GREY).all()
    assert is_colour(draw_overlay(GREY, mask, CLASSES, None, (), 1.0), "road").all()
    with_box = draw_overlay(big(), np.zeros((480, 640), np.uint8), CLASSES, boxes((50, 90, 300, 400)), ("car",), 0.0)
    assert is_colour(with_box, "car").sum() > 2 * (250 + 310)
    assert (with_box[200, 200] == 100).all()


@pytest.mark.parametrize("nothing", [None, boxes()])
def test_nothing_found_and_no_mask_is_the_image(nothing):
    assert (draw_overlay(GREY, None, CLASSES, nothing, ("person",)) == GREY).all()
    assert (draw_overlay(GREY, None, (), nothing, ()) == GREY).all()


def test_a_mask_without_class_names_tints_nothing():
    assert (draw_overlay(GREY, np.zeros((HEIGHT, WIDTH), np.uint8), (), None, ()) == GREY).all()


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match="the mask is 32x24, the image 64x48"):
        draw_overlay(GREY, np.zeros((24, 32), np.uint8), CLASSES, None, ())


@pytest.mark.parametrize("size", [(480, 640), (481, 639), (24, 32), (1, 1), (1080, 1920)])
def test_any_size_with_boxes_inside_at_and_over_the_border(size):
    height, width = size
    image, mask = big(height, width), np.zeros(size, np.uint8)
    found = boxes((0, 0, width, height), (-50, -50, 2, 2), (width - 1, height - 1, width + 99, height + 99))
    assert draw_overlay(image, mask, CLASSES, found, ("person",)).shape == image.shape


def test_a_box_at_the_border_shows_its_line_inside_the_image():
    out = is_colour(draw_overlay(big(), None, (), boxes((0, 0, 640, 480)), ("car",)), "car")
    assert out[200, 0]
    assert out[200, -1]
    assert out[-1, 300]
    assert out[0, 300]


@pytest.mark.parametrize(
    "outside",
    [
        (-90, 10, -20, 50),
        (700, 10, 800, 50),
        (10, 480, 50, 600),
        (30, 30, 30, 60),
        (60, 60, 30, 30),
        (float("nan"), 0, 10, 10),
        (0, 0, float("inf"), 10),
    ],
)
def test_a_box_outside_or_without_extent_is_not_drawn(outside):
    assert (draw_overlay(big(), None, (), boxes(outside), ("car",)) == 100).all()


@pytest.mark.parametrize(
    "box", [(0, 0, 60, 40), (600, 0, 640, 40), (0, 440, 60, 480), (600, 440, 640, 480), (-30, -30, 30, 30)]
)
def test_labels_are_inside_the_image_in_every_corner(box):
    lines = 320  # at most, of a box of 40 x 40; the plate has four times as much
    assert is_colour(draw_overlay(big(), None, (), boxes(box), ("motorcycle",)), "motorcycle").sum() > lines + 700


def test_labels_have_letters_that_read_at_640x480():
    _, columns = np.nonzero(
        (draw_overlay(big(), None, (), boxes((200, 200, 210, 210)), ("person",)) != 100).any(axis=2)
    )
    assert columns.max() - columns.min() > 60  # eleven characters, far wider than the box
    out = draw_overlay(big(), None, (), boxes((200, 200, 210, 210)), ("person",))
    plate = out[185:198, 200:280]
    contrast = cv2.cvtColor(plate, cv2.COLOR_RGB2GRAY)
    assert int(contrast.max()) - int(contrast.min()) > 100


def test_labels_of_a_crowd_never_cover_each_other():
    """Twenty boxes in the same place: three labels find room, and the surest is above the box as if it were alone."""
    crowd = boxes(*[(200, 200, 300, 300)] * 20, scores=tuple(np.linspace(0.2, 0.9, 20)))
    out = draw_overlay(big(), None, (), crowd, ("person",))
    alone = draw_overlay(big(), None, (), boxes((200, 200, 300, 300), scores=(0.9,)), ("person",))
    assert (out[:200] == alone[:200]).all()
    assert is_colour(out[300:], "person").sum() > 700
    assert (out[320:] == 100).all()


def test_a_box_without_a_score_has_its_name_alone():
    def width(score: float) -> int:
        out = draw_overlay(big(), None, (), boxes((200, 200, 210, 210), scores=(score,)), ("person",))
        columns = np.nonzero((out != 100).any(axis=(0, 2)))[0]
        return int(columns.max() - columns.min())

    assert 30 < width(float("nan")) < width(0.5) - 15


def test_a_class_id_beyond_the_names_is_shown_as_a_number():
    known = draw_overlay(big(), None, (), boxes((100, 100, 200, 200), ids=(0,)), ("person",))
    for beyond in (1, 79, -1):
        out = draw_overlay(big(), None, (), boxes((100, 100, 200, 200), ids=(beyond,)), ("person",))
        assert is_colour(out, str(beyond)).sum() > 400
        assert (out != known).any()


def test_the_surest_box_is_on_top():
    one = (100, 100, 200, 200)
    for scores, top in (((0.9, 0.3), "person"), ((0.3, 0.9), "car")):
        out = draw_overlay(big(), None, (), boxes(one, one, ids=(0, 1), scores=scores), ("person", "car"))
        assert is_colour(out[120:180, 99:102], top).any()
        assert not is_colour(out[120:180, 99:102], "car" if top == "person" else "person").any()


def test_cityscapes_classes_have_their_colours():
    assert [colour_of_class(name) for name in CITYSCAPES_CLASSES] == [tuple(c) for c in np.array(CITYSCAPES_COLOURS)]


@given(st.text(max_size=30))
def test_any_name_has_a_colour(name):
    colour = colour_of_class(name)
    assert len(colour) == 3
    assert all(isinstance(value, int) and 0 <= value <= 255 for value in colour)


def test_a_name_has_the_same_colour_in_another_process():
    code = "from sage_fusion_ros.pipeline.overlay import colour_of_class as c; print([c('forklift'), c('deer')])"
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert printed == {f"{[colour_of_class('forklift'), colour_of_class('deer')]}\n"}
    assert colour_of_class("forklift") != colour_of_class("deer")
