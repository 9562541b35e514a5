"""Pixels of an image to pixels of a network's input and back, for boxes and for masks alike."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_fusion_ros.pipeline.letterbox import ANCHORS, Letterbox
from sage_fusion_ros.pipeline.preprocessing import Preprocessing

sizes = st.integers(1, 700)
boxes = st.builds(Letterbox.fit, sizes, sizes, sizes, sizes, st.sampled_from(ANCHORS), st.booleans())


@settings(deadline=None)
@given(boxes, st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 4), max_size=5))
def test_boxes_come_back_to_where_they_were(box: Letterbox, shares: list) -> None:
    xyxy = np.array(shares, np.float32).reshape(-1, 4) * np.array([box.width, box.height] * 2, np.float32)
    there = box.to_network(xyxy)
    assert there.dtype == np.float32
    assert (there[:, ::2] >= box.left - 1e-3).all()
    assert (there[:, 1::2] <= box.top + box.inner_height + 1e-3).all()
    # float32 keeps 24 bits of the network's pixel, which is magnified on its way back.
    back = max(box.width / box.inner_width, box.height / box.inner_height) * 700 * 2.0**-20
    np.testing.assert_allclose(box.to_image(there), xyxy, atol=max(1e-4, back))


@settings(deadline=None)
@given(boxes)
def test_the_image_lies_inside_and_keeps_its_shape(box: Letterbox) -> None:
    assert 1 <= box.inner_height <= box.net_height - box.top
    assert 1 <= box.inner_width <= box.net_width - box.left
    corners = box.to_network(np.array([[0, 0, box.width, box.height]], np.float32))[0]
    expected = [box.left, box.top, box.left + box.inner_width, box.top + box.inner_height]
    np.testing.assert_allclose(corners, expected, rtol=1e-5)
    scale = min(box.net_height / box.height, box.net_width / box.width)
    if (box.inner_height, box.inner_width) == (box.net_height, box.net_width):
        return  # squeezed, or it fits
    if (box.inner_height, box.inner_width) == (box.height, box.width):
        assert scale >= 1  # not enlarged
    else:
        assert abs(box.inner_height - max(1, box.height * scale)) <= 1
        assert abs(box.inner_width - max(1, box.width * scale)) <= 1


@settings(deadline=None, max_examples=50)
@given(boxes, st.integers(0, 113))
def test_what_is_applied_is_one_rectangle_in_grey(box: Letterbox, level: int) -> None:
    placed = box.apply(np.full((box.height, box.width, 3), level, np.uint8))
    assert placed.shape == (box.net_height, box.net_width, 3)
    inside = np.zeros(placed.shape, bool)
    inside[box.top : box.top + box.inner_height, box.left : box.left + box.inner_width] = True
    assert (placed[inside] == level).all()
    assert (placed[~inside] == 114).all()


def test_rounding_is_that_of_the_published_letterboxes() -> None:
    assert Letterbox.fit(329, 500, 416, 416) == Letterbox(329, 500, 416, 416, 0, 0, 273, 416)  # 273.7
    assert Letterbox.fit(329, 500, 416, 416, "centre") == Letterbox(329, 500, 416, 416, 71, 0, 274, 416)
    assert Letterbox.fit(480, 640, 640, 640, "centre") == Letterbox(480, 640, 640, 640, 80, 0, 480, 640)
    assert Letterbox.fit(1000, 1000, 416, 416) == Letterbox(1000, 1000, 416, 416, 0, 0, 416, 416)  # 415 by floats
    assert Letterbox.fit(50, 60, 64, 96, upscale=False) == Letterbox(50, 60, 64, 96, 0, 0, 50, 60)


def test_an_image_that_fits_is_not_copied() -> None:
    image = np.zeros((64, 96, 3), np.uint8)
    assert Letterbox.fit(64, 96, 64, 96).apply(image) is image


def test_a_thing_seen_by_the_network_is_boxed_where_it_is() -> None:
    """The bright thing's place in the network's picture, mapped back, is its place in the image."""
    image = np.zeros((240, 400, 3), np.uint8)
    image[60:120, 100:300] = 255
    for anchor in ANCHORS:
        box = Letterbox.fit(240, 400, 160, 160, anchor)
        seen = box.apply(image, padding=0)[..., 0] > 127
        rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
        corners = np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], np.float32)
        np.testing.assert_allclose(box.to_image(corners), [[100, 60, 300, 120]], atol=1.5)


def test_boxes_end_at_the_edges_unless_told_otherwise() -> None:
    box = Letterbox.fit(100, 200, 100, 100)
    corners = np.array([[-10, -10, 110, 90]], np.float32)
    assert box.to_image(corners).tolist() == [[0, 0, 200, 100]]
    assert box.to_image(corners, clip=False).tolist() == [[-20, -20, 220, 180]]


@settings(deadline=None, max_examples=50)
@given(st.builds(Letterbox.fit, *[st.integers(1, 60)] * 4, st.sampled_from(ANCHORS)), *[st.integers(1, 40)] * 2)
def test_a_mask_pixel_is_the_cell_its_centre_falls_into(box: Letterbox, rows: int, columns: int) -> None:
    grid = np.arange(rows * columns).reshape(rows, columns)
    low, high = box.sample((grid % 256).astype(np.uint8)), box.sample((grid // 256).astype(np.uint8))
    found = low.astype(int) + 256 * high.astype(int)
    assert found.shape == (box.height, box.width)

    def cells(size: int, start: int, inner: int, net: int, count: int) -> list[int]:
        return [int((start + (i + Fraction(1, 2)) * inner / size) * count / net) for i in range(size)]

    at = cells(box.height, box.top, box.inner_height, box.net_height, rows)
    along = cells(box.width, box.left, box.inner_width, box.net_width, columns)
    np.testing.assert_array_equal(found, grid[np.ix_(at, along)])


def test_mask_and_boxes_agree() -> None:
    """A mask drawn where a box lies in the network's picture comes back where the box comes back."""
    for anchor in ANCHORS:
        box = Letterbox.fit(300, 500, 256, 320, anchor)
        drawn = np.array([[100, 60, 140, 100]], np.float32)
        inside = np.zeros((256, 320), np.uint8)
        inside[60:100, 100:140] = 1
        mask = box.sample(inside)
        left, top, right, bottom = box.to_image(drawn)[0]
        x, y = np.meshgrid(np.arange(500) + 0.5, np.arange(300) + 0.5)
        np.testing.assert_array_equal(mask, (x > left) & (x < right) & (y > top) & (y < bottom))


def test_a_quarter_grid_is_repeated() -> None:
    grid = np.arange(30 * 40, dtype=np.uint16).reshape(30, 40).astype(np.uint8)
    np.testing.assert_array_equal(
        Letterbox.fit(120, 160, 120, 160).sample(grid),
        cv2.resize(grid, (160, 120), interpolation=cv2.INTER_NEAREST_EXACT),
    )


@pytest.mark.parametrize("arguments", [(0, 1, 1, 1), (1, 1, 1, 1, "bottom")])
def test_senseless_boxes_are_refused(arguments: tuple) -> None:
    with pytest.raises(ValueError, match="letterbox"):
        Letterbox.fit(*arguments)


def test_what_a_network_learnt_from_smoothed_crops_is_shown_without_aliasing() -> None:
    stripes = np.zeros((90, 90, 3), np.uint8)
    stripes[:, ::3] = 240
    box = Letterbox.fit(90, 90, 30, 30)
    smooth = Preprocessing(shrinking=cv2.INTER_AREA).place(stripes, box)
    assert (smooth == 80).all()
    assert Preprocessing().place(stripes, box).std() == 0
    assert not (Preprocessing().place(stripes, box) == 80).any()
    larger = Letterbox.fit(30, 30, 90, 90)
    tile = np.ascontiguousarray(stripes[:30, :30])
    shown = [Preprocessing(shrinking=each).place(tile, larger) for each in (cv2.INTER_AREA, cv2.INTER_LINEAR)]
    assert (shown[0] == shown[1]).all()
