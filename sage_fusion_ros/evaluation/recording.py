"""Reads what one run left behind: the recorder's lines and the replay's log. JSON lines, one event each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import SourceError

OUTPUTS = ("mask", "detections")
"""What fusion_node can say about a pair beside its fused image."""


@dataclass(frozen=True)
class Fused:
    """A fused image that arrived at the recorder; times in nanoseconds of the system clock.

    `frame_id` and `size` (width, height) are the message's.
    """

    stamp_ns: int
    arrival_ns: int
    frame_id: str = ""
    size: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Mask:
    """A mask that arrived: its header, and width and height in pixels."""

    stamp_ns: int
    frame_id: str
    size: tuple[int, int]


@dataclass(frozen=True)
class Found:
    """The detections of one pair.

    Attributes:
        stamp_ns: Stamp in the message's header.
        frame_id: Frame in the message's header.
        xyxy: float32 Nx4, left, top, right, bottom in pixels of the RGB image.
        scores: float32 N in 0..1.
        labels: N class names; where the node sends numbers, the names that its label_info gives them.
    """

    stamp_ns: int
    frame_id: str
    xyxy: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: list[str]


@dataclass(frozen=True)
class PairStamps:
    """The two stamps, as the cameras gave them, that fusion_node says it put together."""

    rgb_ns: int
    thermal_ns: int


@dataclass(frozen=True)
class SavedFrame:
    """An image kept as a file, its name relative to the recorder's folder."""

    stamp_ns: int
    file: str


@dataclass
class Recording:
    """Everything the recorder wrote.

    Attributes:
        fused: Arrivals in order.
        pairs: Pair stamps in order of arrival.
        values: Debug values by topic name, each (arrival in ns, value).
        diagnostics: Last status by name: {"level", "message", "values"}.
        frames: Saved fused images.
        masks: Masks in order of arrival, whether kept or not.
        detections: Detections in order of arrival.
        mask_files: Saved masks, as PNGs of their ids.
        classes: Class name by id for each of OUTPUTS that fusion_node has announced.
        score_threshold: Least score of the detections, as announced; None where nothing was.
        unavailable: Why the recorder could not listen to an output, by its name.
        states: Lifecycle states of fusion_node in the order seen.
        finished: False where the recorder did not end by itself.
    """

    fused: list[Fused] = field(default_factory=list)
    pairs: list[PairStamps] = field(default_factory=list)
    values: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    diagnostics: dict[str, dict[str, Any]] = field(default_factory=dict)
    frames: list[SavedFrame] = field(default_factory=list)
    masks: list[Mask] = field(default_factory=list)
    detections: list[Found] = field(default_factory=list)
    mask_files: list[SavedFrame] = field(default_factory=list)
    classes: dict[str, dict[int, str]] = field(default_factory=dict)
    score_threshold: float | None = None
    unavailable: dict[str, str] = field(default_factory=dict)
    states: list[str] = field(default_factory=list)
    finished: bool = False

    def status(self, name: str) -> dict[str, str]:
        """Key-value pairs of the last diagnostic status whose name ends in `name`; empty where none came."""
        for full, status in self.diagnostics.items():
            if full.split(": ", 1)[-1] == name:
                return dict(status["values"])
        return {}


@dataclass(frozen=True)
class Sent:
    """One image the replay published.

    Attributes:
        camera: 'rgb' or 'thermal'.
        index: Index in the source.
        stamp_ns: Stamp in the message's header.
    """

    camera: str
    index: int
    stamp_ns: int


@dataclass
class ReplayLog:
    """What the replay published, in order, and what it left out as (name, reason)."""

    sent: list[Sent] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    finished: bool = False


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Events of a JSON lines file. A last line cut short by the end of its process is left out.

    Raises:
        SourceError: The file is missing, or a line before the last is no JSON.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise SourceError(f"the log {path} can't be read: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        try:
            yield json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines):
                return
            raise SourceError(f"line {number} of {path} is no JSON: {error}") from error


def read_recording(path: Path) -> Recording:
    """The recorder's file as one value."""
    run = Recording()
    boxes = []
    for event in read_events(path):
        kind = event["event"]
        if kind == "fused":
            size = tuple(event["size"])
            run.fused.append(Fused(event["stamp_ns"], event["arrival_ns"], event["frame_id"], size))
        elif kind == "pair":
            run.pairs.append(PairStamps(event["rgb_ns"], event["thermal_ns"]))
        elif kind == "value":
            run.values.setdefault(event["name"], []).append((event["arrival_ns"], event["value"]))
        elif kind == "diagnostics":
            run.diagnostics.update({status["name"]: status for status in event["statuses"]})
        elif kind == "frame":
            run.frames.append(SavedFrame(event["stamp_ns"], event["file"]))
        elif kind == "mask":
            run.masks.append(Mask(event["stamp_ns"], event["frame_id"], tuple(event["size"])))
        elif kind == "mask_file":
            run.mask_files.append(SavedFrame(event["stamp_ns"], event["file"]))
        elif kind == "detections":
            boxes.append(event)
        elif kind == "classes":
            run.classes[event["output"]] = {int(number): name for number, name in event["names"].items()}
            if event["output"] == "detections":
                run.score_threshold = event["threshold"]
        elif kind == "unavailable":
            run.unavailable[event["output"]] = event["reason"]
        elif kind == "state":
            run.states.append(event["state"])
        elif kind == "finished":
            run.finished = True
    # The names may arrive after the first boxes.
    run.detections = [_found(event, run.classes.get("detections", {})) for event in boxes]
    return run


def _found(event: dict[str, Any], names: dict[int, str]) -> Found:
    rows = event["boxes"]  # each: left, top, right, bottom, score, class as the message has it
    return Found(
        event["stamp_ns"],
        event["frame_id"],
        np.array([row[:4] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[4] for row in rows], np.float32),
        [_class_name(str(row[5]), names) for row in rows],
    )


def _class_name(sent: str, names: dict[int, str]) -> str:
    """A class as fusion_node sends it, by name or by number, as a name where there is one."""
    return names.get(int(sent), sent) if sent.isdecimal() and sent not in names.values() else sent


def read_replay_log(path: Path) -> ReplayLog:
    """The replay's log as one value."""
    log = ReplayLog()
    for event in read_events(path):
        if event.get("event") == "finished":
            log.finished = True
            log.skipped = [(str(name), str(reason)) for name, reason in event["skipped"]]
        elif "camera" in event:
            log.sent.append(Sent(event["camera"], event["index"], event["stamp_ns"]))
    return log
