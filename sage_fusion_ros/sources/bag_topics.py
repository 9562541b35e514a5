"""Which topics of a bag are the RGB and the thermal camera."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.sources.base import Camera

_THERMAL_NAME = re.compile(
    r"thermal|infrared|lwir|flir|boson|lepton|(^|[^a-z])ir([^a-z]|$)",
)
_NO_CAMERA = re.compile(r"depth|disparity|mask|label|overlay|annotat|(^|[^a-z])infra[12]([^a-z]|$)")
_GREY = ("mono8", "mono16", "16uc1", "8uc1", "32fc1")


@dataclass(frozen=True)
class ImageTopic:
    """An image topic of a bag.

    Attributes:
        name: The topic.
        compressed: Whether its type is sensor_msgs/CompressedImage.
        encoding: Of its first message: the Image's encoding, or the first word of the CompressedImage's format.
    """

    name: str
    compressed: bool
    encoding: str


def choose_topics(topics: list[ImageTopic], wanted: dict[Camera, str], bag: str) -> dict[Camera, ImageTopic]:
    """Picks one topic for each camera: the wanted one, or the only one that can be it.

    A topic is taken for thermal when its name has thermal, infrared, ir or the like in it, or, where no name has, when
    its images have one channel. Raw images win over a compressed topic of the same camera.

    Args:
        topics: All image topics that hold messages.
        wanted: Topic by camera; empty where it is to be found.
        bag: For messages.

    Raises:
        SourceError: When a wanted topic is not there, or none or several could be meant.
    """
    by_name = {topic.name: topic for topic in topics}
    listed = ", ".join(f"{topic.name} ({topic.encoding or 'no encoding'})" for topic in topics) or "none"
    chosen: dict[Camera, ImageTopic] = {}
    for camera, name in wanted.items():
        if name and name not in by_name:
            raise SourceError(f"'{bag}' has no images on topic '{name}'; its image topics are: {listed}")
        if name:
            chosen[camera] = by_name[name]
    free = [topic for topic in topics if topic not in chosen.values() and not _NO_CAMERA.search(topic.name.lower())]
    named = [topic for topic in free if _THERMAL_NAME.search(topic.name.lower())]
    thermal = named or [topic for topic in free if topic.encoding.lower() in _GREY]
    candidates: dict[Camera, list[ImageTopic]] = {
        "rgb": [topic for topic in free if topic not in thermal and topic.encoding.lower() not in _GREY],
        "thermal": thermal,
    }
    for camera in wanted:
        if camera not in chosen:
            chosen[camera] = _only(candidates[camera], camera, bag, listed)
    return chosen


def _only(candidates: list[ImageTopic], camera: Camera, bag: str, listed: str) -> ImageTopic:
    raw = {topic.name for topic in candidates if not topic.compressed}
    kept = [topic for topic in candidates if not (topic.compressed and topic.name.rpartition("/")[0] in raw)]
    if len(kept) == 1:
        return kept[0]
    what = "several topics that could be" if kept else "no topic that looks like"
    raise SourceError(
        f"'{bag}' has {what} the {camera} camera; name one with {camera}_topic. Its image topics are: {listed}"
    )
