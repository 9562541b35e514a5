"""What is measured on one pair, one still scene taken twice and one clip; each contender beside the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import ImageFormatError, MetricError, SourceError
from sage_fusion_ros.evaluation.comparison.clips import Clip
from sage_fusion_ros.evaluation.comparison.contenders import SOURCES, Contender, Fused, LoadedPair, load_pair, make_pair
from sage_fusion_ros.evaluation.comparison.sets import Item
from sage_fusion_ros.evaluation.detectors import DetectedBoxes
from sage_fusion_ros.evaluation.exposure import burnt_share, rgb_likeness
from sage_fusion_ros.evaluation.metrics.profiles import score
from sage_fusion_ros.evaluation.pattern import FlatEnergy
from sage_fusion_ros.evaluation.temporal import StepGroup, TemporalChange, still_change, still_pair

BURNT, LIKENESS = "burnt", "likeness"
# The sources are no fusion of themselves: what compares with the sources says nothing about them.
SOURCE_METRICS = ("EN", "SD", "SF", "AG")

Skip = tuple[str, str]


@dataclass
class PairResult:
    """One pair.

    Attributes:
        item: The pair.
        bright: See LoadedPair.
        size: Width and height in pixels.
        figures: By contender, metrics and BURNT (0..1), of bright pairs LIKENESS too; None where a metric is not
            defined. Empty where the pair is not scored.
        pattern: By contender, energy in flat regions.
        boxes: By detector or perception model and by contender, what it sees.
        skipped: What could not be done, as (name, reason).
    """

    item: Item
    bright: bool = True
    size: tuple[int, int] = (0, 0)
    figures: dict[str, dict[str, float | None]] = field(default_factory=dict)
    pattern: dict[str, FlatEnergy] = field(default_factory=dict)
    boxes: dict[str, dict[str, DetectedBoxes]] = field(default_factory=dict)
    skipped: list[Skip] = field(default_factory=list)


@dataclass
class StillResult:
    """A still scene taken twice with sensor noise: mean |change| in grey levels by the noise's sigma and by name."""

    item: Item
    change: dict[float, dict[str, float]] = field(default_factory=dict)
    skipped: list[Skip] = field(default_factory=list)


@dataclass
class ClipResult:
    """A clip: its steps by kind, as TemporalChange groups them."""

    name: str
    frames: int = 0
    groups: dict[str, StepGroup] = field(default_factory=dict)
    skipped: list[Skip] = field(default_factory=list)


def measure_pair(
    item: Item,
    contenders: Mapping[str, Contender],
    readers: Mapping[str, Callable[[npt.NDArray[np.uint8]], DetectedBoxes]],
    profile: str,
    metrics: Sequence[str],
) -> PairResult:
    """Scores a pair if it counts, and shows it, as each contender has it, to the detectors and models that read it."""
    result = PairResult(item)
    try:
        pair = load_pair(item)
    except SourceError as error:
        result.skipped.append((item.key, str(error)))
        return result
    result.bright = pair.bright
    result.size = pair.rgb.shape[1], pair.rgb.shape[0]
    for name, contender in contenders.items():
        try:
            fused = contender.fuse(pair)
            if item.scored:
                result.figures[name] = _figures(name, pair, fused, profile, metrics)
                if name not in SOURCES:
                    result.pattern[name] = _pattern(pair, fused)
        except (SourceError, ImageFormatError, MetricError) as error:
            result.figures.pop(name, None)
            result.skipped.append((f"{item.key}, {name}", str(error)))
            continue
        for reader_name, read in readers.items():
            result.boxes.setdefault(reader_name, {})[name] = read(fused.rgb)
    return result


def _figures(
    name: str, pair: LoadedPair, fused: Fused, profile: str, metrics: Sequence[str]
) -> dict[str, float | None]:
    wanted = tuple(metric for metric in metrics if name not in SOURCES or metric in SOURCE_METRICS)
    values = score(pair.luma, pair.thermal, fused.luma, profile, wanted) if wanted else {}
    values = {**values, BURNT: burnt_share(fused.luma)}
    if pair.bright and name not in SOURCES:
        values[LIKENESS] = rgb_likeness(pair.luma, fused.luma)
    return {metric: float(value) if math.isfinite(value) else None for metric, value in values.items()}


def _pattern(pair: LoadedPair, fused: Fused) -> FlatEnergy:
    energy = FlatEnergy()
    energy.add(pair.luma, pair.thermal, fused.luma)
    return energy


def measure_still(item: Item, contenders: Mapping[str, Contender], sigmas: Sequence[float]) -> StillResult:
    """Takes a pair twice with independent noise in both cameras and measures how much each contender changes."""
    result = StillResult(item)
    try:
        pair = load_pair(item)
        for sigma in sigmas:
            moments = [make_pair(item.key, *moment) for moment in still_pair(pair.rgb, pair.thermal, sigma)]
            frames = {"rgb": [m.luma for m in moments], "thermal": [m.thermal for m in moments]}
            fused = {name: [who.fuse(m).luma for m in moments] for name, who in contenders.items()}
            result.change[sigma] = still_change(frames | fused)
    except (SourceError, ImageFormatError, MetricError) as error:
        result.skipped.append((f"{item.key}, still scene with noise", str(error)))
    return result


def measure_clip(clip: Clip, contenders: Mapping[str, Contender], limit: int) -> ClipResult:
    """Fuses a clip frame by frame and measures its change in steady regions; a frame that can't be read ends it."""
    result, change = ClipResult(clip.name), TemporalChange()
    try:
        for rgb, thermal in clip.read(limit):
            pair = make_pair(clip.name, rgb, thermal)
            fused = {name: np.ascontiguousarray(who.fuse(pair).luma) for name, who in contenders.items()}
            change.add({"rgb": pair.luma, "thermal": pair.thermal, **fused})
            result.frames += 1
    except (SourceError, ImageFormatError, MetricError) as error:
        where = f"{clip.name}, from frame {result.frames} on" if result.frames else clip.name
        result.skipped.append((where, str(error)))
    result.groups = change.groups()
    return result
