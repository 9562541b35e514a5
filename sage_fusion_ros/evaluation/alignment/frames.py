"""Picks the frames of a source that a calibration is made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from sage_fusion_ros.errors import CalibrationError, SageFusionError
from sage_fusion_ros.evaluation.alignment.features import View
from sage_fusion_ros.pipeline.thermal import ThermalNormaliser
from sage_fusion_ros.sources.base import PairSource


@dataclass
class Frames:
    """Frames of one pair of sizes.

    Attributes:
        names: What messages call them.
        indices: Their positions in the source.
        views: Their images.
        skipped: Frames that were picked and can't be used, as (name, reason).
    """

    names: list[str] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)
    views: list[View] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)


def pick_frames(source: PairSource, count: int, step: Callable[[int], None] = lambda index: None) -> Frames:
    """Reads so many frames, spread evenly over the source, and keeps those of the most frequent pair of sizes.

    Raises:
        CalibrationError: None can be read.
    """
    frames = Frames()
    for index in dict.fromkeys(np.linspace(0, len(source) - 1, min(count, len(source))).round().astype(int).tolist()):
        step(index)
        try:
            pair = source.read(index)
            thermal = ThermalNormaliser()(np.asarray(pair.thermal))
        except SageFusionError as error:
            frames.skipped.append((f"pair {index}", str(error)))
            continue
        frames.names.append(f"pair {index}")
        frames.indices.append(index)
        frames.views.append(View(np.asarray(cv2.cvtColor(pair.rgb, cv2.COLOR_RGB2GRAY), np.uint8), thermal))
    if not frames.views:
        reason = f": {frames.skipped[0][1]}" if frames.skipped else ""
        raise CalibrationError(f"{source.name} has no pair that can be read{reason}")
    sizes = [(view.rgb.shape, view.thermal.shape) for view in frames.views]
    wanted = Counter(sizes).most_common(1)[0][0]
    kept = Frames(skipped=frames.skipped)
    for size, name, index, view in zip(sizes, frames.names, frames.indices, frames.views, strict=True):
        if size == wanted:
            kept.names.append(name)
            kept.indices.append(index)
            kept.views.append(view)
        else:
            kept.skipped.append((name, "its images are of other sizes than most"))
    return kept
