"""Recordings for the temporal measure: pairs of videos, and folders of consecutive frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import ParameterError, SourceError
from sage_fusion_ros.pipeline.thermal import ThermalNormaliser
from sage_fusion_ros.sources.images import read_rgb, read_thermal
from sage_fusion_ros.sources.layouts import PairPath, find_pairs
from sage_fusion_ros.sources.split import SplitSettings, validation_names
from sage_fusion_ros.sources.video import SUFFIXES as VIDEO_SUFFIXES
from sage_fusion_ros.sources.video import VideoSource

FRAME_NS = 33_333_333
"""Between two frames of a folder, which carry no times; only the normalisation of 16-bit thermal images follows it."""


@dataclass(frozen=True)
class Clip:
    """One recording.

    Attributes:
        name: Its folder's name and its own.
        frames: The pair of videos, or the pairs of images in order.
        is_video: Which of the two.
    """

    name: str
    frames: tuple[PairPath, ...]
    is_video: bool

    def read(self, limit: int) -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]:
        """RGB as uint8 HxWx3 and thermal as uint8 HxW, from the first on, at most `limit` of them (0: all).

        Raises:
            SourceError: A frame can't be read.
        """
        normalise = ThermalNormaliser()
        if not self.is_video:
            for index, pair in enumerate(self.frames[: limit or None]):
                yield read_rgb(pair.rgb), normalise(read_thermal(pair.thermal), index * FRAME_NS)
            return
        source = VideoSource(self.frames[0].rgb, self.frames[0].thermal)
        try:
            for index in range(min(len(source), limit) if limit else len(source)):
                pair = source.read(index)
                yield pair.rgb, normalise(pair.thermal)
        finally:
            source.close()


def holds_videos(root: Path) -> bool:
    """Whether a folder is one of clips, visible/x.mp4 + infrared/x.mp4."""
    return bool(_videos(root))


def find_clips(roots: Sequence[Path], split: SplitSettings | None) -> list[Clip]:
    """The clips of several folders.

    Args:
        roots: Folders of videos (visible/ + infrared/), or of consecutive frames, in one folder for each clip or
            directly in one of the layouts that `find_pairs` knows.
        split: Leaves out what is trained on; None takes all.

    Raises:
        SourceError: A folder is missing or holds neither.
        ParameterError: The split leaves nothing over.
    """
    clips = [clip for root in roots for clip in _clips_of(Path(root))]
    if split is not None:
        names = [f"{clip.name}/{Path(pair.name).name}" for clip in clips if not clip.is_video for pair in clip.frames]
        kept = set(validation_names([*names, *(clip.name for clip in clips if clip.is_video)], split))
        clips = [clip for clip in clips if _first_name(clip) in kept]
    if roots and not clips:
        raise ParameterError(f"the split keeps no clip of {', '.join(map(str, roots))} out of training")
    return clips


def _first_name(clip: Clip) -> str:
    return clip.name if clip.is_video else f"{clip.name}/{Path(clip.frames[0].name).name}"


def _clips_of(root: Path) -> list[Clip]:
    name = root.resolve().name
    if videos := _videos(root):
        return [Clip(f"{name}/{pair.name}", (pair,), is_video=True) for pair in videos]
    frames: dict[str, list[PairPath]] = {}
    for pair in find_pairs(root).pairs:
        frames.setdefault(Path(name, pair.name).parent.as_posix(), []).append(pair)
    return [Clip(clip, tuple(pairs), is_video=False) for clip, pairs in frames.items() if len(pairs) > 1]


def _videos(root: Path) -> list[PairPath]:
    try:
        return find_pairs(root, VIDEO_SUFFIXES).pairs
    except SourceError:
        return []
