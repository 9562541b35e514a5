"""The recorder's writing thread: no slow disk and no packing of a PNG shows in what the recorder measures."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sage_fusion_ros.errors import ParameterError

FLUSH_PERIOD_S = 0.2
WAITING_IMAGES = 8
"""Images that may wait for the disk; further ones are left out, and memory stays bounded."""


class RecordWriter:
    """One thread that appends events to a file and writes images; `close` writes what is left and ends it.

    Args:
        log: File of events.
        folders: Folder of each kind of image; the kind is the name of the event that tells of a written one.

    Raises:
        ParameterError: The file or a folder can't be written.
    """

    def __init__(self, log: Path, folders: Mapping[str, Path]) -> None:
        self._folders = dict(folders)
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._images: queue.Queue[tuple[str, int, np.ndarray]] = queue.Queue(WAITING_IMAGES)
        self.error: OSError | None = None
        """Why the thread gave up, as on a full disk."""
        try:
            for folder in (log.parent, *self._folders.values()):
                folder.mkdir(parents=True, exist_ok=True)
            self._file = log.open("w", encoding="utf-8")
        except OSError as error:
            where = ", ".join(map(str, self._folders.values()))
            raise ParameterError(f"the log {log} or the images' folder ({where}) can't be written: {error}") from error
        self._thread = threading.Thread(target=self._run, name="recorder-writer")
        self._thread.start()

    def event(self, kind: str, **fields: Any) -> None:
        """Queues one event; never blocks."""
        self._events.put({"event": kind, **fields})

    def image(self, kind: str, stamp_ns: int, image: np.ndarray) -> bool:
        """Queues an image, uint8 HxWx3 RGB or HxW. False where too many are waiting already: it is then left out."""
        try:
            self._images.put_nowait((kind, stamp_ns, image))
        except queue.Full:
            return False
        return True

    def close(self) -> None:
        """Writes everything queued and closes the file."""
        self._events.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            with self._file:
                self._write_all()
        except OSError as error:
            self.error = error

    def _write_all(self) -> None:
        open_ = True
        while open_:
            try:
                event = self._events.get(timeout=FLUSH_PERIOD_S)
                while event is not None:
                    self._file.write(json.dumps(event) + "\n")
                    event = self._events.get_nowait()
                open_ = False
            except queue.Empty:
                pass
            self._save_images()
            self._file.flush()

    def _save_images(self) -> None:
        while not self._images.empty():
            kind, stamp_ns, image = self._images.get()
            name = f"{stamp_ns}.png"
            bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
            if cv2.imwrite(str(self._folders[kind] / name), bgr):
                self._file.write(json.dumps({"event": kind, "stamp_ns": stamp_ns, "file": name}) + "\n")
