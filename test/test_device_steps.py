"""The steps of a pair in torch, one by one, against OpenCV's and the pipeline's: colour, scaling, boxes."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_fusion_ros.engines.torch_engine import boxes as torch_boxes
from sage_fusion_ros.engines.torch_engine import images
from sage_fusion_ros.engines.torch_engine.boxes import BoxFinder
from sage_fusion_ros.pipeline.colour import luma_of, recolour
from sage_fusion_ros.pipeline.detect import DetectionHead
from sage_fusion_ros.pipeline.detection_decoders import decode_yolov8
from sage_fusion_ros.pipeline.detection_layouts import Reading
from sage_fusion_ros.pipeline.letterbox import Letterbox
from sage_fusion_ros.pipeline.preprocessing import Preprocessing

CPU = torch.device("cpu")


def test_luma_and_colour_are_opencvs():
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (512, 512, 3), np.uint8)
    before = images.luma(torch.from_numpy(rgb))
    np.testing.assert_array_equal((before * 255).round().numpy(), luma_of(rgb))
    after = rng.random((512, 512), np.float32)
    wanted = recolour(rgb, before.numpy(), after).astype(int)
    assert np.abs(images.recolour(torch.from_numpy(rgb), before, torch.from_numpy(after)).numpy() - wanted).max() <= 1


@settings(max_examples=40, deadline=None)
@given(st.integers(8, 90), st.integers(8, 90), st.sampled_from([32, 64, 96]), st.booleans())
def test_images_are_scaled_as_by_opencv(height, width, side, upscale):
    rng = np.random.default_rng(height * 100 + width)
    image = cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3), np.uint8), (3, 3), 0)
    box = Letterbox.fit(height, width, side, side, "top_left", upscale)
    wanted = Preprocessing(shrinking=cv2.INTER_AREA).place(image, box).astype(int)
    found = (images.Scaler(box, 114, CPU)(torch.from_numpy(image))[0].permute(1, 2, 0) * 255).round().numpy()
    assert np.abs(found - wanted).max() <= 1
    assert (found != wanted).mean() <= 0.02


def raw_boxes(rng, count, classes):
    """Boxes in a few heaps, so that many suppress each other in chains."""
    heaps = rng.uniform(0, 200, (5, 2))
    centre = heaps[rng.integers(0, 5, count)] + rng.normal(0, 12, (count, 2))
    size = rng.uniform(0.5, 60, (count, 2))
    scores = rng.random((count, classes)) ** 3
    scores[rng.random(count) < 0.2] = 0.5  # some are equally sure
    return np.concatenate([centre, size, scores], axis=1).T[None].astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 300), st.integers(1, 4), st.floats(0.05, 0.9), st.floats(0.1, 0.9))
def test_boxes_are_those_of_the_pipeline(seed, count, classes, score, overlap):
    raw = raw_boxes(np.random.default_rng(seed), count, classes)
    box = Letterbox.fit(180, 240, 160, 224)
    wanted = DetectionHead(Reading(("boxes",), decode_yolov8)).decode([raw], box, score, overlap)
    score, overlap = (torch.tensor(each, dtype=torch.float32) for each in (score, overlap))
    for most in (None, 400):
        found = BoxFinder(box, CPU, most)(torch.from_numpy(raw), score, overlap)
        if most and not found.whole:
            continue
        np.testing.assert_array_equal(found.classes[found.kept], wanted.class_ids)
        np.testing.assert_allclose(found.scores[found.kept], wanted.scores)
        np.testing.assert_allclose(found.xyxy[found.kept], wanted.xyxy, atol=1e-3)


def test_a_chain_that_is_too_long_is_told(monkeypatch):
    """Each box suppresses the next one alone: the last is decided only after all others are."""
    count = 9
    raw = np.zeros((1, 5, count), np.float32)
    raw[0, 0], raw[0, 1], raw[0, 2], raw[0, 3] = 20 + 6 * np.arange(count), 50, 20, 20
    raw[0, 4] = np.linspace(0.9, 0.5, count)
    box = Letterbox.fit(100, 100, 100, 100)
    limits = torch.tensor(0.1), torch.tensor(0.5)
    whole = BoxFinder(box, CPU, None)(torch.from_numpy(raw), *limits)
    assert whole.kept.tolist() == [i % 2 == 0 for i in range(count)]
    assert BoxFinder(box, CPU, 20)(torch.from_numpy(raw), *limits).whole
    assert not BoxFinder(box, CPU, 5)(torch.from_numpy(raw), *limits).whole, "there are more"
    monkeypatch.setattr(torch_boxes, "ROUNDS", 3)
    assert not BoxFinder(box, CPU, 20)(torch.from_numpy(raw), *limits).whole


def test_a_place_is_a_key():
    box = Letterbox.fit(10, 20, 32, 32)
    assert box == replace(box)
    assert hash(box) == hash(replace(box))
