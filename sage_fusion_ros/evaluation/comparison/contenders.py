"""Those who are compared: fusion models, other people's results, and the plain ways to combine two images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import ImageFormatError
from sage_fusion_ros.evaluation.comparison.sets import Item
from sage_fusion_ros.pipeline.colour import luma_of, recolour
from sage_fusion_ros.pipeline.fuse import load_fuser
from sage_fusion_ros.pipeline.fusion_pipeline import resize_to
from sage_fusion_ros.pipeline.network import NetworkOptions
from sage_fusion_ros.pipeline.thermal import ThermalNormaliser
from sage_fusion_ros.sources.images import read_rgb, read_thermal

SOURCES = ("rgb", "thermal")
PLAIN = ("maximum", "average", *SOURCES)
LUMA = ("saved", "network")
BRIGHT_LUMA = 60  # mean luma; the images of MSRS marked as night have 14 to 45, those marked as day over 70
_WARM_UP = (64, 64)

Grey = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ContenderSpec:
    """A contender as it travels to another process.

    Attributes:
        name: Unique; what tables call it.
        kind: "model", "results" or "plain".
        place: The model's name or folder; empty for the others.
        files: Of results, the file of each pair by the pair's key.
        sha256: Of a model's file.
    """

    name: str
    kind: str
    place: str = ""
    files: Mapping[str, Path] | None = None
    sha256: str = ""

    def takes_part(self, set_name: str) -> bool:
        """Whether it can have images of a set: results may be there for some sets alone."""
        return self.files is None or any(key.partition("/")[0] == set_name for key in self.files)


@dataclass(frozen=True)
class LoadedPair:
    """A pair as the networks see it.

    Attributes:
        key: The pair's set and name.
        rgb: uint8 HxWx3.
        luma: uint8 HxW, its BT.601 luma.
        thermal: uint8 HxW.
    """

    key: str
    rgb: npt.NDArray[np.uint8]
    luma: Grey
    thermal: Grey

    @property
    def bright(self) -> bool:
        """Whether the RGB image is a bright one, as by day; one of a well lit street at night is bright too."""
        return bool(self.luma.mean() >= BRIGHT_LUMA)


@dataclass(frozen=True)
class Fused:
    """What a contender made of a pair.

    Attributes:
        rgb: uint8 HxWx3: what people and detectors see.
        luma: uint8 HxW: what the metrics score.
    """

    rgb: npt.NDArray[np.uint8]
    luma: Grey


class Contender(Protocol):
    """Fuses pairs, or knows where the fused ones lie."""

    def fuse(self, pair: LoadedPair) -> Fused:
        """One fused pair.

        Raises:
            ImageFormatError, SourceError: This pair can't be had; others may be.
        """


def load_pair(item: Item) -> LoadedPair:
    """Reads a pair, brings thermal to 8 bits and to the RGB image's size, as `sage-fusion fuse` does.

    Raises:
        SourceError: A file can't be read.
    """
    return make_pair(item.key, read_rgb(item.rgb), ThermalNormaliser()(read_thermal(item.thermal)))


def make_pair(key: str, rgb: npt.NDArray[np.uint8], thermal: Grey) -> LoadedPair:
    """A pair of a colour and an 8-bit thermal image, which is resized to the former."""
    return LoadedPair(key, rgb, luma_of(rgb), resize_to(thermal, *rgb.shape[:2]))


def load_contenders(specs: Iterable[ContenderSpec], luma: str) -> dict[str, Contender]:
    """All contenders by name.

    Args:
        specs: Who they are.
        luma: "saved" scores the luma of the 8-bit RGB image, "network" that which was there before recolouring.
    """
    makers: dict[str, Callable[[ContenderSpec], Contender]] = {
        "model": lambda spec: ModelContender(spec.place, luma),
        "results": lambda spec: ResultsContender(spec.name, spec.files or {}),
        "plain": lambda spec: PlainContender(spec.name, luma),
    }
    return {spec.name: makers[spec.kind](spec) for spec in specs}


class ModelContender:
    """A fusion model on one thread of the CPU."""

    def __init__(self, place: str, luma: str) -> None:
        self._fuser = load_fuser(place, NetworkOptions(device="cpu", threads=1, warm_up_size=_WARM_UP))
        self._luma = luma

    def fuse(self, pair: LoadedPair) -> Fused:
        """See Contender."""
        rgb = self._fuser.fuse(pair.rgb, pair.thermal)
        return Fused(rgb, luma_of(rgb) if self._luma == "saved" else self._fuser.fuse_luma(pair.luma, pair.thermal))


class ResultsContender:
    """Fused images that somebody else made. A grey one is scored as it is and gets its colours from RGB to be seen."""

    def __init__(self, name: str, files: Mapping[str, Path]) -> None:
        self._name, self._files = name, files

    def fuse(self, pair: LoadedPair) -> Fused:
        """See Contender."""
        if pair.key not in self._files:
            raise ImageFormatError(f"{self._name} has no image for it")
        rgb = read_rgb(self._files[pair.key])
        if rgb.shape != pair.rgb.shape:
            (height, width), (wanted_height, wanted_width) = rgb.shape[:2], pair.rgb.shape[:2]
            raise ImageFormatError(
                f"{self._name} has it as {width}x{height} and the RGB image is {wanted_width}x{wanted_height}"
            )
        luma = luma_of(rgb)
        grey = (rgb == luma[..., None]).all()
        return Fused(_with_colours(pair, luma) if grey else rgb, luma)


class PlainContender:
    """A source by itself, the average of both, or the maximum."""

    def __init__(self, name: str, luma: str) -> None:
        self._name, self._luma = name, luma

    def fuse(self, pair: LoadedPair) -> Fused:
        """See Contender."""
        if self._name == "rgb":
            return Fused(pair.rgb, pair.luma)
        if self._name == "thermal":
            return Fused(np.dstack([pair.thermal] * 3), pair.thermal)
        if self._name == "maximum":
            luma = np.maximum(pair.luma, pair.thermal)
        else:
            # Halves go up: OpenCV's rounding to even numbers leaves every second grey level half empty (EN - 0.19).
            luma = ((pair.luma.astype(np.uint16) + pair.thermal + 1) // 2).astype(np.uint8)
        rgb = _with_colours(pair, luma)
        return Fused(rgb, luma_of(rgb) if self._luma == "saved" else luma)


def _with_colours(pair: LoadedPair, luma: Grey) -> npt.NDArray[np.uint8]:
    before, after = (image.astype(np.float32) / np.float32(255) for image in (pair.luma, luma))
    return recolour(pair.rgb, before, after)
