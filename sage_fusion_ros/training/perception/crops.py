"""Crops of fused images with their labels: one batch for every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sage_fusion_ros.networks.perception import MASK_STRIDE
from sage_fusion_ros.pipeline.classes import UNLABELLED
from sage_fusion_ros.training.perception.boxes import Boxes, concatenate
from sage_fusion_ros.training.perception.pool import FusedPool, FusedSample
from sage_fusion_ros.training.perception.settings import PerceptionSettings

_PADDING = 114
_SEEN_SHARE = 0.35  # of a box that must lie in the crop; less of it is nobody's to recognise
_SMALLEST_BOX = 5.0  # pixels of the crop, longer side

# What was cut: image and RGB image, float32 (crop, crop, 3) in 0..1; mask, int64 (crop/4, crop/4); boxes in its pixels.
Crop = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int64], Boxes]


@dataclass(frozen=True)
class PerceptionBatch:
    """What the network is shown, and what is there.

    Attributes:
        image: float32 (N, 3, crop, crop) in 0..1.
        rgb: float32 (n, 3, crop, crop), the same crops of the first n RGB images as they were before anything was
            disturbed; n is the sampler's `hinted`.
        mask: int64 (N, crop/4, crop/4), Cityscapes train ids, 255 unknown.
        boxes: float32 (N, M, 4), corners in pixels of the crop; rows past an image's last box are 0.
        classes: int64 (N, M).
        confidence: float32 (N, M); 0 for rows that are none.
    """

    image: Tensor
    rgb: Tensor
    mask: Tensor
    boxes: Tensor
    classes: Tensor
    confidence: Tensor


class CropSampler:
    """Draws crops by (seed, step): scale, place, mirroring, another brightness and colour, and mosaics of four.

    Args:
        pool: Of fused images.
        batch, crop: Number and side of the crops.
        settings: Range of scales, and chance of a mosaic.
        seed: Of everything drawn.
        hinted: How many of the crops come with the RGB image.
    """

    def __init__(
        self, pool: FusedPool, batch: int, crop: int, settings: PerceptionSettings, seed: int, hinted: int = 0
    ) -> None:
        self._pool, self._batch, self._crop, self._settings, self._seed = pool, batch, crop, settings, seed
        self._hinted = hinted

    def __call__(self, step: int) -> PerceptionBatch:
        """The batch of a step, counted from 0."""
        rng = np.random.default_rng([self._seed, 3, step])
        pool = self._pool.at(step)
        drawn = [self._draw(pool, rng, index < self._hinted) for index in range(self._batch)]
        images, rgbs, masks, boxes = zip(*drawn, strict=True)
        # (N, 3, crop, crop), channels last in memory
        image = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        rgb = image[:0]
        if self._hinted:
            rgb = torch.from_numpy(np.stack(rgbs[: self._hinted])).permute(0, 3, 1, 2)
        return PerceptionBatch(image, rgb, torch.from_numpy(np.stack(masks)), *_stack(boxes))

    def _draw(self, pool: Sequence[FusedSample], rng: np.random.Generator, hinted: bool) -> Crop:
        if rng.random() >= self._settings.mosaic:
            return self._cut(pool[int(rng.integers(len(pool)))], self._crop, 1.0, rng, hinted)
        half = self._crop // 2
        quarter = half // MASK_STRIDE
        image, rgb = (np.empty((self._crop, self._crop, 3), np.float32) for _ in range(2))
        mask = np.empty((2 * quarter, 2 * quarter), np.int64)
        seen: list[Boxes] = []
        for row, column in np.ndindex(2, 2):
            part, rgb_part, labels, boxes = self._cut(pool[int(rng.integers(len(pool)))], half, 0.5, rng, hinted)
            top, left = row * half, column * half
            image[top : top + half, left : left + half] = part
            rgb[top : top + half, left : left + half] = rgb_part
            mask[row * quarter : (row + 1) * quarter, column * quarter : (column + 1) * quarter] = labels
            seen.append(replace(boxes, xyxy=boxes.xyxy + np.array([left, top] * 2, np.float32)))
        return image, rgb, mask, concatenate(seen)

    def _cut(self, sample: FusedSample, crop: int, zoom: float, rng: np.random.Generator, hinted: bool) -> Crop:
        settings = self._settings
        height, width = sample.image.shape[:2]
        low, high = np.log(settings.smallest), np.log(settings.largest)
        scale = zoom * float(np.exp(rng.uniform(low, high))) * settings.input_side / max(height, width)
        side = crop / scale  # of the window, in pixels of the image
        top, left = (
            self._place(length, side, axis, sample.labels.boxes, rng) for axis, length in ((1, height), (0, width))
        )
        mirror = bool(rng.random() < 0.5)
        matrix = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]])
        if mirror:
            matrix[0] = [-scale, 0, crop + left * scale]
        matrix[:, 2] += (scale - 1) / 2 * np.array([-1 if mirror else 1, 1]) - np.array([1 if mirror else 0, 0])
        warp = {"dsize": (crop, crop), "borderMode": cv2.BORDER_CONSTANT}
        shown, rgb = (
            _warp(image, matrix, scale, crop) if wanted else np.zeros((crop, crop, 3), np.uint8)
            for image, wanted in ((sample.image, True), (sample.rgb, hinted))
        )
        mask = cv2.warpAffine(sample.labels.mask, matrix, flags=cv2.INTER_NEAREST, borderValue=UNLABELLED, **warp)
        start = MASK_STRIDE // 2
        coarse = mask[start::MASK_STRIDE, start::MASK_STRIDE].astype(np.int64)
        plain = rgb.astype(np.float32) * np.float32(1 / 255)
        return _tint(shown, rng), plain, coarse, _move(sample.labels.boxes, scale, left, top, mirror, crop)

    @staticmethod
    def _place(length: int, side: float, axis: int, boxes: Boxes, rng: np.random.Generator) -> float:
        """Start of the window along an axis: anywhere in the image, or in every second case around a box."""
        if side >= length:
            return float(rng.uniform(length - side, 0))
        if len(boxes.xyxy) and rng.random() < 0.5:
            box = boxes.xyxy[int(rng.integers(len(boxes.xyxy)))]
            middle = (box[axis] + box[axis + 2]) / 2 + rng.uniform(-0.4, 0.4) * side
            return float(np.clip(middle - side / 2, 0, length - side))
        return float(rng.uniform(0, length - side))


def _warp(image: npt.NDArray[np.uint8], matrix: npt.NDArray[np.float64], scale: float, crop: int) -> Any:
    if scale < 0.75:
        image = cv2.GaussianBlur(image, (0, 0), 0.4 / scale)  # warpAffine does not average
    border = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": (_PADDING,) * 3}
    return cv2.warpAffine(image, matrix, (crop, crop), flags=cv2.INTER_LINEAR, **border)


def _tint(image: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """float32 in 0..1 with another contrast, brightness, white balance and share of colour, as of another camera."""
    shown = image.astype(np.float32) * np.float32(1 / 255)
    if rng.random() < 0.5:
        grey = cv2.cvtColor(shown, cv2.COLOR_RGB2GRAY)[..., None]
        colour = rng.uniform(0.0, 1.4)
        gains = rng.uniform(0.7, 1.3) * rng.uniform(0.88, 1.12, 3)
        shown = (grey + colour * (shown - grey)) * gains + rng.uniform(-0.1, 0.1)
    return np.clip(shown, 0, 1).astype(np.float32)


def _move(boxes: Boxes, scale: float, left: float, top: float, mirror: bool, crop: int) -> Boxes:
    """The boxes in pixels of the crop, clipped; those of which too little is left are dropped."""
    xyxy = (boxes.xyxy - np.array([left, top, left, top], np.float32)) * np.float32(scale)
    if mirror:
        xyxy = np.stack([crop - xyxy[:, 2], xyxy[:, 1], crop - xyxy[:, 0], xyxy[:, 3]], axis=1)
    clipped = np.clip(xyxy, 0, crop)
    whole, left_over = ((each[:, 2:] - each[:, :2]) for each in (xyxy, clipped))
    share = left_over.prod(axis=1) / np.maximum(whole.prod(axis=1), 1e-6)
    kept = (share >= _SEEN_SHARE) & (left_over.max(axis=1, initial=0) >= _SMALLEST_BOX)
    return Boxes(clipped[kept].astype(np.float32), boxes.classes[kept], boxes.confidence[kept])


def _stack(images: tuple[Boxes, ...]) -> tuple[Tensor, Tensor, Tensor]:
    most = max(1, *(len(boxes.classes) for boxes in images))
    xyxy = np.zeros((len(images), most, 4), np.float32)
    classes = np.zeros((len(images), most), np.int64)
    confidence = np.zeros((len(images), most), np.float32)
    for row, boxes in enumerate(images):
        count = len(boxes.classes)
        xyxy[row, :count], classes[row, :count], confidence[row, :count] = boxes.xyxy, boxes.classes, boxes.confidence
    return torch.from_numpy(xyxy), torch.from_numpy(classes), torch.from_numpy(confidence)
