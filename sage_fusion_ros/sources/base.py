"""What every source of pairs offers, and the words for what it gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Camera = Literal["rgb", "thermal"]
CAMERAS: tuple[Camera, Camera] = ("rgb", "thermal")


@dataclass(frozen=True)
class SceneTruth:
    """What is really in a pair.

    Attributes:
        mask: uint8 HxW of Cityscapes train ids (0 road ... 11 person ... 18 bicycle, 255 none).
        boxes: float32 Nx4, left, top, right, bottom in pixels; right and bottom lie one past the last pixel.
        labels: The class name of each box.
    """

    mask: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.float32]
    labels: list[str]


@dataclass(frozen=True)
class SourcePair:
    """An RGB and a thermal image of the same moment.

    Attributes:
        index: Position in the source, from 0.
        rgb: uint8 HxWx3 in the order red, green, blue.
        thermal: HxW as uint8, uint16 or float32, as the camera or file gave it. Its size may differ from the RGB's.
        truth: Masks and boxes where the source knows them.
    """

    index: int
    rgb: npt.NDArray[np.uint8]
    thermal: npt.NDArray[np.generic]
    truth: SceneTruth | None = None


class PairSource(Protocol):
    """A row of pairs that can be read in any order.

    Attributes:
        name: What a person would call it: a path or the name of a scene.
        kind: 'synthetic', 'folder', 'video' or 'bag'.
        frame_rate: Pairs per second, or None for stills, which have no rate of their own.
        is_sequence: Whether neighbours in the row are neighbours in time.
        skipped: What was found and can't be read, as (name, reason).
    """

    name: str
    kind: str
    frame_rate: float | None
    is_sequence: bool
    skipped: list[tuple[str, str]]

    def __len__(self) -> int:
        """Number of pairs."""

    def read(self, index: int) -> SourcePair:
        """Reads one pair.

        Raises:
            SourceError: When this pair can't be read; others may still be.
            IndexError: When index is not in 0..len-1.
        """

    def stamps_ns(self, index: int) -> tuple[int, int] | None:
        """The recorded times of the RGB and the thermal image in nanoseconds; None where none were recorded."""

    def intrinsics(self, camera: Camera) -> tuple[float, ...] | None:
        """The nine numbers of the camera matrix K, row by row, in pixels; None for an unknown calibration."""

    def close(self) -> None:
        """Releases files. Reading is over after it."""


@runtime_checkable
class RecordedCameras(Protocol):
    """A source that also knows each camera by itself: as many images, and at such times, as were recorded."""

    def camera_stamps(self, camera: Camera) -> list[int]:
        """The recorded stamp of each image of a camera in nanoseconds."""

    def read_camera(self, camera: Camera, index: int) -> npt.NDArray[np.generic]:
        """One image of one camera; raises SourceError when it can't be read."""


def check_index(index: int, length: int) -> None:
    """Raises IndexError when index is not in 0..length-1 (negative ones would silently count from the end)."""
    if not 0 <= index < length:
        raise IndexError(f"pair {index} asked for; the source has {length}, from 0")
