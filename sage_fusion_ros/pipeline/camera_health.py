"""What an image says of its camera: thermal range, saturation, stuck columns; exposure of RGB. On a coarse grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
        rows = image[:: max(1, image.shape[0] // _GRID)]
        sample = rows[:, :: max(1, image.shape[1] // _GRID)]
        values = sample[np.isfinite(sample)] if image.dtype == np.float32 else sample
        if values.size == 0:
            return ThermalHealth(0.0, 0.0, 0.0, 0, self._verdict("thermal", "empty", "it holds no finite value"))
        low, high = (float(value) for value in np.percentile(values, _TAILS))
        top = 255 if image.dtype == np.uint8 else values.max()
        saturated = float(np.count_nonzero(values == top)) / values.size
        flat_span = self.settings.flat_span or _FLAT[image.dtype.name]
        stuck = _stuck_columns(rows, flat_span)
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
        height, width = image.shape[:2]
        sample = image[:: max(1, height // _GRID), :: max(1, width // _GRID)]
        luma = sample @ np.array([0.299, 0.587, 0.114], np.float32)
        low, high = (float(value) for value in np.percentile(luma, _TAILS))
        bright = float(np.count_nonzero(luma >= _BRIGHT)) / luma.size
        kind, text = "", ""
        if bright > self._limit("rgb", "over-exposed", self.settings.saturated_share):
            kind, text = "over-exposed", f"over-exposed: {bright:.0%} of it is white"
        elif high - low <= self._limit("rgb", "flat", _FLAT["uint8"], above=False):
            kind, text = "flat", f"flat: its luma spans {high - low:.3g}"
        dark = float(np.count_nonzero(luma <= _DARK)) / luma.size
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
