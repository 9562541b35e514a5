"""How much the fused image changes from pixel to pixel: SF and AG. Noise raises both."""

from __future__ import annotations

import numpy as np

from sage_fusion_ros.evaluation.metrics.grey import Grey, check_size


def spatial_frequency(fused: Grey) -> float:
    """SF, root of the mean squared difference between horizontal neighbours plus that between vertical ones.

    Each mean is over the differences there are, H x (W - 1) and (H - 1) x W.

    Args:
        fused: uint8 HxW.

    Returns:
        Grey levels, 0 to 255 times the root of 2.

    Raises:
        MetricError: When a side is shorter than 2 pixels.

    Source: Eskicioglu and Fisher, IEEE Trans. Communications 43 (1995).
    """
    check_size(fused, 2, "SF")
    image = fused.astype(np.float64)
    return float(np.sqrt(np.mean(np.diff(image, axis=1) ** 2) + np.mean(np.diff(image, axis=0) ** 2)))


def average_gradient(fused: Grey) -> float:
    """AG, mean of sqrt((gx^2 + gy^2) / 2) over all pixels.

    gx and gy are central differences, one-sided in the outermost rows and columns (numpy.gradient). Some tables take
    forward differences, which come out a fifth higher on photographs: compare like with like.

    Args:
        fused: uint8 HxW.

    Returns:
        Grey levels per pixel, 0 to 255.

    Raises:
        MetricError: When a side is shorter than 2 pixels.

    Source: Cui et al., Optics Communications 341 (2015).
    """
    check_size(fused, 2, "AG")
    gy, gx = np.gradient(fused.astype(np.float64))
    return float(np.mean(np.sqrt((gx**2 + gy**2) / 2)))
