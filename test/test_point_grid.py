"""The search for everything in an image, with a made-up network whose masks are known."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.training.priors.mask_filters import (
    boxes_of,
    cut_off,
    not_overlapping,
    stability,
    without_specks,
)
from sage_fusion_ros.training.priors.point_grid import find_everything, point_grid, views
from sage_fusion_ros.training.priors.sam_settings import SamSettings

SIZE = (60, 90)
SETTINGS = SamSettings(points_per_side=12, points_per_batch=50, least_area=20)


def scene() -> np.ndarray:
    """A dark ground (grey 10) with three things of one grey each: 20x30, 12x12 and 6x5 pixels."""
    image = np.full((*SIZE, 3), 10, np.uint8)
    image[5:25, 5:35] = 100
    image[40:52, 60:72] = 150
    image[30:36, 76:81] = 200
    return image


class FakeView:
    """Sees surely what has the grey of the point; the same with an edge that hangs on the threshold; unsurely, most.

    The further left a point, the surer it is.
    """

    def __init__(self, image: np.ndarray, seen: list[tuple[int, ...]]) -> None:
        self._grey = torch.from_numpy(image[..., 0].astype(np.int64))
        seen.append(image.shape)

    def propose(self, points: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        logits, ious = [], []
        for x, y in points:
            thing = (self._grey == self._grey[int(y), int(x)]).float()
            most = torch.full_like(thing, 10.0)
            most[:, : thing.shape[1] // 3] = -10
            logits += [20 * thing - 10, thing - 0.9, most]
            ious += [0.95 - 0.0001 * int(x), 0.97, 0.5]
        return torch.stack(logits), torch.tensor(ious)

    def enlarge(self, logits: torch.Tensor) -> torch.Tensor:
        assert len(logits)
        return logits


def found_in(image: np.ndarray, settings: SamSettings = SETTINGS) -> tuple[np.ndarray, list[tuple[int, ...]]]:
    seen: list[tuple[int, ...]] = []
    return find_everything(image, lambda view: FakeView(view, seen), settings), seen


def test_each_thing_is_found_once_largest_first() -> None:
    image = scene()
    masks, seen = found_in(image)
    greys = [int(image[mask][0, 0]) for mask in masks]
    assert greys == [10, 100, 150, 200]
    for mask, grey in zip(masks, greys, strict=True):
        assert np.array_equal(mask, image[..., 0] == grey)
    assert seen == [image.shape]  # looked at once, however many points


def test_unsure_and_unstable_masks_are_left_out() -> None:
    image = scene()
    most = np.ones(SIZE, bool)
    most[:, : SIZE[1] // 3] = False
    unsure = SamSettings(points_per_side=12, least_area=20, predicted_iou=0.4)
    assert not any(np.array_equal(mask, most) for mask in found_in(image)[0])
    assert any(np.array_equal(mask, most) for mask in found_in(image, unsure)[0])
    # As sure as this are only those whose edge hangs on the threshold.
    unstable = SamSettings(points_per_side=12, least_area=20, predicted_iou=0.96)
    assert found_in(image, unstable)[0].shape == (0, *SIZE)
    assert len(found_in(image, replace(unstable, stability=0.0))[0]) == 4


def test_what_no_point_meets_is_not_found() -> None:
    masks, _ = found_in(scene(), SamSettings(points_per_side=2, least_area=20))
    assert {int(scene()[mask][0, 0]) for mask in masks} == {10, 100, 150}


def test_things_under_the_least_area_are_left_out_and_holes_filled() -> None:
    image = scene()
    masks, _ = found_in(image, SamSettings(points_per_side=12, least_area=40))
    assert [int(mask.sum()) for mask in masks] == [SIZE[0] * SIZE[1] - 600 - 144, 600, 144]  # over the 30 pixels


def test_an_image_of_nothing_but_unsure_masks_gives_none() -> None:
    masks, _ = found_in(scene(), SamSettings(points_per_side=4, predicted_iou=0.99))
    assert masks.shape == (0, *SIZE)


def test_at_most_twenty_are_kept() -> None:
    image = np.repeat(np.repeat(np.arange(48, dtype=np.uint8).reshape(6, 8) * 5, 10, axis=0), 10, axis=1)
    masks, _ = found_in(np.stack([image] * 3, axis=2), SamSettings(points_per_side=24, least_area=20))
    assert masks.shape == (20, 60, 80)
    assert (masks.sum(axis=(1, 2)) == 100).all()


def test_a_further_layer_finds_smaller_things_in_their_place() -> None:
    image = cv2.resize(scene(), (360, 240), interpolation=cv2.INTER_NEAREST)  # 4 pixels for one
    image[150:157, 204:214] = 250  # 70 pixels between the points of the whole image
    coarse = SamSettings(points_per_side=6, crop_points_divisor=1, least_area=20)
    fine = SamSettings(points_per_side=6, crop_points_divisor=1, least_area=20, crop_layers=2)
    assert not any(np.array_equal(mask, image[..., 0] == 250) for mask in found_in(image, coarse)[0])
    masks, seen = found_in(image, fine)
    assert len(seen) == 1 + 4 + 16
    for grey in (250, 200, 150, 100):
        assert sum(np.array_equal(mask, image[..., 0] == grey) for mask in masks) == 1
    # No part's edge has cut one of them in two.
    for mask in masks:
        greys, counts = np.unique(image[mask][:, 0], return_counts=True)
        if greys.tolist() != [10]:
            assert counts.tolist() == [int((image[..., 0] == grey).sum()) for grey in greys]


@given(st.integers(1, 200), st.integers(1, 200), st.integers(0, 3))
def test_the_views_of_a_layer_cover_the_image(height: int, width: int, layers: int) -> None:
    parts = views((height, width), layers)
    assert parts[0] == (0, (0, 0, width, height))
    for layer in range(layers + 1):
        covered = np.zeros((height, width), bool)
        for left, top, right, bottom in (box for level, box in parts if level == layer):
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
            covered[top:bottom, left:right] = True
        assert covered.all()


def test_points_lie_in_the_middle_of_equal_cells() -> None:
    points = point_grid(4, (8, 16))
    assert points.shape == (16, 2)
    assert sorted(set(points[:, 0])) == [2, 6, 10, 14]
    assert sorted(set(points[:, 1])) == [1, 3, 5, 7]


def test_stability_is_the_ratio_of_the_areas_at_both_thresholds() -> None:
    logits = torch.tensor([[[2.0, 2.0, 0.5, -0.5], [-2.0, 0.0, 2.0, -3.0]], [[-5.0] * 4] * 2])
    assert stability(logits, 1.0).tolist() == [0.5, 0.0]  # 3 above +1, 6 above -1


@given(arrays.arrays(bool, (3, 6, 7)))
def test_boxes_hold_exactly_their_masks(masks: np.ndarray) -> None:
    for mask, (left, top, right, bottom) in zip(masks, boxes_of(masks).astype(int), strict=True):
        inside = mask[top:bottom, left:right]
        assert inside.sum() == mask.sum()
        if mask.any():
            assert inside[0].any()
            assert inside[-1].any()
            assert inside[:, 0].any()
            assert inside[:, -1].any()
        else:
            assert inside.size == 0


def test_of_boxes_that_overlap_the_best_stays() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 6], [20, 0, 30, 10.0]])
    assert not_overlapping(boxes, np.array([0.8, 0.9, 0.7, 0.6]), 0.7).tolist() == [1, 2, 3]
    assert not_overlapping(boxes, np.array([0.8, 0.9, 0.7, 0.6]), 0.6).tolist() == [1, 3]
    assert not_overlapping(boxes[:0], np.zeros(0), 0.7).tolist() == []


def test_masks_are_cut_off_by_a_view_but_not_by_the_image() -> None:
    boxes = np.array([[50, 50, 90, 90], [80, 50, 115, 90], [0, 50, 90, 90], [50, 130, 90, 199.0]])
    assert cut_off(boxes, (0, 0, 120, 200), (200, 300)).tolist() == [False, True, False, False]
    assert cut_off(boxes, (0, 0, 300, 200), (200, 300)).tolist() == [False] * 4


def test_specks_go_and_holes_are_filled() -> None:
    mask = np.zeros((20, 20), bool)
    mask[2:12, 2:12] = True
    mask[5:7, 5:7] = False  # a hole of 4
    mask[15:17, 15:18] = True  # an island of 6
    clean = without_specks(mask, 10)
    assert clean.sum() == 100
    assert clean[2:12, 2:12].all()
    assert np.array_equal(without_specks(mask, 4), mask)
    assert not without_specks(mask, 110).any()


@pytest.mark.parametrize(
    ("name", "value"),
    [("points_per_side", 0), ("predicted_iou", 1.1), ("stability", -0.1), ("crop_layers", -1), ("points_per_batch", 0)],
)
def test_settings_out_of_range_are_named(name: str, value: float) -> None:
    with pytest.raises(ParameterError, match=f"sam: {name} is {value}; expected"):
        SamSettings(**{name: value})
