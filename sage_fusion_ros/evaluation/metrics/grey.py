"""What the metrics score: three grey images of one size."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import MetricError

Grey = npt.NDArray[np.uint8]
"""HxW, 0 (black) to 255 (white)."""


def check_images(rgb_luma: Grey, thermal: Grey, fused: Grey) -> None:
    """Refuses what no metric is defined for.

    Args:
        rgb_luma: Luma of the RGB image.
        thermal: Thermal image.
        fused: Fused image.

    Raises:
        MetricError: When one is not uint8 with two axes, or their sizes differ.
    """
    images = {"RGB luma": rgb_luma, "thermal": thermal, "fused": fused}
    for name, image in images.items():
        if image.ndim != 2 or image.dtype != np.uint8:
            shape = "x".join(map(str, image.shape))
            raise MetricError(
                f"the {name} image is {image.dtype} {shape}; metrics take uint8, height x width, one channel"
            )
    if len({image.shape for image in images.values()}) > 1:
        sizes = ", ".join(f"{name} {size_text(image)}" for name, image in images.items())
        raise MetricError(f"the images differ in size ({sizes}); resize the sources to the fused image first")


def check_size(image: Grey, least: int, metric: str) -> None:
    """Refuses an image that is smaller than a metric's windows.

    Args:
        image: Any of the three.
        least: Pixels that each side needs.
        metric: Name for the message.

    Raises:
        MetricError: When a side is shorter.
    """
    if min(image.shape) < least:
        raise MetricError(f"{metric} needs images of at least {least}x{least} pixels; these are {size_text(image)}")


def size_text(image: Grey) -> str:
    """Width x height, as cameras state it."""
    return f"{image.shape[1]}x{image.shape[0]}"
