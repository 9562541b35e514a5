"""What an image says of its camera: thermal range, saturation, stuck columns; exposure of RGB. On a coarse grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

_GRID = 64  # samples along a side
_TAILS = (0.1, 99.9)  # percentiles between which values span: a handful of dead pixels makes no scene
_FLAT = {"uint8": 2.0, "uint16": 32.0, "float32": 0.3}  # about what a shutter's noise spans: grey levels, counts, K
_DARK, _BRIGHT = 5, 250
_WIDEST_STUCK = 4  # columns side by side; what is wider is a border or a bar that somebody has drawn
_STUCK_SHARE = 0.25
# A camera found bad is good again only when it is this much better, so that a scene at the limit does not flicker.
_MARGIN = 0.8


@dataclass(frozen=True)
class HealthSettings:
    """When an image counts as lost.

    Attributes:
        check: Whether it ever does; measured it is all the same.
        saturated_share: Share of pixels, 0..1, above which an image is saturated (thermal, at its highest value) or
            over-exposed (RGB, at 250 and more).
        flat_span: Thermal values that span no more than this are flat; 0: 2 grey levels, 32 counts or 0.3 K.
    """

    check: bool = True
    saturated_share: float = 0.6
    flat_span: float = 0.0


@dataclass(frozen=True)
class ThermalHealth:
    """One thermal image.

    Attributes:
        low, high: What its values span, in the image's own unit; 0 where none is finite.
        saturated_share: Of its pixels at the highest value, 0..1: 255, or the greatest one found in 16 and 32 bits.
        stuck_columns: Columns of one value between columns that differ from row to row.
        problem: Why it can't be used, or empty.
    """

    low: float
    high: float
    saturated_share: float
    stuck_columns: int
    problem: str = ""


@dataclass(frozen=True)
class RgbExposure:
    """One RGB image, by its luma in 0..255.

    Attributes:
        mean: Mean luma.
        dark_share: Of its pixels, 0..1, at 5 and less.
        bright_share: Of its pixels, 0..1, at 250 and more.
        problem: Why it can't be used, or empty. Darkness is no problem: that is what thermal is for.
    """

    mean: float
    dark_share: float
    bright_share: float
    problem: str = ""


class ImageJudge:
    """Judges the images of one pair of cameras, one after the other; knows only what it found last."""

    def __init__(self, settings: HealthSettings | None = None) -> None:
        self.settings = settings or HealthSettings()
        self._bad = {"rgb": "", "thermal": ""}  # the kind of problem found last

    def thermal(self, image: npt.NDArray[Any]) -> ThermalHealth:
        """Judges a thermal image.

        Args:
            image: HxW uint8, uint16 or float32; values that are not finite count for nothing.
        """
        values = _ordered(_grid(image))
        if values.size == 0:
            return ThermalHealth(0.0, 0.0, 0.0, 0, self._verdict("thermal", "empty", "it holds no finite value"))
        low, high = _span(values)
        top = 255 if image.dtype == np.uint8 else values[-1]
        saturated = _share_from(values, top)
        flat_span = self.settings.flat_span or _FLAT[image.dtype.name]
        stuck = _stuck_columns(image[:: max(1, image.shape[0] // _GRID)], flat_span)
        stuck_share = stuck / image.shape[1]
        kind, text = "", ""
        if high - low <= self._limit("thermal", "flat", flat_span, above=False):
            kind, text = "flat", f"flat: its values span {high - low:.3g}"
        elif saturated > self._limit("thermal", "saturated", self.settings.saturated_share):
            kind, text = "saturated", f"saturated: {saturated:.0%} of it is at the highest value"
        elif stuck_share > self._limit("thermal", "stuck", _STUCK_SHARE):
            kind, text = "stuck", f"stuck: {stuck_share:.0%} of its columns show one value"
        return ThermalHealth(low, high, saturated, stuck, self._verdict("thermal", kind, text))

    def rgb(self, image: npt.NDArray[np.uint8]) -> RgbExposure:
        """Judges an RGB image, uint8 HxWx3."""
        luma = _ordered(cv2.cvtColor(_grid(image), cv2.COLOR_RGB2GRAY))
        low, high = _span(luma)
        bright = _share_from(luma, _BRIGHT)
        kind, text = "", ""
        if bright > self._limit("rgb", "over-exposed", self.settings.saturated_share):
            kind, text = "over-exposed", f"over-exposed: {bright:.0%} of it is white"
        elif high - low <= self._limit("rgb", "flat", _FLAT["uint8"], above=False):
            kind, text = "flat", f"flat: its luma spans {high - low:.3g}"
        dark = 1 - _share_from(luma, _DARK + 1)
        return RgbExposure(float(luma.mean()), dark, bright, self._verdict("rgb", kind, text))

    def _limit(self, camera: str, kind: str, limit: float, *, above: bool = True) -> float:
        if self._bad[camera] != kind:
            return limit
        return limit * _MARGIN if above else limit / _MARGIN

    def _verdict(self, camera: str, kind: str, text: str) -> str:
        if not self.settings.check:
            kind = text = ""
        self._bad[camera] = kind
        return text


def _grid(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Samples of an image; OpenCV picks them three times faster than NumPy's steps do."""
    size = min(image.shape[1], _GRID), min(image.shape[0], _GRID)
    return cv2.resize(image, size, interpolation=cv2.INTER_NEAREST)


def _ordered(sample: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Its finite values in ascending order; 8 bits as 16, which NumPy sorts several times faster."""
    if sample.dtype == np.uint8:
        sample = sample.astype(np.uint16)
    values: npt.NDArray[Any] = np.sort(sample, axis=None)
    return values[np.isfinite(values)] if values.dtype == np.float32 else values


def _span(ordered: npt.NDArray[Any]) -> tuple[float, float]:
    """The values that stand at the percentiles _TAILS."""
    low, high = (round(share / 100 * (ordered.size - 1)) for share in _TAILS)
    return float(ordered[low]), float(ordered[high])


def _share_from(ordered: npt.NDArray[Any], value: float) -> float:
    """Share of the values, 0..1, that are this one or greater."""
    return 1 - int(np.searchsorted(ordered, value)) / ordered.size


def _stuck_columns(rows: npt.NDArray[Any], flat_span: float) -> int:
    """Columns whose readout is stuck.

    A lens blurs over more than a pixel, so no scene has a column of one single value beside columns that vary.

    Args:
        rows: nxW, rows of one image.
        flat_span: Columns that vary by less tell nothing.
    """
    if rows.dtype == np.float32:
        rows = np.nan_to_num(rows, nan=0.0, posinf=0.0, neginf=0.0)
    if len(rows) < 8:
        return 0
    spread = rows.max(axis=0).astype(np.float64) - rows.min(axis=0)
    constant = spread == 0
    varying = spread[~constant]
    if not constant.any() or varying.size == 0 or np.median(varying) <= flat_span:
        return 0
    edges = np.flatnonzero(np.diff(np.concatenate([[False], constant, [False]]).astype(np.int8)))
    stuck = 0
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        beside = [spread[i] for i in (begin - 1, end) if 0 <= i < len(spread)]
        if end - begin <= _WIDEST_STUCK and min(beside) > max(flat_span, np.median(varying) / 4):
            stuck += int(end - begin)
    return stuck
