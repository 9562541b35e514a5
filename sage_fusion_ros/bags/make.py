"""Turns a folder of pairs, two videos or the synthetic street into a bag."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sage_fusion_ros.bags import messages
from sage_fusion_ros.bags.typestore import CAMERA_INFO, COMPRESSED, IMAGE, typestore
from sage_fusion_ros.bags.work_folder import WorkFolder
from sage_fusion_ros.bags.writer import BagTopic, BagWriter
from sage_fusion_ros.errors import ImageFormatError, ParameterError, SourceError
from sage_fusion_ros.sources.base import CAMERAS, Camera, PairSource, RecordedCameras, SourcePair
from sage_fusion_ros.sources.folder import FolderSource
from sage_fusion_ros.sources.schedule import STILLS_RATE_HZ
from sage_fusion_ros.sources.video import VideoSource

_SECOND = 1_000_000_000
PAIRS_FILE = "pairs.csv"
FORMATS = ("raw", "compressed")
DEFAULT_TOPICS: dict[Camera, str] = {"rgb": "/fusion_node/input/rgb", "thermal": "/fusion_node/input/thermal"}
"""Where fusion_node listens when nothing is remapped."""


@dataclass(frozen=True)
class MakeSettings:
    """How a bag is made.

    Attributes:
        storage: "mcap" or "sqlite3".
        images: "raw" (sensor_msgs/Image), or "compressed": RGB as JPEG, thermal as PNG, which keeps 16 bits.
        rate_hz: Pairs a second; 0 takes the source's own times, or 10 for stills.
        start_ns: Stamp of the first pair. The default says plainly that nobody knows when it was.
        topics: Image topic of each camera, as for raw images.
        frame_ids: Coordinate frame of each camera.
    """

    storage: str = "mcap"
    images: str = "raw"
    rate_hz: float = 0.0
    start_ns: int = _SECOND
    topics: dict[Camera, str] = field(default_factory=lambda: dict(DEFAULT_TOPICS))
    frame_ids: dict[Camera, str] = field(default_factory=lambda: {"rgb": "rgb_camera", "thermal": "thermal_camera"})

    def __post_init__(self) -> None:
        if self.images not in FORMATS:
            raise ParameterError(f"images is '{self.images}'; expected one of {', '.join(FORMATS)}")
        if not 0 <= self.rate_hz <= 1000:
            raise ParameterError(f"the rate is {self.rate_hz} Hz; expected above 0 to 1000")
        if not 0 < self.start_ns < 2**31 * _SECOND:
            raise ParameterError(f"the start is {self.start_ns / 1e9:g} s; expected above 0 and before 2038")
        for camera, topic in self.topics.items():
            if not topic.startswith("/") or topic.endswith("/"):
                raise ParameterError(f"the {camera} topic is '{topic}'; expected a full name such as /camera/image_raw")
        if self.topics["rgb"] == self.topics["thermal"]:
            raise ParameterError(f"both cameras have the topic '{self.topics['rgb']}'")

    def image_topic(self, camera: Camera) -> str:
        """Topic of a camera's images."""
        return self.topics[camera] + ("/compressed" if self.images == "compressed" else "")

    def info_topic(self, camera: Camera) -> str:
        """Topic of a camera's calibration: fusion_node's own, or camera_info beside the images."""
        topic = self.topics[camera]
        return f"{topic}_camera_info" if topic == DEFAULT_TOPICS[camera] else f"{topic.rpartition('/')[0]}/camera_info"


@dataclass(frozen=True)
class Made:
    """What became of it.

    Attributes:
        pairs: Pairs written.
        stamps: Where the stamps come from, in words, as in the bag's metadata.
        skipped: What was left out, as (name, reason).
    """

    pairs: int
    stamps: str
    skipped: list[tuple[str, str]]


def make_bag(source: PairSource, target: Path, settings: MakeSettings, tick: Callable[[], None] | None = None) -> Made:
    """Writes a bag. However it ends, under the bag's name is the whole bag or nothing.

    Args:
        source: Where the pairs come from; bags are none.
        target: The bag's folder, which must not exist.
        settings: See there.
        tick: Called after each pair, read or left out.

    Raises:
        SourceError: The place can't be written, or nothing could be read.
        ImageFormatError: Float thermal images, which can't be compressed without loss.
    """
    if isinstance(source, RecordedCameras):
        raise SourceError(f"'{source.name}' is a bag already")
    typestore()  # so that a missing library is told before anything is done
    with WorkFolder(target) as work:
        work.empty()
        writer = BagWriter(work.bag, work.root / "scratch", _topics(settings), settings.storage)
        try:
            made = _write(source, writer, work.bag, settings, tick or (lambda: None))
            writer.finish()
            work.publish()
        except BaseException:
            writer.abort()
            work.discard()
            raise
        return made


def _write(
    source: PairSource, writer: BagWriter, folder: Path, settings: MakeSettings, tick: Callable[[], None]
) -> Made:
    clock = _Clock(source, settings)
    skipped = list(source.skipped)
    rows = []
    for index in range(len(source)):
        try:
            pair = source.read(index)
        except SourceError as error:
            skipped.append((_name(source, index), str(error)))
        else:
            stamps = clock.stamps(index)
            for camera, stamp_ns in zip(CAMERAS, stamps, strict=True):
                _write_image(writer, settings, camera, pair, stamp_ns, source.intrinsics(camera))
            rows.append((*stamps, _name(source, index)))
        tick()
    if not rows:
        raise SourceError(f"nothing of '{source.name}' could be read: {skipped[0][1] if skipped else 'it is empty'}")
    writer.custom = {
        "sage_fusion.source": f"{source.kind}: {Path(source.name).name}" if source.kind == "folder" else source.kind,
        "sage_fusion.stamps": clock.in_words(),
        "sage_fusion.pairs": str(len(rows)),
        "sage_fusion.skipped": str(len(skipped)),
    }
    with (folder / PAIRS_FILE).open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(("rgb_stamp_ns", "thermal_stamp_ns", "name"))
        table.writerows(rows)
    return Made(len(rows), clock.in_words(), skipped)


def _write_image(
    writer: BagWriter,
    settings: MakeSettings,
    camera: Camera,
    pair: SourcePair,
    stamp_ns: int,
    intrinsics: tuple[float, ...] | None,
) -> None:
    pixels: Any = pair.rgb if camera == "rgb" else pair.thermal
    head = messages.header(stamp_ns, settings.frame_ids[camera])
    info = messages.camera_info(pixels.shape[1], pixels.shape[0], head, intrinsics)
    try:
        if settings.images == "compressed":
            message = messages.compressed(pixels, head, lossless=camera == "thermal")
        else:
            message = messages.image(pixels, head)
    except ImageFormatError as error:
        raise ImageFormatError(f"pair {pair.index}, {camera}: {error}") from error
    writer.write(settings.info_topic(camera), stamp_ns, info)
    writer.write(settings.image_topic(camera), stamp_ns, message)


class _Clock:
    """The stamps: a video's own frame times, or a stated rate."""

    def __init__(self, source: PairSource, settings: MakeSettings) -> None:
        self._video = source if isinstance(source, VideoSource) and not settings.rate_hz else None
        self._source, self._start = source, settings.start_ns
        self.rate_hz = settings.rate_hz or source.frame_rate or STILLS_RATE_HZ
        self._stated = settings.rate_hz > 0 or source.frame_rate is None
        self._last: tuple[int, int] | None = None
        self._guessed = 0

    def stamps(self, index: int) -> tuple[int, int]:
        """Of the RGB and the thermal image of the pair that was read just now."""
        even = round(index * _SECOND / self.rate_hz)
        times = self._video.frame_times_ns() if self._video is not None else (even, even)
        stamps = (self._start + times[0], self._start + times[1])
        if self._last is not None and any(now <= last for now, last in zip(stamps, self._last, strict=True)):
            # The container tells no time for this frame: one period after the frame before.
            self._guessed += 1
            period = round(_SECOND / self.rate_hz)
            stamps = (self._last[0] + period, self._last[1] + period)
        self._last = stamps
        return stamps

    def in_words(self) -> str:
        """Where the stamps come from."""
        start = f"counted from {self._start / _SECOND:.9f} s"
        if self._video is not None:
            guessed = f"; {self._guessed} frames had no time of their own" if self._guessed else ""
            return f"frame times of the videos, {self.rate_hz:g} frames a second, {start}{guessed}"
        if self._stated:
            stills = "" if self._source.is_sequence else "; stills, of which neither time nor order is recorded"
            return f"made up: a stated rate of {self.rate_hz:g} pairs a second, {start}{stills}"
        return f"the source's own rate of {self.rate_hz:g} pairs a second, {start}"


def _topics(settings: MakeSettings) -> list[BagTopic]:
    kind = COMPRESSED if settings.images == "compressed" else IMAGE
    return list(_camera_topics(settings, kind))


def _camera_topics(settings: MakeSettings, kind: str) -> Iterator[BagTopic]:
    for camera in CAMERAS:
        yield BagTopic(settings.info_topic(camera), CAMERA_INFO)
        yield BagTopic(settings.image_topic(camera), kind)


def _name(source: PairSource, index: int) -> str:
    return source.paths(index).name if isinstance(source, FolderSource) else f"pair {index}"
