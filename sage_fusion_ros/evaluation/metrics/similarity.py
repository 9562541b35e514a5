"""How alike the fused image and its sources are in structure: SSIM, summed over the two."""

from __future__ import annotations

import numpy as np
from skimage.metrics import structural_similarity

from sage_fusion_ros.evaluation.metrics.grey import Grey, check_size

_GAUSSIAN_WINDOW = 11  # 3.5 sigma to either side
_UNIFORM_WINDOW = 7


def ssim_sum(rgb_luma: Grey, thermal: Grey, fused: Grey) -> float:
    """SSIM(rgb, fused) + SSIM(thermal, fused): Gaussian window of sigma 1.5, 11x11, range 255, population covariance.

    Args:
        rgb_luma: uint8 HxW.
        thermal: uint8 HxW.
        fused: uint8 HxW.

    Returns:
        -2 to 2, and 2 only where all three are equal.

    Raises:
        MetricError: When a side is shorter than 11 pixels.

    Source: Wang, Bovik, Sheikh and Simoncelli, IEEE Trans. Image Processing 13 (2004).
    """
    check_size(fused, _GAUSSIAN_WINDOW, "SSIM")

    def ssim(source: Grey) -> float:
        return float(
            structural_similarity(
                source, fused, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
            )
        )

    return ssim(rgb_luma) + ssim(thermal)


def ssim_sum_range_two(rgb_luma: Grey, thermal: Grey, fused: Grey) -> float:
    """The same sum as published tables have it: uniform 7x7 window, sample covariance, and a range of 2.

    Where none was stated, scikit-image of that time took a range of 2 for any float image, also for one of 0 to 255.
    The two constants that steady SSIM in dark and flat regions then all but vanish, and noise there costs most.

    Args:
        rgb_luma: uint8 HxW.
        thermal: uint8 HxW.
        fused: uint8 HxW.

    Returns:
        -2 to 2. Lower than `ssim_sum` on almost any photograph.

    Raises:
        MetricError: When a side is shorter than 7 pixels.

    Source: the published evaluator of CDDFuse (CVPR 2023), with the scikit-image it asks for.
    """
    check_size(fused, _UNIFORM_WINDOW, "SSIM")

    def ssim(source: Grey) -> float:
        # In float32, as there.
        return float(structural_similarity(source.astype(np.float32), fused.astype(np.float32), data_range=2))

    return ssim(rgb_luma) + ssim(thermal)
