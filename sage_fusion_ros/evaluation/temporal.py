"""Is the fused video as steady as its sources? Its change from frame to frame where both of them stand still."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import ImageFormatError, ParameterError
from sage_fusion_ros.evaluation.clip_steps import SOURCES, Grey, Step, checked_frames, find_repeats, measure_step


@dataclass(frozen=True)
class StepGroup:
    """Steps of one kind, averaged over all pixels measured.

    Attributes:
        steps: How many.
        share: Share of the image that was measured, 0..1.
        change: By name, mean |change| of a pixel in grey levels; nan where nothing was measured.
        flicker: By name, mean |change| of the mean of a block of 16x16, which leaves out most of the sensor noise and
            shows what the eye calls flicker; empty for the groups that measure the whole image.
    """

    steps: int
    share: float
    change: dict[str, float]
    flicker: dict[str, float] = field(default_factory=dict)

    @property
    def ratios(self) -> dict[str, float]:
        """The change over that of the source that changes more; see over_greater_source."""
        return over_greater_source(self.change)


class TemporalChange:
    """Takes a clip one frame at a time and keeps one frame and a few numbers a step.

    Objects that went over parts of the work, in other processes too, add up with `+`.
    """

    def __init__(self) -> None:
        self._clips: list[list[Step]] = [[]]
        self._last: dict[str, Grey] | None = None

    def add(self, frames: Mapping[str, Grey]) -> None:
        """Takes the next frame.

        Args:
            frames: uint8 HxW of equal size: "rgb" (its luma), "thermal", and any fused ones under names of your
                choice, the same ones in every frame. "maximum", the greater of the two sources in each pixel, is
                added where it is missing.

        Raises:
            ImageFormatError: A source is missing, an image has another type or size, or the names have changed.
        """
        frames = checked_frames(frames)
        if self._last is not None:
            if set(self._last) != set(frames) or self._last["rgb"].shape != frames["rgb"].shape:
                raise ImageFormatError(
                    f"a frame has {_described(frames)} after one with {_described(self._last)}; give every frame of a "
                    "clip the same names and size, and call cut() between clips"
                )
            self._clips[-1].append(measure_step(self._last, frames))
        self._last = frames

    def cut(self) -> None:
        """Ends a clip: the next frame is not compared with the last one, which is let go."""
        self._last = None
        self._clips.append([])

    def __add__(self, other: TemporalChange) -> TemporalChange:
        """The clips of both; the next frame added to the sum begins a new one."""
        total = TemporalChange()
        total._clips = [*self._clips, *other._clips, []]
        return total

    def groups(self) -> dict[str, StepGroup]:
        """What was measured, by kind of step; kinds that never came are left out.

        Returns:
            "all": all steps but the jumps, in steady regions. "fresh", "rgb repeats", "thermal repeats": its parts; a
            step may repeat both sources. "rgb jumps", "thermal jumps": steps in which the level of a whole source
            shifts (a thermal camera that calibrates itself, an exposure that follows); they are in no other group and
            are measured over the whole image, since nothing is steady in them.
        """
        found: dict[str, list[Step]] = {}
        for clip in self._clips:
            for step in clip:
                for source in step.jumps:
                    found.setdefault(f"{source} jumps", []).append(step)
            even = [step for step in clip if not step.jumps]
            repeats = {source: find_repeats([step.whole[source] for step in even]) for source in SOURCES}
            for index, step in enumerate(even):
                repeated = [f"{source} repeats" for source in SOURCES if repeats[source][index]]
                for kind in ("all", *(repeated or ["fresh"])):
                    found.setdefault(kind, []).append(step)
        steady = ("all", "fresh", "rgb repeats", "thermal repeats")
        groups = {kind: _steady_group(found[kind]) for kind in steady if kind in found}
        return groups | {kind: _whole_group(found[kind]) for kind in ("rgb jumps", "thermal jumps") if kind in found}


def temporal_change(frames: Mapping[str, Sequence[Grey]]) -> dict[str, float]:
    """Mean |change| from frame to frame in steady regions, of a clip that fits into memory; see TemporalChange.

    Args:
        frames: Lists of uint8 HxW of equal length: "rgb", "thermal" and the fused ones.

    Returns:
        Grey levels by name, with "maximum" added; nan where nothing was steady.

    Raises:
        ImageFormatError: The lists differ in length, hold fewer than two frames, or images that do not fit.
    """
    _check_lengths(frames)
    clip = TemporalChange()
    for images in zip(*frames.values(), strict=True):
        clip.add(dict(zip(frames, images, strict=True)))
    groups = clip.groups()
    return groups["all"].change if "all" in groups else dict.fromkeys({**frames, "maximum": ()}, math.nan)


def still_change(frames: Mapping[str, Sequence[Grey]]) -> dict[str, float]:
    """Mean |change| of all pixels between two frames of a still scene, such as still_pair makes.

    Args:
        frames: Two uint8 HxW a name: "rgb" (its luma), "thermal" and the fused ones.

    Returns:
        Grey levels by name, with "maximum" added; over_greater_source turns them into ratios.

    Raises:
        ImageFormatError: Not two frames of each name, or images that do not fit.
    """
    _check_lengths(frames)
    moments = [checked_frames(dict(zip(frames, images, strict=True))) for images in zip(*frames.values(), strict=True)]
    if len(moments) != 2 or moments[0]["rgb"].shape != moments[1]["rgb"].shape:
        raise ImageFormatError("a still pair is two frames of one size")
    return measure_step(*moments).whole


def still_pair(
    rgb: npt.NDArray[np.uint8], thermal: Grey, sigma: float = 0.02, seed: int = 0
) -> tuple[tuple[npt.NDArray[np.uint8], Grey], tuple[npt.NDArray[np.uint8], Grey]]:
    """One scene taken twice: noise independent between the cameras and between the two moments.

    Args:
        rgb: uint8 HxWx3, or its luma HxW.
        thermal: uint8 HxW.
        sigma: Standard deviation of the noise, as a share of the full scale.
        seed: The same seed gives the same pictures.

    Returns:
        Two pairs (rgb, thermal).
    """
    rgb_copies, thermal_copies = noisy_copies(rgb, sigma, (seed, 0)), noisy_copies(thermal, sigma, (seed, 1))
    return (rgb_copies[0], thermal_copies[0]), (rgb_copies[1], thermal_copies[1])


def noisy_copies(
    image: npt.NDArray[np.uint8], sigma: float, seed: int | tuple[int, ...]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Two copies of an image with independent Gaussian noise, rounded and clipped to 8 bits as a camera's are.

    A colour image gets the same noise in its three channels, so that its luma has noise of the deviation asked for.

    Args:
        image: uint8 HxW or HxWx3.
        sigma: Standard deviation, as a share of the full scale, 0..1.
        seed: Images of one size and seed get the same noise; give the two cameras different ones (see still_pair).

    Raises:
        ImageFormatError: The image is neither of the two.
        ParameterError: sigma is out of range.
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3):
        raise ImageFormatError(f"the image is {image.dtype} of shape {image.shape}; expected uint8 HxW or HxWx3")
    if not 0 <= sigma <= 1:
        raise ParameterError(f"sigma is {sigma}; expected 0 to 1, a share of the full scale")
    noise = np.random.default_rng(seed).normal(0.0, 255 * sigma, (2, *image.shape[:2]))
    noise = noise if image.ndim == 2 else noise[..., None]
    first, second = (np.clip(np.rint(image + layer), 0, 255).astype(np.uint8) for layer in noise)
    return first, second


def over_greater_source(change: Mapping[str, float]) -> dict[str, float]:
    """The change of all but the sources over that of the source that changes more.

    Args:
        change: By name; "rgb" and "thermal" among them.

    Returns:
        Ratios by name; nan where neither source changes.
    """
    greater = max(change[source] for source in SOURCES)
    return {name: value / greater if greater else math.nan for name, value in change.items() if name not in SOURCES}


def _check_lengths(frames: Mapping[str, Sequence[Grey]]) -> None:
    lengths = {name: len(images) for name, images in frames.items()}
    if len(set(lengths.values())) != 1 or min(lengths.values()) < 2:
        raise ImageFormatError(f"the clip has frames as in {lengths}; give as many of each name, two or more")


def _described(frames: Mapping[str, Grey]) -> str:
    height, width = frames["rgb"].shape
    return f"{', '.join(sorted(frames))} of {width}x{height}"


def _steady_group(steps: Sequence[Step]) -> StepGroup:
    return StepGroup(
        steps=len(steps),
        share=sum(step.steady for step in steps) / sum(step.blocks for step in steps),
        change=_weighted((step.change, step.steady) for step in steps),
        flicker=_weighted((step.flicker, step.steady) for step in steps),
    )


def _whole_group(steps: Sequence[Step]) -> StepGroup:
    return StepGroup(steps=len(steps), share=1.0, change=_weighted((step.whole, step.blocks) for step in steps))


def _weighted(parts: Iterable[tuple[dict[str, float], int]]) -> dict[str, float]:
    """Mean by weight of every name that all parts have; parts of no weight hold nan."""
    parts = list(parts)
    names = [name for name in parts[0][0] if all(name in values for values, _ in parts)]
    counted = [(values, weight) for values, weight in parts if weight]
    total = sum(weight for _, weight in counted)
    return {name: sum(v[name] * w for v, w in counted) / total if total else math.nan for name in names}
