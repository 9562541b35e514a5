"""How a fused image is exposed: what is burnt out, and how much it still looks like the RGB camera's."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import ImageFormatError

BURNT_LEVEL = 250


def burnt_share(fused: npt.NDArray[np.uint8]) -> float:
    """Share of burnt-out pixels, 0..1.

    Args:
        fused: uint8 HxW luma; a pixel of 250 and more counts.

    Raises:
        ImageFormatError: The image is no uint8 HxW.
    """
    _check(fused, "fused")
    return float(np.count_nonzero(fused >= BURNT_LEVEL)) / fused.size


def rgb_likeness(rgb_luma: npt.NDArray[np.uint8], fused: npt.NDArray[np.uint8]) -> float:
    """How much the fused image looks like the RGB camera's: SSIM of the two lumas, at most 1.

    Wang et al. 2004, as scikit-image computes it with the paper's settings: Gaussian window of deviation 1.5 and 11
    pixels, population covariance, a range of 255.

    Args:
        rgb_luma: uint8 HxW.
        fused: uint8 HxW.

    Raises:
        ImageFormatError: An image is no uint8 HxW, the sizes differ, or a side has fewer than 11 pixels.
    """
    from skimage.metrics import structural_similarity

    _check(rgb_luma, "rgb_luma")
    _check(fused, "fused")
    if rgb_luma.shape != fused.shape or min(fused.shape) < 11:
        raise ImageFormatError(
            f"rgb_luma is {rgb_luma.shape} and fused is {fused.shape}; expected one size, of 11 pixels a side or more"
        )
    similarity = structural_similarity(
        rgb_luma, fused, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return float(similarity)


def _check(image: npt.NDArray[np.uint8], name: str) -> None:
    if image.dtype != np.uint8 or image.ndim != 2 or image.size == 0:
        raise ImageFormatError(f"{name} is {image.dtype} of shape {image.shape}; expected uint8 HxW")
