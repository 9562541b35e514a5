"""A rosbag2 recording, in mcap or sqlite3, read without ROS."""

from __future__ import annotations

import contextlib
import struct
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import ImageFormatError, SourceError
from sage_fusion_ros.pipeline.compressed_codec import decode
from sage_fusion_ros.pipeline.image_codec import as_rgb, as_thermal
from sage_fusion_ros.sources.bag_topics import ImageTopic, choose_topics
from sage_fusion_ros.sources.base import CAMERAS, Camera, SourcePair, check_index

_RAW, _COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
_CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
# Stepping over a few messages is cheaper than a new search, which looks at the index of the whole file.
_STEP_LIMIT = 32


class BagSource:
    """Two image topics of a bag.

    Each camera keeps its own messages and recorded stamps (`camera_stamps`, `read_camera`); a replay sends them
    unpaired, since pairing is the fusion node's work. `read` pairs for work without ROS: RGB message i with the thermal
    message nearest in time.

    Opening reads through the bag once for the stamps in the message headers. Messages without a stamp get the time at
    which they were recorded.

    Raises:
        SourceError: When the bag or a topic is missing or damaged, or the library `rosbags` is not installed.
    """

    kind = "bag"
    is_sequence = True

    def __init__(self, path: Path, rgb_topic: str = "", thermal_topic: str = "") -> None:
        self.name = str(path)
        self.skipped: list[tuple[str, str]] = []
        self._tracks: dict[Camera, _Track] = {}
        try:
            with contextlib.closing(_open(path)) as reader:
                chosen = choose_topics(_image_topics(reader), {"rgb": rgb_topic, "thermal": thermal_topic}, self.name)
            for camera in CAMERAS:
                self._tracks[camera] = _Track(path, chosen[camera])
                self.skipped += self._tracks[camera].skipped
        except BaseException:
            self.close()
            raise
        gaps = np.diff(self.camera_stamps("rgb"))
        self.frame_rate = 1e9 / float(np.median(gaps)) if len(gaps) and np.median(gaps) > 0 else 30.0
        thermal = self.camera_stamps("thermal")
        self._by_time = sorted(range(len(thermal)), key=thermal.__getitem__)
        self._thermal_times = [thermal[index] for index in self._by_time]

    def __len__(self) -> int:
        """Number of RGB messages."""
        return len(self.camera_stamps("rgb"))

    def camera_stamps(self, camera: Camera) -> list[int]:
        """The recorded stamp of every message of a camera in nanoseconds, in the order of recording."""
        return self._tracks[camera].stamps

    def topic(self, camera: Camera) -> str:
        """The topic a camera is read from."""
        return self._tracks[camera].topic.name

    def read_camera(self, camera: Camera, index: int) -> npt.NDArray[Any]:
        """One message of one camera: uint8 HxWx3 RGB, or thermal HxW as uint8, uint16 or float32.

        Raises:
            SourceError: When the message can't be read as an image.
        """
        return self.read_framed(camera, index)[0]

    def read_framed(self, camera: Camera, index: int) -> tuple[npt.NDArray[Any], str]:
        """One message of one camera as `read_camera` gives it, and the frame_id in its header.

        Raises:
            SourceError: When the message can't be read as an image.
        """
        image, frame_id = self._tracks[camera].read(index)
        return as_rgb(image) if camera == "rgb" else as_thermal(image), frame_id

    def received_ns(self, camera: Camera) -> list[int]:
        """When each message of a camera was recorded, in nanoseconds, in that order."""
        return self._tracks[camera].recorded

    def camera_infos(self, camera: Camera) -> list[tuple[int, Any]]:
        """The sensor_msgs/CameraInfo messages beside a camera's images, with the time of recording of each.

        Their topic is found by the usual names: camera_info beside the image topic, or <image topic>_camera_info.

        Raises:
            SourceError: When such a topic can't be read.
        """
        topic = self._tracks[camera].topic
        base = topic.name.rpartition("/")[0] if topic.compressed else topic.name
        names = (f"{base.rpartition('/')[0]}/camera_info", f"{base}_camera_info")
        typestore = _typestore()
        with contextlib.closing(_open(Path(self.name))) as reader:
            there = [c for c in reader.connections if c.topic in names and c.msgtype == _CAMERA_INFO]
            if not there:
                return []
            try:
                return [
                    (recorded, typestore.deserialize_cdr(data, _CAMERA_INFO))
                    for _, recorded, data in reader.messages(there)
                ]
            except Exception as error:  # the library raises errors of many kinds on damaged data
                raise SourceError(f"'{self.name}': {there[0].topic} can't be read: {error}") from error

    def read(self, index: int) -> SourcePair:
        """RGB message `index` and the thermal message nearest in time; see PairSource."""
        check_index(index, len(self))
        return SourcePair(index, self.read_camera("rgb", index), self.read_camera("thermal", self._partner(index)))

    def stamps_ns(self, index: int) -> tuple[int, int]:
        """The recorded stamps of the pair that `read` gives."""
        check_index(index, len(self))
        return self.camera_stamps("rgb")[index], self.camera_stamps("thermal")[self._partner(index)]

    def intrinsics(self, camera: Camera) -> None:
        """Unknown: calibrations recorded in a bag are not used."""

    def close(self) -> None:
        """Closes the bag."""
        for track in self._tracks.values():
            track.close()

    def _partner(self, index: int) -> int:
        stamp = self.camera_stamps("rgb")[index]
        place = bisect_left(self._thermal_times, stamp)
        near = [place for place in (place - 1, place) if 0 <= place < len(self._thermal_times)]
        return self._by_time[min(near, key=lambda place: abs(self._thermal_times[place] - stamp))]


class _Track:
    """One topic, with a reader of its own: two readings in one unindexed file would disturb each other."""

    def __init__(self, path: Path, topic: ImageTopic) -> None:
        self.topic = topic
        self.stamps: list[int] = []
        self.skipped: list[tuple[str, str]] = []
        self.recorded: list[int] = []
        self._path = path
        self._next = -1
        self._messages: Iterator[tuple[Any, int, bytes]] = iter(())
        self._reader = _open(path)
        self._connections = [c for c in self._reader.connections if c.topic == topic.name]
        self._typestore = _typestore()
        try:
            self._scan()
        except BaseException:
            self.close()
            raise

    def read(self, index: int) -> tuple[npt.NDArray[Any], str]:
        """A message as an image, and its frame_id."""
        check_index(index, len(self.stamps))
        name = f"{self._path}: {self.topic.name}, message {index}"
        try:
            data = self._data(index)
            message = self._typestore.deserialize_cdr(data, _COMPRESSED if self.topic.compressed else _RAW)
            frame_id = str(message.header.frame_id)
            return decode(message), frame_id
        except SourceError:
            raise
        except ImageFormatError as error:
            raise SourceError(f"'{name}': {error}") from error
        except Exception as error:  # the library raises errors of many kinds on damaged data
            self._next = -1
            raise SourceError(f"'{name}' can't be read: {error}") from error

    def close(self) -> None:
        self._messages = iter(())
        self._reader.close()

    def _data(self, index: int) -> bytes:
        if 0 <= self._next < index <= self._next + _STEP_LIMIT:
            for _ in range(index - self._next):
                next(self._messages)
        elif index != self._next:
            recorded = self.recorded[index]
            self._messages = self._reader.messages(self._connections, start=recorded)
            for _ in range(index - self.recorded.index(recorded)):
                next(self._messages)
        self._next = index + 1
        return bytes(next(self._messages)[2])

    def _scan(self) -> None:
        unstamped = 0
        try:
            for _, recorded, data in self._reader.messages(self._connections):
                stamp = _header_stamp(data)
                unstamped += stamp == 0
                self.stamps.append(stamp or recorded)
                self.recorded.append(recorded)
        except Exception as error:  # as above; what came before the damage is still good
            self.skipped.append(
                (f"{self._path}: {self.topic.name}", f"unreadable after {len(self.stamps)} messages: {error}")
            )
        if unstamped:
            reason = f"{unstamped} messages have no stamp; the time of recording stands in for it"
            self.skipped.append((f"{self._path}: {self.topic.name}", reason))
        if not self.stamps:
            raise SourceError(f"'{self._path}' has no readable message on {self.topic.name}")


def _header_stamp(data: bytes) -> int:
    """The stamp of a serialized message that begins with a std_msgs/Header, in nanoseconds; 0 where there is none."""
    if len(data) < 12:
        return 0
    seconds, nanoseconds = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
    return max(0, seconds * 1_000_000_000 + nanoseconds)


def _image_topics(reader: Any) -> list[ImageTopic]:
    typestore = _typestore()
    topics = {}
    for connection in reader.connections:
        if connection.msgtype not in (_RAW, _COMPRESSED) or connection.topic in topics:
            continue
        try:
            _, _, data = next(reader.messages([connection]))
            message = typestore.deserialize_cdr(data, connection.msgtype)
        except StopIteration:
            continue
        except Exception as error:
            raise SourceError(f"'{reader.path}': {connection.topic} can't be read: {error}") from error
        compressed = connection.msgtype == _COMPRESSED
        encoding = message.format.partition(";")[0].strip() if compressed else message.encoding
        topics[connection.topic] = ImageTopic(connection.topic, compressed, encoding)
    return [topics[name] for name in sorted(topics)]


def _typestore() -> Any:
    from rosbags.typesys import Stores, get_typestore

    # Image and CompressedImage are the same in every distribution.
    return get_typestore(Stores.ROS2_HUMBLE)


def _open(path: Path) -> Any:
    try:
        from rosbags.rosbag2 import Reader
    except ImportError as error:
        raise SourceError(
            "bags need the library 'rosbags', which is not installed: pip install sage_fusion_ros[bags]"
        ) from error
    path = Path(path)
    if not path.exists():
        raise SourceError(f"'{path}' does not exist; expected a rosbag2 folder, .mcap or .db3 file")
    if path.is_dir() and not (path / "metadata.yaml").is_file():
        files = sorted(file for file in path.iterdir() if file.suffix in (".mcap", ".db3"))
        if len(files) != 1:
            raise SourceError(
                f"'{path}' holds {len(files)} bag files and no metadata.yaml (the recording was not closed); "
                "run `ros2 bag reindex` on it, or give one of the files"
            )
        path = files[0]
    try:
        reader = Reader(path)
        reader.open()
    except Exception as error:
        raise SourceError(f"'{path}' can't be opened as a rosbag2: {error or type(error).__name__}") from error
    return reader
