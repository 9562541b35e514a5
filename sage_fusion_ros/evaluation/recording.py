"""Reads what one run left behind: the recorder's lines and the replay's log. JSON lines, one event each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sage_fusion_ros.errors import SourceError


@dataclass(frozen=True)
class Fused:
    """A fused image that arrived at the recorder; times in nanoseconds of the system clock."""

    stamp_ns: int
    arrival_ns: int


@dataclass(frozen=True)
class PairStamps:
    """The two stamps, as the cameras gave them, that fusion_node says it put together."""

    rgb_ns: int
    thermal_ns: int


@dataclass(frozen=True)
class SavedFrame:
    """A fused image kept as a file, its name relative to the recording's folder."""

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
        frames: Saved images.
        states: Lifecycle states of fusion_node in the order seen.
        finished: False where the recorder did not end by itself.
    """

    fused: list[Fused] = field(default_factory=list)
    pairs: list[PairStamps] = field(default_factory=list)
    values: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    diagnostics: dict[str, dict[str, Any]] = field(default_factory=dict)
    frames: list[SavedFrame] = field(default_factory=list)
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
    for event in read_events(path):
        kind = event["event"]
        if kind == "fused":
            run.fused.append(Fused(event["stamp_ns"], event["arrival_ns"]))
        elif kind == "pair":
            run.pairs.append(PairStamps(event["rgb_ns"], event["thermal_ns"]))
        elif kind == "value":
            run.values.setdefault(event["name"], []).append((event["arrival_ns"], event["value"]))
        elif kind == "diagnostics":
            run.diagnostics.update({status["name"]: status for status in event["statuses"]})
        elif kind == "frame":
            run.frames.append(SavedFrame(event["stamp_ns"], event["file"]))
        elif kind == "state":
            run.states.append(event["state"])
        elif kind == "finished":
            run.finished = True
    return run


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
