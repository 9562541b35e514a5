"""How a network wants to be shown an image: order of the colours, range of their values, and where the image goes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.pipeline.letterbox import Letterbox

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of R, G, B in 0..1


@dataclass(frozen=True)
class Preprocessing:
    """What becomes of an image before a network sees it.

    Attributes:
        order: "rgb" or "bgr".
        values: "unit" 0..1, "levels" 0..255, or "imagenet": 0..1 less ImageNet's mean, over its deviation.
        anchor: As in Letterbox.fit.
        interpolation: OpenCV's, for images that are scaled.
        shrinking: OpenCV's, for those that are made smaller; `interpolation` when None.
    """

    order: str = "rgb"
    values: str = "unit"
    anchor: str = "top_left"
    interpolation: int = cv2.INTER_LINEAR
    shrinking: int | None = None

    def place(self, image: npt.NDArray[np.uint8], box: Letterbox) -> npt.NDArray[np.uint8]:
        """The image in its place in the network's input, uint8 HxWx3; see Letterbox.apply."""
        smaller = box.inner_width < box.width or box.inner_height < box.height
        shrinking = self.interpolation if self.shrinking is None else self.shrinking
        return box.apply(image, interpolation=shrinking if smaller else self.interpolation)

    def fill(self, image: npt.NDArray[np.uint8], planes: npt.NDArray[Any]) -> None:
        """Writes an image as the network wants it.

        Args:
            image: uint8 HxWx3 RGB.
            planes: Written to: 3xHxW, float32; or uint8, which takes the levels whatever `values` says, for a network
                that does the rest itself.
        """
        table = _table(self.values)
        for channel, plane in enumerate(cv2.split(image)):
            target = planes[channel if self.order == "rgb" else 2 - channel]
            if planes.dtype == np.uint8:
                target[:] = plane
            else:
                cv2.LUT(plane, table[channel], dst=target)  # one pass, whatever the values


@lru_cache(maxsize=3)
def _table(values: str) -> npt.NDArray[np.float32]:
    """What each level becomes, float32 3x256, a row a channel of RGB."""
    levels = np.tile(np.arange(256, dtype=np.float32), (3, 1))
    if values == "levels":
        return levels
    unit = levels / np.float32(255)
    if values == "unit":
        return unit
    mean, deviation = (np.array(each, np.float32)[:, None] for each in (IMAGENET_MEAN, IMAGENET_STD))
    return np.asarray((unit - mean) / deviation, np.float32)
