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
from sage_fusion_ros.evaluation.run_perception import RunPerception, truth_overlay
from sage_fusion_ros.evaluation.run_report import Moment, spread
from sage_fusion_ros.pipeline.thermal import ThermalNormaliser
from sage_fusion_ros.sources.base import PairSource


def name_by_index(folder: Path, frames: list[SavedFrame], stamps: StampIndex) -> list[SavedFrame]:
    """Renames kept images from their stamp to their source index (000102.png; a second loop's 000102_loop1.png).

    Args:
        folder: Where the images are.
        frames: The images.
        stamps: What the replay sent.

    Returns:
        The images with their new names, in the order they were kept. One with a stamp nobody sent keeps its name.
    """
    renamed = []
    for frame in frames:
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
    perception: RunPerception | None = None,
    describe: Callable[[int], str] = lambda index: "",
    sent_as: Callable[[npt.NDArray[Any]], npt.NDArray[Any]] = lambda thermal: thermal,
) -> list[Moment]:
    """Reads the sources of fused images again, as many of each act that the source shows, evenly spread in it.

    The two images are the ones whose stamps fusion_node put together, so a mixed pair shows as what it is.

    Args:
        source: Where the replay read.
        folder: Folder of the kept images, a direct child of the page's.
        frames: Kept images.
        run: The recording, for the pairs' stamps.
        stamps: What the replay sent.
        count: Moments wanted.
        perception: Masks and detections, to be drawn beside; where there are some, moments without them are left out.
        describe: What a source index shows, in a word; empty where nothing is known.
        sent_as: How the replay changed the thermal images before it sent them.
    """
    made = {pair.thermal_ns: pair for pair in run.pairs} | {pair.rgb_ns: pair for pair in run.pairs}
    usable = [frame for frame in frames if frame.stamp_ns in made]
    if perception is not None:
        usable = [frame for frame in usable if frame.stamp_ns in perception] or usable
    moments = []
    for position in _choose([describe(min(keys)[0]) if (keys := _keys(f, stamps)) else "" for f in usable], count):
        frame = usable[position]
        pair = made[frame.stamp_ns]
        rgb_keys, thermal_keys = stamps.keys("rgb", pair.rgb_ns), stamps.keys("thermal", pair.thermal_ns)
        fused = cv2.imread(str(folder / frame.file), cv2.IMREAD_COLOR)
        if fused is None or not rgb_keys or not thermal_keys:
            continue
        try:
            rgb = source.read(min(rgb_keys)[0])
            thermal = source.read(min(thermal_keys)[0]).thermal
        except (SourceError, IndexError):
            continue  # a file that went away since the replay read it, or a bag's image without a partner
        shown = describe(min(rgb_keys)[0])
        fused = np.asarray(cv2.cvtColor(fused, cv2.COLOR_BGR2RGB), np.uint8)
        overlay = None if perception is None else perception.overlay(fused, frame.stamp_ns)
        shows_truth = overlay is not None and rgb.truth is not None and rgb.truth.mask.shape == fused.shape[:2]
        seconds = (frame.stamp_ns - run.fused[0].stamp_ns) / 1e9
        moments.append(
            Moment(
                title=", ".join(filter(None, (f"{seconds:.1f} s", shown, _index_text(rgb_keys, thermal_keys)))),
                rgb=rgb.rgb,
                thermal=ThermalNormaliser()(sent_as(thermal)),
                fused=fused,
                link=f"{folder.name}/{frame.file}",
                overlay=overlay,
                truth=truth_overlay(fused, rgb.truth) if shows_truth else None,
            )
        )
    return moments


def _choose(acts: list[str], count: int) -> list[int]:
    """Positions of as many of each act as there are of every other; plainly spread where acts are too many for that."""
    names = list(dict.fromkeys(acts))
    if len(names) > count:
        return spread(len(acts), count)
    chosen = []
    for place, name in enumerate(names):
        own = [position for position, act in enumerate(acts) if act == name]
        share = count // len(names) + (place < count % len(names))
        chosen += [own[position] for position in spread(len(own), share)]
    return sorted(chosen)


def _keys(frame: SavedFrame, stamps: StampIndex) -> set[SourceKey]:
    return stamps.keys("rgb", frame.stamp_ns) or stamps.keys("thermal", frame.stamp_ns)


def _index_text(rgb: set[SourceKey], thermal: set[SourceKey]) -> str:
    both = rgb & thermal
    if both:
        return f"source index {min(both)[0]}"
    return f"mixed: RGB index {min(rgb)[0]} with thermal index {min(thermal)[0]}"
