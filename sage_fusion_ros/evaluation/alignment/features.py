"""What thermal and RGB images have in common: where their edges are and which way they run."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]

ORIENTATIONS = 4  # as many as cv2.matchTemplate correlates at once
_FLAT = 2.0  # mean gradient, in grey levels a pixel, below which an image is flat


@dataclass(frozen=True)
class View:
    """One frame as it is aligned.

    Attributes:
        rgb: uint8 HxW, luma of the RGB image.
        thermal: uint8 hxw.
    """

    rgb: Grey
    thermal: Grey


def oriented_gradients(grey: Grey) -> Floats:
    """Strength of the edges in four directions, whichever side of an edge is the brighter one.

    After CFOG (Ye, Bruzzone, Shan, Bovolo, Zhu: "Fast and Robust Matching for Multimodal Remote Sensing Image
    Registration", IEEE TGRS 57(11), 2019): unsigned orientation channels, smoothed, then brought to a like strength.
    The last step is soft here, with the image's mean strength, so that the noise of flat parts stays small.

    Args:
        grey: uint8 HxW.

    Returns:
        float32 HxWx4, 0..1.
    """
    smooth = cv2.GaussianBlur(grey, (0, 0), 0.8).astype(np.float32)
    dx, dy = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8)
    angles = np.arange(ORIENTATIONS) * np.pi / ORIENTATIONS
    channels = [cv2.GaussianBlur(np.abs(dx * np.cos(a) + dy * np.sin(a)), (0, 0), 1.0) for a in angles]
    stacked = np.stack(channels, axis=2).astype(np.float32)
    strength = np.sqrt((stacked**2).sum(axis=2, keepdims=True))
    return np.asarray(stacked / (strength + strength.mean() + np.float32(0.5)), np.float32)


def is_flat(grey: Grey) -> bool:
    """Whether an image shows nothing to align by: its edges are hardly above the noise of a camera."""
    smooth = cv2.GaussianBlur(grey, (0, 0), 2.0).astype(np.float32)
    dx, dy = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8)
    return bool(np.percentile(np.hypot(dx, dy), 95) < _FLAT)


def shrink(image: Grey, width: int, height: int) -> Grey:
    """The image in another size, without aliasing."""
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def scaling(old: tuple[int, int], new: tuple[int, int]) -> Matrix:
    """The matrix that resizing an image from one (width, height) to another applies to its pixels' centres."""
    sx, sy = new[0] / old[0], new[1] / old[1]
    return np.array([[sx, 0, 0.5 * sx - 0.5], [0, sy, 0.5 * sy - 0.5], [0, 0, 1]])
