"""Pictures of what perception models see, for the page: mask and boxes drawn over every contender's image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sage_fusion_ros.errors import ImageFormatError, SourceError
from sage_fusion_ros.evaluation.comparison.contenders import SOURCES, Contender, load_pair
from sage_fusion_ros.evaluation.comparison.perceivers import PerceptionReader
from sage_fusion_ros.evaluation.comparison.pictures import UNSEEN, data_url, shrunk
from sage_fusion_ros.evaluation.comparison.sets import Item
from sage_fusion_ros.evaluation.comparison.smoke import SEEN_SCORE, SmokeClip, read_frame
from sage_fusion_ros.pipeline.overlay import draw_overlay
from sage_fusion_ros.sources.video import VideoSource

OPACITY = 0.5


@dataclass(frozen=True)
class SmokeFrame:
    """One frame of a clip."""

    clip: SmokeClip
    index: int

    @property
    def key(self) -> str:
        """Clip and frame."""
        return f"{self.clip.name}, frame {self.index}"


@dataclass
class OverlayResult:
    """The overlays of one pair.

    Attributes:
        key: The pair's, or clip and frame.
        bright: See LoadedPair.
        size: Width and height in pixels.
        views: By perception model and contender, a JPEG as a data URL.
        skipped: What could not be done, as (name, reason).
    """

    key: str
    bright: bool = True
    size: tuple[int, int] = (0, 0)
    views: dict[str, dict[str, str]] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)


def draw_overlays(
    what: Item | SmokeFrame, contenders: Mapping[str, Contender], readers: Mapping[str, PerceptionReader]
) -> OverlayResult:
    """Fuses a pair anew and draws what each perception model sees in each image, at a score of 0.3 and more."""
    result = OverlayResult(what.key)
    try:
        if isinstance(what, Item):
            pair, position = load_pair(what), what.position
        else:
            source = VideoSource(what.clip.rgb, what.clip.thermal)
            try:
                pair, position = read_frame(what.clip, source, what.index), 0
            finally:
                source.close()
    except SourceError as error:
        result.skipped.append((what.key, str(error)))
        return result
    result.bright, result.size = pair.bright, (pair.luma.shape[1], pair.luma.shape[0])
    for name in (*SOURCES, *(name for name in contenders if name not in (*SOURCES, *UNSEEN))):
        try:
            rgb = contenders[name].fuse(pair).rgb
        except (SourceError, ImageFormatError):
            continue  # measuring the pair has named it
        for reader_name, reader in readers.items():
            mask, boxes, whose = reader.look(rgb, position, SEEN_SCORE)
            drawn = draw_overlay(rgb, mask, whose.mask_classes, boxes, whose.detection_classes, OPACITY)
            result.views.setdefault(reader_name, {})[name] = data_url(shrunk(drawn), ".jpg")
    return result
