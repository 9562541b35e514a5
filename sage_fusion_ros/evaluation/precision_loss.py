"""How near a model's int8 file comes to its fp32 file: both run through the pipeline, on the same images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.engines.models import find_model
from sage_fusion_ros.evaluation.box_matching import match_boxes
from sage_fusion_ros.pipeline.fuse import load_fuser
from sage_fusion_ros.pipeline.network import NetworkOptions
from sage_fusion_ros.pipeline.perception_network import PerceptionNetwork
from sage_fusion_ros.pipeline.types import Detections
from sage_fusion_ros.sources.samples import Sample

MOST_DB = 99.0
"""What stands for images that are the same."""
SCORE, OVERLAP = 0.3, 0.5
"""Of the boxes that are compared: they score more, and are the same from this intersection over union on."""
_NMS = 0.5


def psnr_db(image: npt.NDArray[np.uint8], reference: npt.NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio of an 8-bit image, in dB, at most MOST_DB."""
    error = float(np.mean((image.astype(np.float64) - reference.astype(np.float64)) ** 2))
    return MOST_DB if error == 0 else min(MOST_DB, 10 * float(np.log10(255**2 / error)))


def fusion_loss(
    folder: Path, samples: Sequence[Sample], tick: Callable[[], object], threads: int = 0
) -> dict[str, float]:
    """How near the fused luma comes.

    Args:
        folder: A fusion model with an int8 file.
        samples: Pairs, at least one.
        tick: Called after each of them.
        threads: CPU threads; 0 takes every core.

    Returns:
        psnr_db, the mean over the pairs, and psnr_db_lowest.
    """
    options = NetworkOptions(device="cpu", threads=threads, warm_up_size=_size(samples))
    fp32, int8 = (load_fuser(folder, replace(options, precision=precision)) for precision in ("fp32", "int8"))
    found = []
    for sample in samples:
        luma = np.asarray(cv2.cvtColor(sample.rgb, cv2.COLOR_RGB2GRAY), np.uint8)
        found.append(psnr_db(int8.fuse_luma(luma, sample.thermal), fp32.fuse_luma(luma, sample.thermal)))
        tick()
    fp32.close()
    int8.close()
    return {"psnr_db": float(np.mean(found)), "psnr_db_lowest": min(found)}


def perception_loss(
    folder: Path, samples: Sequence[Sample], tick: Callable[[], object], threads: int = 0
) -> dict[str, float]:
    """How near masks and boxes come.

    Args:
        folder: A perception model with an int8 file.
        samples: Their `rgb` are the fused images; at least one.
        tick: Called after each of them.
        threads: CPU threads; 0 takes every core.

    Returns:
        mask_agreement, the share of pixels of the same class, in the mean over the images, mask_agreement_lowest, and
        box_agreement: twice the boxes that both find (same class, OVERLAP) over all that either finds, in all images
        together; 1 where neither finds any. Each only where the model gives such a thing.
    """
    options = NetworkOptions(device="cpu", threads=threads, warm_up_size=_size(samples))
    model = find_model(folder, task="perception")
    both = [PerceptionNetwork(model, replace(options, precision=precision)) for precision in ("fp32", "int8")]
    classes = both[0].detection_classes
    same: list[float] = []
    boxes: list[list[Detections]] = [[], []]
    for sample in samples:
        seen = [
            network.perceive(
                sample.rgb,
                mask=bool(network.mask_classes),
                detections=bool(classes),
                score_threshold=SCORE,
                iou_threshold=_NMS,
            )
            for network in both
        ]
        (mask, found), (other_mask, other_found) = seen
        if mask is not None and other_mask is not None:
            same.append(float((mask == other_mask).mean()))
        if found is not None and other_found is not None:
            boxes[0].append(found)
            boxes[1].append(other_found)
        tick()
    for network in both:
        network.network.close()
    figures = {"mask_agreement": float(np.mean(same)), "mask_agreement_lowest": min(same)} if same else {}
    return figures | ({"box_agreement": box_agreement(boxes[0], boxes[1], classes)} if classes else {})


def box_agreement(first: Sequence[Detections], second: Sequence[Detections], classes: Sequence[str]) -> float:
    """Twice the boxes that both lists have over all boxes of both, image by image; 1 where there are none."""
    total = sum(len(found.scores) for found in (*first, *second))
    if not total:
        return 1.0
    named = [
        [(found.xyxy, [classes[index] for index in found.class_ids]) for found in each] for each in (first, second)
    ]
    matches = match_boxes(*named, [found.scores for found in second], classes, (OVERLAP,))
    return 2 * sum(int(each.hit[0].sum()) for each in matches.values()) / total


def _size(samples: Sequence[Sample]) -> tuple[int, int]:
    height, width = samples[0].thermal.shape
    return height, width
