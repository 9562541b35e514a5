"""A pair of video files, frame i of one beside frame i of the other."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.sources.base import Camera, SourcePair, check_index
from sage_fusion_ros.sources.images import single_channel
from sage_fusion_ros.sources.layouts import PairPath, find_pairs

SUFFIXES = frozenset({".mp4", ".avi", ".mkv", ".mov", ".m4v", ".webm", ".mpg", ".mpeg"})

# Stepping over a few frames is cheaper than a seek, which goes back to the last key frame.
_STEP_LIMIT = 12
_RATE_TOLERANCE = 0.02


def find_videos(root: Path, clip: str = "") -> PairPath:
    """Finds the two files of a clip in a folder laid out like visible/x.mp4 + infrared/x.mp4.

    Args:
        root: The folder.
        clip: Which one, where there are several.

    Raises:
        SourceError: When there is none of that name, or several and none is named.
    """
    pairs = find_pairs(root, SUFFIXES).pairs
    chosen = [pair for pair in pairs if not clip or pair.name == clip]
    if len(chosen) == 1:
        return chosen[0]
    names = ", ".join(pair.name for pair in pairs[:8]) + (", ..." if len(pairs) > 8 else "")
    what = f"no clip '{clip}'" if clip else f"{len(pairs)} clips; name one, as in '{Path(root) / pairs[0].name}'"
    raise SourceError(f"'{root}' holds {what}; there are {names}")


class VideoSource:
    """An RGB and a thermal video of the same length and rate, started at the same moment.

    Reading on is cheap; any other index costs a seek. When one video is longer, its surplus is left out and counted.

    Raises:
        SourceError: When a file is missing or can't be decoded, or the frame rates differ.
    """

    kind = "video"
    is_sequence = True

    def __init__(self, rgb: Path, thermal: Path) -> None:
        self._rgb, self._thermal = _Video(rgb), _Video(thermal)
        self.name = f"{rgb},{thermal}"
        self.skipped: list[tuple[str, str]] = []
        rates = self._rgb.rate, self._thermal.rate
        if abs(rates[0] - rates[1]) > _RATE_TOLERANCE * max(rates):
            self.close()
            raise SourceError(
                f"'{rgb}' runs at {rates[0]:g} frames/s and '{thermal}' at {rates[1]:g}; frames can only be paired one "
                "to one at equal rates. Convert one of them, or record both into a bag with their stamps"
            )
        self.frame_rate = rates[0]
        self._length = min(self._rgb.length, self._thermal.length)
        for video in (self._rgb, self._thermal):
            if video.length > self._length:
                surplus = video.length - self._length
                self.skipped.append((str(video.path), f"its last {surplus} frames have no partner"))

    def __len__(self) -> int:
        """Number of pairs."""
        return self._length

    def read(self, index: int) -> SourcePair:
        """Reads one pair; see PairSource."""
        check_index(index, len(self))
        rgb = cv2.cvtColor(self._rgb.read(index), cv2.COLOR_BGR2RGB)
        thermal = self._thermal.read(index)
        if index == 0:
            single_channel(thermal, str(self._thermal.path))  # refuses false-colour videos
        return SourcePair(index, rgb, cv2.cvtColor(thermal, cv2.COLOR_BGR2GRAY))

    def frame_times_ns(self) -> tuple[int, int]:
        """When the RGB and the thermal frame read last are shown, from the start of each video, by its container."""
        return self._rgb.time_ns, self._thermal.time_ns

    def stamps_ns(self, index: int) -> None:
        """Videos have a rate, but no recorded times."""

    def intrinsics(self, camera: Camera) -> None:
        """Unknown."""

    def close(self) -> None:
        """Closes both files."""
        self._rgb.capture.release()
        self._thermal.capture.release()


class _Video:
    """One file with a reading position."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise SourceError(f"'{path}' does not exist; expected a video file")
        self.capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        self.rate = float(self.capture.get(cv2.CAP_PROP_FPS))
        self.length = int(self.capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.time_ns = 0
        self._next = 0
        self._end = self.length
        if not self.capture.isOpened() or self.length < 1 or self.rate <= 0:
            self.capture.release()
            raise SourceError(f"'{path}' can't be opened as a video; it may be truncated or no video at all")

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """uint8 HxWx3 in the order blue, green, red."""
        if index < self._end and self._go_to(index):
            found, frame = self.capture.read()
            if found:
                self._next = index + 1
                self.time_ns = round(self.capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
                return frame
        # The header promised more frames than there are; remember where they end, so that nothing seeks there again.
        self._end = min(self._end, index)
        self._next = -1
        raise SourceError(
            f"'{self.path}' has no readable frame {index} of {self.length}; the file is probably truncated"
        )

    def _go_to(self, index: int) -> bool:
        if not 0 <= index - self._next <= _STEP_LIMIT or self._next < 0:
            self._next = index
            return bool(self.capture.set(cv2.CAP_PROP_POS_FRAMES, index))
        return all(self.capture.grab() for _ in range(index - self._next))
