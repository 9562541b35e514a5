"""One word or path in, the fitting source out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.sources.base import PairSource
from sage_fusion_ros.sources.folder import FolderSource
from sage_fusion_ros.sources.video import SUFFIXES as VIDEO_SUFFIXES
from sage_fusion_ros.sources.video import VideoSource, find_videos

_BAG_SUFFIXES = frozenset({".mcap", ".db3"})
_FORMS = (
    "'synthetic', a folder of pairs, 'rgb.mp4,thermal.mp4', a folder with visible/clip.mp4 and infrared/clip.mp4, "
    "or a rosbag2 folder, .mcap or .db3 file"
)


def open_source(spec: str | Path, *, seed: int = 0, **options: Any) -> PairSource:
    """Opens a source of pairs.

    Args:
        spec: 'synthetic' or 'synthetic:<condition>' (day, night, smoke or fog); a folder of still pairs; two videos
            'rgb.mp4,thermal.mp4'; a folder of videos (visible/x.mp4 + infrared/x.mp4), with '/x' behind it where it
            holds several; or a bag: its folder, .mcap or .db3 file.
        seed: Of the synthetic scene.
        **options: What the source takes: `duration`, `frame_rate` and `size` (synthetic), `clip` (videos), `rgb_topic`
            and `thermal_topic` (bags).

    Raises:
        SourceError: When there is nothing to read there, or an option does not belong to that kind of source.
    """
    text = str(spec).strip()
    name, _, condition = text.partition(":")
    if name == "synthetic":
        from sage_fusion_ros.sources.synthetic import SyntheticSource  # costs time to import and is often not needed

        return _make(SyntheticSource, "the synthetic scene", {"duration", "frame_rate", "size"}, options)(
            condition=condition, seed=seed, **options
        )
    if not text:
        raise SourceError(f"the source is empty; expected {_FORMS}")
    if "," in text and not Path(text).exists():
        return _two_videos(text, options)
    return _open_path(Path(text).expanduser(), options)


def _two_videos(text: str, options: dict[str, Any]) -> PairSource:
    parts = [Path(part.strip()).expanduser() for part in text.split(",")]
    if len(parts) != 2:
        raise SourceError(f"'{text}' names {len(parts)} files; expected two, 'rgb.mp4,thermal.mp4'")
    return _make(VideoSource, "two videos", set(), options)(*parts)


def _open_path(path: Path, options: dict[str, Any]) -> PairSource:
    if path.suffix.lower() in _BAG_SUFFIXES or _is_bag_folder(path):
        from sage_fusion_ros.sources.bag import BagSource  # its library is an extra

        return _make(BagSource, "a bag", {"rgb_topic", "thermal_topic"}, options)(path, **options)
    if path.is_dir():
        if _holds_videos(path):
            _make(VideoSource, "a folder of videos", {"clip"}, options)
            clip = find_videos(path, str(options.get("clip", "")))
            return VideoSource(clip.rgb, clip.thermal)
        return _make(FolderSource, "a folder of images", set(), options)(path)
    if not path.exists() and not path.suffix and _holds_videos(path.parent):
        clip = find_videos(path.parent, path.name)
        return _make(VideoSource, "a clip", set(), options)(clip.rgb, clip.thermal)
    if path.is_file():
        hint = "give both videos as 'rgb.mp4,thermal.mp4'" if path.suffix.lower() in VIDEO_SUFFIXES else ""
        raise SourceError(f"'{path}' is a single file; {hint or 'expected ' + _FORMS}")
    raise SourceError(f"'{path}' does not exist; expected {_FORMS}")


def _make(kind: Any, what: str, allowed: set[str], options: dict[str, Any]) -> Any:
    unknown = sorted(options.keys() - allowed)
    if unknown:
        takes = f"takes {', '.join(sorted(allowed))}" if allowed else "takes no options"
        raise SourceError(f"option '{unknown[0]}' does not belong to {what}, which {takes}")
    return kind


def _is_bag_folder(path: Path) -> bool:
    return path.is_dir() and (
        (path / "metadata.yaml").is_file() or any(child.suffix in _BAG_SUFFIXES for child in path.iterdir())
    )


def _holds_videos(path: Path) -> bool:
    return path.is_dir() and any(file.suffix.lower() in VIDEO_SUFFIXES for file in path.glob("*/*"))
