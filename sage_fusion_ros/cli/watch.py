"""Follows a run by the event files that its processes write."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

ERROR = 2
"""Level of a diagnostic status, as diagnostic_msgs/DiagnosticStatus numbers it."""


class EventTail:
    """New events of a growing JSON lines file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def read(self) -> list[dict[str, Any]]:
        """Events since the last call; a line still being written waits for the next."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._position)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._position += len(whole)
        return [json.loads(line) for line in whole.splitlines()]


class Watch:
    """What the recorder and the replay have written so far."""

    def __init__(self, recording: Path, replay_log: Path) -> None:
        self._recording = EventTail(recording)
        self._replay = EventTail(replay_log)
        self.ready = False
        self.state = "unknown"
        self.problem = ""
        """Why fusion_node has no model, as its diagnostics say."""
        self.fused = 0
        self.fused_at = time.monotonic()
        self.diagnosed_at = 0.0
        self.sent = 0
        self.sent_at = time.monotonic()
        self.replay_finished = False
        self._first_sent: tuple[float, int] | None = None

    def update(self) -> None:
        """Reads what is new."""
        now = time.monotonic()
        for event in self._recording.read():
            kind = event["event"]
            if kind == "fused":
                self.fused += 1
                self.fused_at = now
            elif kind == "diagnostics":
                self.diagnosed_at = now
                self._find_problem(event["statuses"])
            elif kind == "state":
                self.state = event["state"]
            elif kind == "ready":
                self.ready = True
        for event in self._replay.read():
            if event.get("camera") == "rgb":
                self.sent_at = now
                self.sent += 1
            self.replay_finished |= event.get("event") == "finished"
        if self._first_sent is None and self.sent:
            self._first_sent = now, self.sent

    def sent_hz(self) -> float | None:
        """Pairs a second that really went out; None before two looks have seen some."""
        if self._first_sent is None or self.sent_at <= self._first_sent[0]:
            return None
        return (self.sent - self._first_sent[1]) / (self.sent_at - self._first_sent[0])

    def _find_problem(self, statuses: list[dict[str, Any]]) -> None:
        for status in statuses:
            if status["name"].endswith(": engine"):
                self.problem = status["message"] if status["level"] >= ERROR else ""
