"""What is done here around SAM, held against transformers' own image processor (the one that needs no torchvision)."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from transformers import SamImageProcessorPil

from sage_fusion_ros.training.priors.mask_filters import boxes_of, stability
from sage_fusion_ros.training.priors.point_grid import point_grid, views
from sage_fusion_ros.training.priors.sam_model import SamView, scaled_size, to_input

SIDE = 128  # as 1024, but quicker
PROCESSOR = SamImageProcessorPil(
    size={"longest_edge": SIDE}, pad_size={"height": SIDE, "width": SIDE}, mask_size={"longest_edge": SIDE // 4}
)
SIZES = [(480, 640), (101, 75), (96, 128), (40, 61)]
MODEL = SimpleNamespace(
    config=SimpleNamespace(vision_config=SimpleNamespace(image_size=SIDE)), get_image_embeddings=lambda pixels: pixels
)


def picture(size: tuple[int, int]) -> np.ndarray:
    noise = np.random.default_rng(1).integers(0, 255, (*size, 3), dtype=np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 1.5))


@pytest.mark.parametrize("size", SIZES)
def test_the_input_is_within_a_grey_level_of_theirs(size: tuple[int, int]) -> None:
    theirs = PROCESSOR(images=picture(size), return_tensors="pt")
    ours = to_input(picture(size), SIDE)
    assert theirs["reshaped_input_sizes"][0].tolist() == list(scaled_size(size, SIDE))
    assert float((ours - theirs["pixel_values"]).abs().max()) <= 1.01 / 57.12  # Pillow resizes in whole numbers
    assert float((ours - theirs["pixel_values"]).abs().mean()) <= 0.3 / 57.12


@pytest.mark.parametrize("size", SIZES)
def test_masks_come_back_to_the_image_as_theirs(size: tuple[int, int]) -> None:
    logits = torch.randn(3, SIDE // 4, SIDE // 4, generator=torch.Generator().manual_seed(2))
    ours = SamView(MODEL, picture(size), torch.device("cpu")).enlarge(logits)
    scaled = [list(scaled_size(size, SIDE))]
    (theirs,) = PROCESSOR.post_process_masks([logits[None]], [list(size)], scaled, binarize=False)
    assert torch.allclose(ours, theirs[0], atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_views_and_their_points_are_theirs(size: tuple[int, int]) -> None:
    boxes, points, _, _ = PROCESSOR.generate_crop_boxes(
        picture(size), SIDE, crop_n_layers=2, points_per_crop=8, crop_n_points_downscale_factor=1
    )
    ours = views(size, 2)
    assert sorted(box for _, box in ours) == sorted(tuple(map(int, box)) for box in boxes.tolist())
    by_box = {tuple(map(int, box)): points[0, :, index] for index, box in enumerate(boxes.tolist())}
    for _, (left, top, right, bottom) in ours:
        inner = (bottom - top, right - left)
        scale = np.array(scaled_size(inner, SIDE)[::-1]) / inner[::-1]
        theirs = by_box[left, top, right, bottom]
        assert np.allclose(point_grid(8, inner) * scale, theirs.reshape(-1, 2), atol=1e-6)


def test_the_same_masks_are_sure_and_stable() -> None:
    generator = torch.Generator().manual_seed(3)
    logits = 3 * torch.nn.functional.interpolate(
        torch.randn(1, 40, 6, 7, generator=generator), size=(60, 70), mode="bilinear"
    )
    scores = torch.rand(1, 40, generator=generator)
    _, theirs, boxes = PROCESSOR.filter_masks(
        logits, scores, (60, 70), [0, 0, 70, 60], pred_iou_thresh=0.4, stability_score_thresh=0.45
    )
    kept = (scores[0] >= 0.4) & (stability(logits[0], 1.0) >= 0.45)
    assert 5 <= int(kept.sum()) <= 35
    assert torch.equal(scores[0][kept], theirs)
    ours = boxes_of((logits[0][kept] > 0).numpy()) - [0, 0, 1, 1]  # theirs include the last row and column
    assert np.array_equal(ours, boxes.numpy())
