"""Finds the two source images behind a fused image that was kept, so that the three can be shown side by side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.evaluation.index_check import SourceKey, StampIndex
from sage_fusion_ros.evaluation.recording import Recording, SavedFrame
from sage_fusion_ros.evaluation.run_report import Moment, spread
from sage_fusion_ros.pipeline.thermal import ThermalNormaliser
from sage_fusion_ros.sources.base import PairSource


def name_by_index(folder: Path, run: Recording, stamps: StampIndex) -> list[SavedFrame]:
    """Renames kept images from their stamp to their source index (000102.png; a second loop's 000102_loop1.png).

    Args:
        folder: Where the images are.
        run: The recording that names them.
        stamps: What the replay sent.

    Returns:
        The images with their new names, in the order they were kept. One with a stamp nobody sent keeps its name.
    """
    renamed = []
    for frame in run.frames:
        name = frame.file
        if keys := _keys(frame, stamps):
            index, loop = min(keys)
            name = f"{index:06d}_loop{loop}.png" if loop else f"{index:06d}.png"
            (folder / frame.file).replace(folder / name)
        renamed.append(SavedFrame(frame.stamp_ns, name))
    return renamed


def collect_moments(
    source: PairSource,
    folder: Path,
    frames: list[SavedFrame],
    run: Recording,
    stamps: StampIndex,
    *,
    count: int,
    describe: Callable[[int], str] = lambda index: "",
    sent_as: Callable[[npt.NDArray[Any]], npt.NDArray[Any]] = lambda thermal: thermal,
) -> list[Moment]:
    """Reads the sources of evenly spread fused images again.

    The two images are the ones whose stamps fusion_node put together, so a mixed pair shows as what it is.

    Args:
        source: Where the replay read.
        folder: Folder of the kept images, a direct child of the page's.
        frames: Kept images.
        run: The recording, for the pairs' stamps.
        stamps: What the replay sent.
        count: Moments wanted.
        describe: What a source index shows, in a word; empty where nothing is known.
        sent_as: How the replay changed the thermal images before it sent them.
    """
    made = {pair.thermal_ns: pair for pair in run.pairs} | {pair.rgb_ns: pair for pair in run.pairs}
    usable = [frame for frame in frames if frame.stamp_ns in made]
    moments = []
    for position in spread(len(usable), count):
        frame = usable[position]
        pair = made[frame.stamp_ns]
        rgb_keys, thermal_keys = stamps.keys("rgb", pair.rgb_ns), stamps.keys("thermal", pair.thermal_ns)
        fused = cv2.imread(str(folder / frame.file), cv2.IMREAD_COLOR)
        if fused is None or not rgb_keys or not thermal_keys:
            continue
        try:
            rgb = source.read(min(rgb_keys)[0]).rgb
            thermal = source.read(min(thermal_keys)[0]).thermal
        except (SourceError, IndexError):
            continue  # a file that went away since the replay read it, or a bag's image without a partner
        shown = describe(min(rgb_keys)[0])
        seconds = (frame.stamp_ns - run.fused[0].stamp_ns) / 1e9
        moments.append(
            Moment(
                title=", ".join(filter(None, (f"{seconds:.1f} s", shown, _index_text(rgb_keys, thermal_keys)))),
                rgb=rgb,
                thermal=ThermalNormaliser()(sent_as(thermal)),
                fused=np.asarray(cv2.cvtColor(fused, cv2.COLOR_BGR2RGB), np.uint8),
                link=f"{folder.name}/{frame.file}",
            )
        )
    return moments


def _keys(frame: SavedFrame, stamps: StampIndex) -> set[SourceKey]:
    return stamps.keys("rgb", frame.stamp_ns) or stamps.keys("thermal", frame.stamp_ns)


def _index_text(rgb: set[SourceKey], thermal: set[SourceKey]) -> str:
    both = rgb & thermal
    if both:
        return f"source index {min(both)[0]}"
    return f"mixed: RGB index {min(rgb)[0]} with thermal index {min(thermal)[0]}"
