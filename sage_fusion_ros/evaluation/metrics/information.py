"""How much one can tell about both sources from the fused image: MI."""

from __future__ import annotations

import math

from sklearn.metrics import mutual_info_score

from sage_fusion_ros.evaluation.metrics.grey import Grey


def mutual_information_nats(rgb_luma: Grey, thermal: Grey, fused: Grey) -> float:
    """MI(rgb, fused) + MI(thermal, fused) over histograms of 256 levels.

    A plain copy of one source scores its whole entropy, so the plain maximum beats most networks.

    Args:
        rgb_luma: uint8 HxW.
        thermal: uint8 HxW.
        fused: uint8 HxW.

    Returns:
        Nats, 0 to 2 x 8 x ln 2.

    Source: Qu, Zhang and Yan, Electronics Letters 38 (2002).
    """
    levels = fused.ravel()
    return float(mutual_info_score(rgb_luma.ravel(), levels) + mutual_info_score(thermal.ravel(), levels))


def mutual_information_bits(rgb_luma: Grey, thermal: Grey, fused: Grey) -> float:
    """The same in bits: 0 to 16."""
    return mutual_information_nats(rgb_luma, thermal, fused) / math.log(2)
