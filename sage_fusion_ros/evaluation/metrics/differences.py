"""Whether what one source adds to the fused image is what that source shows: SCD."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.evaluation.metrics.grey import Grey


def correlations_of_differences(rgb_luma: Grey, thermal: Grey, fused: Grey) -> float:
    """SCD, corr(fused - thermal, rgb) + corr(fused - rgb, thermal).

    A correlation with a constant image is 0/0; it counts as 0 here, since nothing was carried over. This happens where
    the fused image is one of its sources, plus a constant or not, and where a source is constant.

    Args:
        rgb_luma: uint8 HxW.
        thermal: uint8 HxW.
        fused: uint8 HxW.

    Returns:
        -2 to 2.

    Source: Aslantas and Bendes, AEU Int. J. Electronics and Communications 69 (2015).
    """
    rgb, heat, result = (image.astype(np.float64) for image in (rgb_luma, thermal, fused))
    return _correlation(result - heat, rgb) + _correlation(result - rgb, heat)


def _correlation(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    a, b = (a - a.mean()).ravel(), (b - b.mean()).ravel()
    scale = np.sqrt(np.dot(a, a) * np.dot(b, b))
    # The mean of equal whole numbers is exact, so a constant image leaves exactly 0.
    return float(np.dot(a, b) / scale) if scale > 0 else 0.0
