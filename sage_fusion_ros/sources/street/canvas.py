"""Draws figures made of flat pieces into both cameras' images, the mask and the depth at once, with smooth edges."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

_SHIFT = 4
_LARGE = 40_000
"""Pixels of a figure from which its edges are smoothed less, to stay in time."""

KELVIN = 273.15
GROUND_IDS = 1
"""The greatest train id of what one stands on: road 0, sidewalk 1."""
Area = tuple[slice, slice]


@dataclass(frozen=True)
class Piece:
    """A convex polygon or, with a thickness, a line.

    Attributes:
        points: float Nx2 in pixels.
        thickness: Of the line in pixels; 0 for a filled polygon.
    """

    points: npt.NDArray[np.float64]
    thickness: float = 0.0


@dataclass(frozen=True)
class Outline:
    """Pieces in one array.

    Attributes:
        points: float Mx2 in pixels, piece after piece, from back to front.
        lengths: Points of each piece.
        lines: Thickness of each piece as in Piece; empty where all are polygons.
    """

    points: npt.NDArray[np.float64]
    lengths: tuple[int, ...]
    lines: tuple[float, ...] = ()


def outline(pieces: list[Piece]) -> Outline:
    """Joins pieces, from back to front."""
    points = np.concatenate([piece.points for piece in pieces])
    return Outline(points, tuple(len(piece.points) for piece in pieces), tuple(piece.thickness for piece in pieces))


@dataclass(frozen=True)
class Figure:
    """Something with one distance and one class, drawn piece over piece.

    Attributes:
        outline: Its pieces.
        light: float Nx3 linear light that each piece sends to the camera.
        celsius: float N temperatures.
        z: Distance in metres.
        label: Cityscapes train id.
        instance: Number of its box; 0 for none.
    """

    outline: Outline
    light: npt.NDArray[np.float64]
    celsius: npt.NDArray[np.float64]
    z: float
    label: int
    instance: int = 0


@dataclass(frozen=True)
class Frame:
    """Images under way; everything HxW. The arrays change while figures are drawn.

    Attributes:
        rgb: uint8 HxWx3.
        celsius: float32 apparent temperature.
        label: uint8 Cityscapes train ids.
        instance: uint8 box numbers.
        depth: float32 z of what is seen.
    """

    rgb: npt.NDArray[np.uint8]
    celsius: npt.NDArray[np.float32]
    label: npt.NDArray[np.uint8]
    instance: npt.NDArray[np.uint8]
    depth: npt.NDArray[np.float32]

    def copy(self) -> Frame:
        """A frame of its own to draw on."""
        return Frame(*(array.copy() for array in (self.rgb, self.celsius, self.label, self.instance, self.depth)))


def window(points: npt.NDArray[np.float64], margin: float, frame: Frame) -> Area | None:
    """The rows and columns that points cover, with a margin in pixels; None when that is outside the image."""
    height, width = frame.depth.shape
    low, high = points.min(0) - margin, points.max(0) + margin
    left, top = max(int(low[0]), 0), max(int(low[1]), 0)
    right, bottom = min(int(high[0]) + 2, width), min(int(high[1]) + 2, height)
    return (slice(top, bottom), slice(left, right)) if left < right and top < bottom else None


def draw(frame: Frame, figure: Figure, grey: npt.NDArray[np.float32]) -> Area | None:
    """Draws a figure where it is nearer than what is there.

    Args:
        frame: Drawn on.
        figure: What to draw.
        grey: float Nx3, the figure's light as grey levels 0..255, after haze and tone curve.

    Returns:
        The part of the image that was touched.
    """
    points, lengths = figure.outline.points, figure.outline.lengths
    lines = figure.outline.lines or (0.0,) * len(lengths)
    area = window(points, 1 + max(lines), frame)
    if area is None:
        return None
    rows, columns = area
    height, width = rows.stop - rows.start, columns.stop - columns.start
    fine = 2 if height * width < _LARGE else 1
    patch = np.zeros((height * fine, width * fine, 4), np.float32)
    # A pixel's centre has whole coordinates, so finer pixels begin half a pixel before it.
    offset = np.array((columns.start, rows.start)) - 0.5
    placed = (((points - offset) * fine - 0.5) * (1 << _SHIFT)).astype(np.int32)
    values = np.column_stack((grey, figure.celsius + KELVIN)).tolist()
    first = 0
    for length, line, value in zip(lengths, lines, values, strict=True):
        last = first + length
        if line:
            stroke = max(1, round(line * fine))
            cv2.polylines(patch, [placed[first:last]], False, value, stroke, cv2.LINE_8, _SHIFT)
        else:
            cv2.fillConvexPoly(patch, placed[first:last], value, cv2.LINE_8, _SHIFT)
        first = last
    _, cover = cv2.threshold(cv2.extractChannel(patch, 3), 0.0, 1.0, cv2.THRESH_BINARY)
    if fine > 1:
        patch = cv2.resize(patch, (width, height), interpolation=cv2.INTER_AREA)
        cover = cv2.resize(cover, (width, height), interpolation=cv2.INTER_AREA)
    # The ground before something's middle is nearer than it, and yet lies under it.
    nearer = (frame.depth[area] > figure.z) | (frame.label[area] <= GROUND_IDS)
    _blend(frame, area, patch, cover, nearer)
    solid = nearer & (cover > 0.5)
    np.copyto(frame.label[area], figure.label, where=solid)
    np.copyto(frame.instance[area], figure.instance, where=solid)
    np.copyto(frame.depth[area], figure.z, where=solid)
    return area


def _blend(
    frame: Frame,
    area: Area,
    patch: npt.NDArray[np.float32],
    cover: npt.NDArray[np.float32],
    nearer: npt.NDArray[np.bool_],
) -> None:
    shown = nearer.astype(np.float32)
    keep = 1 - cover * shown
    red, green, blue, kelvin = cv2.split(patch)
    for channel, colour in enumerate((red, green, blue)):
        target = frame.rgb[area][..., channel]
        target[...] = target * keep + colour * shown
    celsius = frame.celsius[area]
    celsius[...] = celsius * keep + (kelvin - KELVIN * cover) * shown


def darken(frame: Frame, polygon: npt.NDArray[np.float64], share: float, blur: float, warming: float = 0.0) -> None:
    """Puts a soft shadow on the ground.

    Args:
        frame: Drawn on.
        polygon: float Nx2 in pixels, convex.
        share: How much light it takes, 0..1.
        blur: Softness in pixels.
        warming: Degrees by which the ground there is warmer.
    """
    area = window(polygon, 2 * blur + 1, frame)
    if area is None:
        return
    rows, columns = area
    mask = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
    points = ((polygon - (columns.start, rows.start)) * (1 << _SHIFT)).astype(np.int32)
    cv2.fillConvexPoly(mask, points, 255, cv2.LINE_8, _SHIFT)
    size = 2 * int(blur) + 1
    if size > 1:
        mask = cv2.blur(mask, (size, size))
    keep = cv2.convertScaleAbs(mask, alpha=-share, beta=255)  # 255 - share * mask
    region = frame.rgb[area]
    region[...] = cv2.multiply(region, cv2.merge((keep, keep, keep)), scale=1 / 255)
    if warming:
        frame.celsius[area] += mask * np.float32(warming / 255)
