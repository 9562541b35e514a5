"""The perception losses on cases that can be worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from sage_fusion_ros.networks.perception import cell_centres
from sage_fusion_ros.training.perception.crops import PerceptionBatch
from sage_fusion_ros.training.perception.label_maps import NO_TRAFFIC
from sage_fusion_ros.training.perception.losses import (
    CANDIDATES,
    assign,
    box_losses,
    generalised_iou,
    mask_loss,
    pairwise_iou,
)
from sage_fusion_ros.training.perception.relations import relation_gap

SIDE = 64
CENTRES = cell_centres(SIDE, SIDE, torch.zeros(1))


def batch_of(boxes: list[list[float]], classes: list[int], confidence: list[float]) -> PerceptionBatch:
    return PerceptionBatch(
        torch.zeros(1, 3, SIDE, SIDE),
        torch.zeros(1, 3, SIDE, SIDE),
        torch.zeros(1, SIDE // 4, SIDE // 4, dtype=torch.int64),
        torch.tensor([boxes]),
        torch.tensor([classes]),
        torch.tensor([confidence]),
    )


def everywhere(box: list[float]) -> torch.Tensor:
    """Corners as if every cell said the same box."""
    return torch.tensor(box).expand(1, len(CENTRES), 4).clone()


def test_overlaps_by_hand() -> None:
    a = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    b = torch.tensor([[5.0, 0.0, 15.0, 10.0]])
    far = torch.tensor([[20.0, 0.0, 30.0, 10.0]])
    assert pairwise_iou(a[None], torch.stack([b[0], far[0], a[0]])[None])[0, 0].tolist() == pytest.approx([1 / 3, 0, 1])
    assert generalised_iou(a, a).item() == pytest.approx(1)
    assert generalised_iou(a, b).item() == pytest.approx(1 / 3)
    assert generalised_iou(a, far).item() == pytest.approx(-1 / 3)  # the hull is 30 wide, 10 of it belong to neither


def test_the_cells_in_a_box_answer_for_it_and_score_as_well_as_they_fit() -> None:
    box = [16.0, 16.0, 40.0, 40.0]
    scores = torch.full((1, len(CENTRES), 6), 0.5)
    wanted, mine = assign(everywhere(box), scores, CENTRES, batch_of([box], [2], [1.0]))
    answering = wanted[0].sum(dim=1) > 0
    inside = ((CENTRES > 16) & (CENTRES < 40)).all(dim=1)
    assert 0 < int(answering.sum()) <= CANDIDATES
    assert bool((inside | ~answering).all())
    assert torch.allclose(wanted[0][answering][:, 2], torch.ones(int(answering.sum())))
    assert wanted[0][:, [0, 1, 3, 4, 5]].sum() == 0
    assert bool((mine[0][answering] == torch.tensor(box)).all())


def test_a_doubtful_box_is_learnt_with_its_doubt() -> None:
    box = [16.0, 16.0, 40.0, 40.0]
    scores = torch.full((1, len(CENTRES), 6), 0.5)
    wanted, _ = assign(everywhere(box), scores, CENTRES, batch_of([box], [0], [0.4]))
    assert wanted.max().item() == pytest.approx(0.4)


def test_a_box_smaller_than_a_cell_still_has_a_cell() -> None:
    box = [31.0, 31.0, 33.0, 34.0]
    wanted, _ = assign(everywhere(box), torch.full((1, len(CENTRES), 6), 0.5), CENTRES, batch_of([box], [0], [1.0]))
    assert wanted.sum() > 0


def test_a_cell_answers_for_one_box_only() -> None:
    boxes = [[8.0, 8.0, 40.0, 40.0], [12.0, 12.0, 44.0, 44.0]]
    corners = everywhere(boxes[0])
    corners[0, CENTRES[:, 0] > 26] = torch.tensor(boxes[1])
    wanted, mine = assign(corners, torch.full((1, len(CENTRES), 6), 0.5), CENTRES, batch_of(boxes, [0, 2], [1.0, 1.0]))
    assert bool(((wanted[0] > 0).sum(dim=1) <= 1).all())
    for index, label in enumerate((0, 2)):
        chosen = wanted[0, :, label] > 0
        assert bool(chosen.any())
        assert bool((mine[0][chosen] == torch.tensor(boxes[index])).all())


def test_rows_that_are_no_box_are_nobody_s() -> None:
    wanted, mine = assign(
        everywhere([0.0, 0.0, 64.0, 64.0]),
        torch.full((1, len(CENTRES), 6), 0.5),
        CENTRES,
        batch_of([[0.0, 0.0, 0.0, 0.0]], [0], [0.0]),
    )
    assert wanted.sum() == 0
    assert mine.sum() == 0


def test_without_boxes_only_scores_above_nothing_cost() -> None:
    empty = batch_of([[0.0, 0.0, 0.0, 0.0]], [0], [0.0])
    distances = torch.ones(1, len(CENTRES), 4, requires_grad=True)
    logits = torch.zeros(1, len(CENTRES), 6, requires_grad=True)
    scores, corners = box_losses(distances, logits, CENTRES, empty)
    assert scores.item() == pytest.approx(len(CENTRES) * 6 * math.log(2), rel=1e-5)
    assert corners.item() == 0
    (scores + corners).backward()
    assert bool((logits.grad > 0).all())


def test_the_losses_fall_where_the_answer_is_right() -> None:
    box = [16.0, 16.0, 40.0, 40.0]
    there = batch_of([box], [2], [1.0])
    right = torch.cat([CENTRES - torch.tensor(box[:2]), torch.tensor(box[2:]) - CENTRES], dim=1)[None]
    wrong = right + 6
    logits = torch.zeros(1, len(CENTRES), 6)
    assert box_losses(right, logits, CENTRES, there)[1].item() == pytest.approx(0, abs=1e-5)
    assert box_losses(wrong, logits, CENTRES, there)[1].item() > 0.1
    wanted, _ = assign(torch.cat([CENTRES, CENTRES], 1)[None] * 0 + torch.tensor(box), logits.sigmoid(), CENTRES, there)
    sure = torch.where(wanted > 0, 8.0, -8.0)
    assert box_losses(right, sure, CENTRES, there)[0] < 0.1 * box_losses(right, logits, CENTRES, there)[0]


def test_unknown_pixels_do_not_count() -> None:
    logits = torch.zeros(1, 19, 2, 2)
    mask = torch.full((1, 2, 2), 255)
    assert mask_loss(logits, mask).item() == 0
    mask[0, 0, 0] = 0
    logits[0, 5] = 100.0  # wrong everywhere, known in one place
    assert mask_loss(logits, mask).item() == pytest.approx(100, rel=1e-4)
    logits = torch.zeros(1, 19, 2, 2)
    assert mask_loss(logits, mask).item() == pytest.approx(math.log(19))


def test_no_traffic_is_any_class_but_people_and_vehicles() -> None:
    mask = torch.full((1, 1, 1), NO_TRAFFIC)
    logits = torch.zeros(1, 19, 1, 1)
    assert mask_loss(logits, mask).item() == pytest.approx(-math.log(11 / 19))  # 8 of 19 are traffic
    for label in (0, 2, 10):
        certain = logits.clone()
        certain[0, label] = 50.0
        assert mask_loss(certain, mask).item() == pytest.approx(0, abs=1e-5)
    wrong = logits.clone()
    wrong[0, 13] = 50.0
    assert mask_loss(wrong, mask).item() > 40


def test_named_and_nameless_pixels_share_the_loss() -> None:
    logits = torch.zeros(1, 19, 1, 2)
    mask = torch.tensor([[[0, NO_TRAFFIC]]])
    assert mask_loss(logits, mask).item() == pytest.approx((math.log(19) - math.log(11 / 19)) / 2)


def test_what_is_as_alike_to_both_networks_costs_nothing_however_it_is_written() -> None:
    torch.manual_seed(1)
    teacher = torch.randn(2, 6, 8, 8)
    turned, _ = torch.linalg.qr(torch.randn(6, 6))
    student = torch.einsum("dc,nchw->ndhw", turned, 3 * teacher)
    assert relation_gap(student, teacher).item() == pytest.approx(0, abs=1e-10)
    assert relation_gap(torch.cat([student, student], 1), teacher).item() == pytest.approx(0, abs=1e-10)
    assert relation_gap(torch.randn(2, 6, 8, 8), teacher).item() > 0.05


def test_relations_are_learnt_by_features_of_another_size_and_number() -> None:
    torch.manual_seed(2)
    teacher = torch.randn(2, 5, 4, 4)
    student = torch.randn(2, 12, 8, 8, requires_grad=True)
    optimiser = torch.optim.Adam([student], lr=0.1)
    first = relation_gap(student, teacher).item()
    for _ in range(60):
        optimiser.zero_grad()
        gap = relation_gap(student, teacher)
        gap.backward()
        optimiser.step()
    assert gap.item() < 0.2 * first
