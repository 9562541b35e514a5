"""Reads images ahead of their time in a thread, so that decoding never delays a stamp."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.sources.base import Camera, PairSource, RecordedCameras
from sage_fusion_ros.sources.schedule import Schedule, Slot

Image = npt.NDArray[Any]
_DEPTH = 8
_POLL_S = 0.1


class Feed:
    """Iterates over (slot, prepared image) in the order of sending.

    A pair that can't be read is left out as a whole and noted in `skipped`; the replay goes on.

    Args:
        source: Where images come from; only the feed's thread reads it.
        schedule: What is wanted when.
        prepare: Turns (camera, image) into what will be sent; runs in the feed's thread too.
    """

    def __init__(self, source: PairSource, schedule: Schedule, prepare: Callable[[Camera, Image], Any]) -> None:
        self.skipped: list[tuple[str, str]] = []
        self._source, self._schedule, self._prepare = source, schedule, prepare
        self._queue: queue.Queue[tuple[Slot, Any] | BaseException | None] = queue.Queue(_DEPTH)
        self._stop = threading.Event()
        self._waiting: dict[tuple[int, int], Image] = {}
        self._broken: set[int] = set()
        self._thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[tuple[Slot, Any]]:
        while not self._stop.is_set():
            try:
                item = self._queue.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self) -> None:
        """Stops reading, from any thread and as often as wanted. Ends an iteration that waits."""
        self._stop.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        last: BaseException | None = None
        try:
            for slot in self._schedule:
                if self._stop.is_set():
                    return
                image = self._image(slot)
                if image is not None:
                    self._put((slot, self._prepare(slot.camera, image)))
        except Exception as error:  # a fault of ours must reach the main thread, not end a thread in silence
            last = error
        self._put(last)

    def _put(self, item: tuple[Slot, Any] | BaseException | None) -> None:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
            return

    def _image(self, slot: Slot) -> Image | None:
        try:
            if isinstance(self._source, RecordedCameras):
                return np.asarray(self._source.read_camera(slot.camera, slot.index))
            return self._from_pair(slot)
        except SourceError as error:
            what = f"{slot.camera} image" if isinstance(self._source, RecordedCameras) else "pair"
            if slot.lap == 0:
                self.skipped.append((f"{what} {slot.index}", str(error)))
            return None

    def _from_pair(self, slot: Slot) -> Image | None:
        """The camera's half of a pair; the other half waits for its own slot."""
        if slot.index in self._broken:
            return None
        key = (slot.lap, slot.index)
        if key in self._waiting:
            return self._waiting.pop(key)
        try:
            pair = self._source.read(slot.index)
        except SourceError:
            self._broken.add(slot.index)
            raise
        halves: dict[str, Image] = {"rgb": pair.rgb, "thermal": pair.thermal}
        image = halves.pop(slot.camera)
        self._waiting[key] = next(iter(halves.values()))
        return image
