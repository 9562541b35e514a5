"""How widely the fused image's grey levels are spread: EN and SD. Noise and stretching raise both."""

from __future__ import annotations

from skimage.measure import shannon_entropy

from sage_fusion_ros.evaluation.metrics.grey import Grey


def entropy(fused: Grey) -> float:
    """EN, entropy of the histogram of 256 levels.

    Args:
        fused: uint8 HxW.

    Returns:
        Bits, 0 (one level only) to 8.

    Source: Roberts, van Aardt and Ahmed, J. Applied Remote Sensing 2 (2008); Shannon's definition.
    """
    return float(shannon_entropy(fused, base=2))


def standard_deviation(fused: Grey) -> float:
    """SD, of the population (divided by the number of pixels, not by one less).

    Args:
        fused: uint8 HxW.

    Returns:
        Grey levels, 0 to 127.5.
    """
    return float(fused.std())
