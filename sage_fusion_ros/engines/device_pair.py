"""A pair's whole way on one device: what the pipeline asks of an engine that can do it. No inference library here.

An engine that runs a network alone takes arrays and gives arrays. One that can do more keeps everything on its device
between the upload of a pair and the download of what is wanted of it: colour split, fusion, colour merge, scaling,
perception, mask and boxes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.engines.base import Engine

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


class Place(Protocol):
    """Where an image lies in a network's input, in pixels; the pipeline's Letterbox is one."""

    @property
    def height(self) -> int: ...  # noqa: D102
    @property
    def width(self) -> int: ...  # noqa: D102
    @property
    def net_height(self) -> int: ...  # noqa: D102
    @property
    def net_width(self) -> int: ...  # noqa: D102
    @property
    def top(self) -> int: ...  # noqa: D102
    @property
    def left(self) -> int: ...  # noqa: D102
    @property
    def inner_height(self) -> int: ...  # noqa: D102
    @property
    def inner_width(self) -> int: ...  # noqa: D102

    def cells(self, rows: int, columns: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Row of a grid over the input for each row of the image, and columns likewise."""


@dataclass(frozen=True)
class Looking:
    """How a perception network is shown a fused image, and what is made of its outputs.

    Attributes:
        place: Where the image lies in its input.
        padding: Level of the rest of the input.
        mask: Name of the output 1xCxhxw with a mask's logits; empty: no mask is wanted.
        boxes: Name of the output 1x(4+C)xcells with centres, sizes and scores; empty: the network has none.
        vehicles: Ids of the mask that need a box of one of `vehicle_kinds` that scores more than `vehicle_score`, whose
            sides reach `grown` of its size beyond it.
        vehicle_kinds: Classes of boxes.
        vehicle_score: 0..1.
        grown: Share of a box's sides.
    """

    place: Place
    padding: int
    mask: str = ""
    boxes: str = ""
    vehicles: tuple[int, ...] = ()
    vehicle_kinds: tuple[int, ...] = ()
    vehicle_score: float = 0.0
    grown: float = 0.0


@dataclass(frozen=True)
class Limits:
    """Numbers that may differ from pair to pair.

    Attributes:
        score: Boxes that score no more, 0..1, are dropped.
        overlap: Of two boxes of a class that overlap more, 0..1, the surer one stays.
    """

    score: float = 0.3
    overlap: float = 0.5


@dataclass(frozen=True)
class Seen:
    """What became of a pair.

    Attributes:
        fused: uint8 HxWx3 RGB.
        finite: Whether the fusion network gave numbers everywhere.
        mask: uint8 HxW ids; None where none was wanted.
        xyxy: float32 Nx4 corners in pixels of the image, inside it, best first; None where the network has no boxes.
        scores: float32 N.
        class_ids: int64 N.
    """

    fused: Pixels
    finite: bool
    mask: Pixels | None = None
    xyxy: Floats | None = None
    scores: Floats | None = None
    class_ids: npt.NDArray[np.int64] | None = None


class DevicePair(Protocol):
    """Two networks joined on their device."""

    def prepare(self, height: int, width: int, looking: Looking | None) -> None:
        """Readies everything for pairs of a size, so that the first one does not wait for it.

        Args:
            height: In pixels.
            width: Likewise.
            looking: As for start.
        """

    def start(
        self,
        rgb: Pixels,
        thermal: Pixels,
        seam: tuple[Floats, Floats] | None = None,
        looking: Looking | None = None,
        limits: Limits = Limits(),
    ) -> Callable[[], Seen]:
        """Begins the work on a pair. One thread at a time.

        Args:
            rgb: uint8 HxWx3 RGB; it stays as it is until the pair has been waited for, like `thermal`.
            thermal: uint8 HxW, registered, white is hot.
            seam: Weights of the fused and of the RGB image, float32 HxW each, where thermal does not reach
                everywhere. They are uploaded once, and must not change afterwards.
            looking: What is wanted of the perception network; None: nothing.
            limits: For boxes.

        Returns:
            Waits for the pair and gives what became of it. It must be called before the next start.
        """


def join(fusion: Engine, perception: Engine | None, size_multiple: int) -> DevicePair | None:
    """Joins two networks where their engine can do that.

    Args:
        fusion: Takes "rgb_luma" and "thermal", float32 1x1xHxW in 0..1, and gives the fused luma.
        perception: Takes RGB in 0..1, 1x3xHxW; None: there is none, or it is not to be joined.
        size_multiple: Height and width are padded to a multiple of this for the fusion network.

    Returns:
        None where the engine runs networks alone, or the two are of different kinds or on different devices.
    """
    make = getattr(fusion, "joined", None)
    made: DevicePair | None = make(perception, size_multiple) if make is not None else None
    return made
