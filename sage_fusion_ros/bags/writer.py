"""Writes a rosbag2 folder in files of limited size, each of them whole before the next one is begun."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sage_fusion_ros.bags.typestore import typestore
from sage_fusion_ros.errors import SourceError

STORAGES = ("mcap", "sqlite3")
METADATA = "metadata.yaml"
_SUFFIX = {"mcap": ".mcap", "sqlite3": ".db3"}
# Version 9 writes QoS in a form that the rosbag2 of Humble can't read; all since Humble read 8.
_VERSION = 8
_INFORMATION = "rosbag2_bagfile_information"
_INFINITE = (9223372036, 854775807)  # how rosbag2 itself writes a time without end


@dataclass(frozen=True)
class BagTopic:
    """A topic to be written.

    Attributes:
        name: The topic.
        type: Its type, such as "sensor_msgs/msg/Image".
        latched: Whether players offer it transient local with depth 1; else volatile with depth 10. Both are reliable,
            which fits subscriptions of either reliability.
    """

    name: str
    type: str
    latched: bool = False


class BagWriter:
    """The files `<name>_<number>` of a bag, and its metadata.yaml in the end.

    What is written is the same byte for byte whenever the same messages come in the same order and are cut at the same
    places; nothing in it tells when or where it was written.

    Attributes:
        custom: Texts by name that go into the bag's metadata (custom_data) as they are when a file is closed.
        files: What metadata.yaml says of each whole file; hand them to a later writer to go on after them.

    Args:
        bag: The bag's folder; created.
        scratch: A folder on the same file system for the file in work; created.
        topics: All topics.
        storage: "mcap" or "sqlite3".
        files: Whole files that are there already.
    """

    def __init__(
        self,
        bag: Path,
        scratch: Path,
        topics: Sequence[BagTopic],
        storage: str = "mcap",
        files: Sequence[dict[str, Any]] = (),
    ) -> None:
        self.custom: dict[str, str] = {}
        self.files = list(files)
        self._bag, self._scratch, self._topics, self._storage = bag, scratch, tuple(topics), storage
        self._writer: Any = None
        self._connections: dict[str, Any] = {}
        self._size = 0
        bag.mkdir(parents=True, exist_ok=True)
        whole = {path for entry in self.files for path in entry["relative_file_paths"]}
        for path in bag.iterdir():  # a file whose end nobody has taken note of
            if path.name not in whole:
                path.unlink()

    @property
    def size(self) -> int:
        """Bytes of the messages in the file in work."""
        return self._size

    def write(self, topic: str, time_ns: int, message: Any) -> None:
        """Adds a message.

        Args:
            topic: One of the topics.
            time_ns: When it counts as received; what players go by.
            message: Of the topic's type, from rosbags.

        Raises:
            SourceError: The file can't be written.
        """
        try:
            if self._writer is None:
                self._begin()
            connection = self._connections[topic]
            data = typestore().serialize_cdr(message, connection.msgtype)
            self._writer.write(connection, time_ns, data)
        except (OSError, sqlite3.Error) as error:
            raise self._cannot(error) from error
        self._size += len(data)

    def cut(self) -> None:
        """Ends the file in work, if any; from here on it is whole and can be read by itself.

        Raises:
            SourceError: The file can't be written.
        """
        if self._writer is None:
            return
        name = self._name(len(self.files))
        try:
            for key, text in self.custom.items():
                self._writer.set_custom_data(key, text)
            self._writer.close()
            self._writer = None
            folder = self._scratch / name
            with (folder / METADATA).open(encoding="utf-8") as stream:
                entry = yaml.safe_load(stream)[_INFORMATION]
            file = name + _SUFFIX[self._storage]
            os.replace(folder / file, self._bag / file)
            shutil.rmtree(folder)
        except (OSError, sqlite3.Error) as error:
            raise self._cannot(error) from error
        self.files.append(entry)
        self._size = 0

    def finish(self) -> None:
        """Ends the last file and writes metadata.yaml.

        Raises:
            SourceError: Nothing was written, or it can't be.
        """
        self.cut()
        if not self.files:
            raise SourceError(f"'{self._bag.name}' would hold no message at all")
        text = yaml.safe_dump({_INFORMATION: merge_metadata(self.files, self.custom)}, sort_keys=False)
        try:
            (self._bag / METADATA).write_text(text, encoding="utf-8")
        except (OSError, sqlite3.Error) as error:
            raise self._cannot(error) from error

    def abort(self) -> None:
        """Closes the file in work without making it whole."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(Exception):  # on a full disk even closing fails
                writer.abort()

    def _cannot(self, error: Exception) -> SourceError:
        return SourceError(f"'{self._bag}' can't be written: {getattr(error, 'strerror', None) or error}")

    def _name(self, number: int) -> str:
        return f"{self._bag.name}_{number}"

    def _begin(self) -> None:
        from rosbags.rosbag2 import StoragePlugin, Writer

        folder = self._scratch / self._name(len(self.files))
        if folder.exists():
            shutil.rmtree(folder)
        self._writer = Writer(folder, version=_VERSION, storage_plugin=StoragePlugin[self._storage.upper()])
        self._writer.open()
        self._connections = {
            topic.name: self._writer.add_connection(
                topic.name, topic.type, typestore=typestore(), offered_qos_profiles=[_qos(topic.latched)]
            )
            for topic in self._topics
        }


def merge_metadata(files: Sequence[dict[str, Any]], custom: dict[str, str]) -> dict[str, Any]:
    """What metadata.yaml says of a bag of several files, from what it says of each of them alone."""
    first = min(_start(entry) for entry in files)
    last = max(_start(entry) + entry["duration"]["nanoseconds"] for entry in files)
    topics = [dict(topic) for topic in files[0]["topics_with_message_count"]]
    for topic, *counts in zip(topics, *(entry["topics_with_message_count"] for entry in files), strict=True):
        topic["message_count"] = sum(count["message_count"] for count in counts)
    return {
        **files[0],
        "relative_file_paths": [path for entry in files for path in entry["relative_file_paths"]],
        "duration": {"nanoseconds": last - first},
        "starting_time": {"nanoseconds_since_epoch": first},
        "message_count": sum(entry["message_count"] for entry in files),
        "topics_with_message_count": topics,
        "files": [file for entry in files for file in entry["files"]],
        "custom_data": custom or None,
    }


def _start(entry: dict[str, Any]) -> int:
    return int(entry["starting_time"]["nanoseconds_since_epoch"])


def _qos(latched: bool) -> Any:
    from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime

    without_end = QosTime(*_INFINITE)
    return Qos(
        QosHistory.KEEP_LAST,
        1 if latched else 10,
        QosReliability.RELIABLE,
        QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        without_end,
        without_end,
        QosLiveliness.AUTOMATIC,
        without_end,
        False,
    )
