"""What a prior gives for a pair: a few binary masks of each camera, kept as bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

MOST_MASKS = 20
"""Masks kept of a camera; SAGE's release keeps as many."""
LEAST_AREA = 100
"""Pixels under which a region is no mask; SAGE's release gives SAM the same (min_mask_region_area)."""

Grey = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class PackedMasks:
    """Masks of one image, eight pixels a byte: whole sets of pairs stay in memory.

    Attributes:
        bits: uint8 (M, H, ceil(W / 8)), the first pixel in the highest bit.
        width: W.
    """

    bits: Grey
    width: int

    def __post_init__(self) -> None:
        if self.bits.dtype != np.uint8 or self.bits.ndim != 3 or self.bits.shape[2] != -(-self.width // 8):
            raise ValueError(f"packed masks are {self.bits.dtype} {self.bits.shape} for a width of {self.width}")

    @classmethod
    def pack(cls, masks: Bools) -> PackedMasks:
        """From bool (M, H, W)."""
        return cls(np.packbits(masks, axis=2), masks.shape[2])

    @property
    def shape(self) -> tuple[int, int, int]:
        """(M, H, W)."""
        return self.bits.shape[0], self.bits.shape[1], self.width

    def __len__(self) -> int:
        return len(self.bits)

    def unpack(self, rows: slice = slice(None), columns: slice = slice(None)) -> Bools:
        """As bool (M, h, w): all of it, or of these rows and columns (slices without a step)."""
        first, last, _ = columns.indices(self.width)
        start = first // 8
        window = np.unpackbits(self.bits[:, rows, start : -(-last // 8)], axis=2)
        return window[:, :, first - 8 * start : last - 8 * start].astype(bool)


class PairMasks:
    """The masks of both cameras of a pair, largest first, at most 20 each.

    The i-th of one camera and the i-th of the other need not be of the same object.

    Args:
        rgb: bool (M1, H, W).
        thermal: bool (M2, H, W).
    """

    def __init__(self, rgb: Bools, thermal: Bools) -> None:
        for masks in (rgb, thermal):
            if masks.dtype != np.bool_ or masks.ndim != 3 or masks.shape[1:] != rgb.shape[1:]:
                raise ValueError(
                    f"the masks of a pair are {rgb.dtype} {rgb.shape} and {thermal.dtype} {thermal.shape}; "
                    "expected bool (M, H, W) of one size"
                )
        self.packed_rgb, self.packed_thermal = (PackedMasks.pack(largest(masks)) for masks in (rgb, thermal))

    @classmethod
    def of_packed(cls, rgb: PackedMasks, thermal: PackedMasks) -> PairMasks:
        """From what an earlier PairMasks held."""
        pair = cls.__new__(cls)
        pair.packed_rgb, pair.packed_thermal = rgb, thermal
        return pair

    @classmethod
    def none(cls, shape: tuple[int, ...]) -> PairMasks:
        """No masks, of images of the size HxW."""
        empty = np.zeros((0, *shape), bool)
        return cls(empty, empty)

    @property
    def rgb(self) -> Bools:
        """Bool (M1, H, W), made anew at every call."""
        return self.packed_rgb.unpack()

    @property
    def thermal(self) -> Bools:
        """Bool (M2, H, W), made anew at every call."""
        return self.packed_thermal.unpack()


class MaskPrior(Protocol):
    """Finds the masks of a pair.

    Attributes:
        name: For messages and model cards.
        key: Hash of all that decides the masks besides the two images, for the cache. Empty: they depend on other
            files too and are quickly found, so they are found anew every time.
    """

    name: str
    key: str

    def masks(self, name: str, rgb: Grey, thermal: Grey) -> PairMasks:
        """Masks of one pair.

        Args:
            name: "set/name".
            rgb: uint8 HxWx3, RGB.
            thermal: uint8 HxW.

        Raises:
            SourceError: A file that the masks come from can't be read.
        """


class NoMasks:
    """The prior of training without masks."""

    name, key = "none", ""

    def masks(self, name: str, rgb: Grey, thermal: Grey) -> PairMasks:
        """None."""
        return PairMasks.none(thermal.shape)


def largest(masks: Bools, count: int = MOST_MASKS) -> Bools:
    """The `count` largest that are not empty, largest first; among equals the earlier comes first."""
    areas = np.count_nonzero(masks, axis=(1, 2))
    order = np.argsort(-areas, kind="stable")[:count]
    return masks[order[areas[order] > 0]]


def connected_regions(ids: Grey, ignore: Sequence[int], least_area: int = LEAST_AREA) -> Bools:
    """Each connected region of one id as a mask, the largest 20.

    Args:
        ids: uint8 HxW.
        ignore: Ids that are no region, such as that of the unlabelled.
        least_area: In pixels.

    Returns:
        bool (M, H, W), largest first. Pixels that touch at a corner are connected.
    """
    found: list[tuple[int, Bools]] = []
    for label in sorted(set(np.unique(ids).tolist()) - set(ignore)):
        _, regions, figures, _ = cv2.connectedComponentsWithStats((ids == label).astype(np.uint8), connectivity=8)
        areas = figures[1:, cv2.CC_STAT_AREA]
        # A noisy map has thousands of specks; more than the largest are never used.
        for index in np.argsort(-areas, kind="stable")[:MOST_MASKS]:
            if areas[index] >= least_area:
                found.append((int(areas[index]), regions == index + 1))
    found = sorted(found, key=lambda entry: -entry[0])[:MOST_MASKS]
    return np.array([mask for _, mask in found], bool).reshape(-1, *ids.shape)
