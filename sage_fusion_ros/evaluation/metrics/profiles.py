"""The nine metrics in three sets of definitions, and `score`, which computes the ones asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.evaluation.metrics import oracle
from sage_fusion_ros.evaluation.metrics.contrast import entropy, standard_deviation
from sage_fusion_ros.evaluation.metrics.differences import correlations_of_differences
from sage_fusion_ros.evaluation.metrics.edges import qabf, sobel_leftward
from sage_fusion_ros.evaluation.metrics.fidelity import vif_sum
from sage_fusion_ros.evaluation.metrics.grey import Grey, check_images
from sage_fusion_ros.evaluation.metrics.information import mutual_information_bits, mutual_information_nats
from sage_fusion_ros.evaluation.metrics.sharpness import average_gradient, spatial_frequency
from sage_fusion_ros.evaluation.metrics.similarity import ssim_sum, ssim_sum_range_two

Metric = Callable[[Grey, Grey, Grey], float]
"""Takes RGB luma, thermal and fused."""

METRICS = ("EN", "SD", "SF", "AG", "MI", "SCD", "VIF", "Qabf", "SSIM")
"""In the order of the tables. More is better for each, up to a point."""


@dataclass(frozen=True)
class Profile:
    """One set of definitions.

    Attributes:
        name: As `score` takes it.
        notes: Sentences for a table's foot.
        metrics: A function for each name in METRICS.
    """

    name: str
    notes: tuple[str, ...]
    metrics: Mapping[str, Metric]


def _of_fused(metric: Callable[[Grey], float]) -> Metric:
    return lambda rgb_luma, thermal, fused: metric(fused)


_STANDARD: dict[str, Metric] = {
    "EN": _of_fused(entropy),
    "SD": _of_fused(standard_deviation),
    "SF": _of_fused(spatial_frequency),
    "AG": _of_fused(average_gradient),
    "MI": mutual_information_bits,
    "SCD": correlations_of_differences,
    "VIF": vif_sum,
    "Qabf": qabf,
    "SSIM": ssim_sum,
}

_LITERATURE: dict[str, Metric] = {
    **_STANDARD,
    "MI": mutual_information_nats,
    "Qabf": partial(qabf, derivatives=sobel_leftward, equal_is_its_strength=True),
    "SSIM": ssim_sum_range_two,
}

_ORACLE: dict[str, Metric] = {
    **_STANDARD,
    "SD": _of_fused(oracle.deviation_above_mean),
    "SF": _of_fused(oracle.unit_spatial_frequency),
    "AG": _of_fused(oracle.gradient_per_inner_pixel),
    "MI": oracle.mutual_information_merged,
    "VIF": oracle.vif_saturated,
    "Qabf": oracle.qabf_rounded,
}

_SHARED_NOTES = (
    "MI, SCD, VIF and SSIM are sums over both sources.",
    "A correlation with a constant image counts as 0 in SCD; a constant source adds 1 to VIF.",
)

PROFILES: Mapping[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            "standard",
            (
                "Grey levels from 0 to 255. EN and MI in bits over 256 bins; SD of the population.",
                "AG takes central differences (numpy.gradient), the mean over all pixels.",
                "VIF is the pixel-domain one over four scales.",
                "Qabf pads with zeros and takes 1 for the ratio of two equal strengths.",
                "SSIM takes a Gaussian window (11x11, sigma 1.5), a range of 255 and population covariances.",
                *_SHARED_NOTES,
            ),
            _STANDARD,
        ),
        Profile(
            "literature",
            (
                "The conventions of CDDFuse's published evaluator (CVPR 2023), to which EMMA and PTFuse refer too.",
                "EN, SD, SF, AG (central differences, the mean over H x W), SCD and VIF are the standard ones. MATLAB "
                "tables divide AG by (H - 1) x (W - 1); TDFusion's VIF is the mean over the two sources.",
                "MI is in nats (scikit-learn's mutual_info_score), 0.693 of the bits of MATLAB's and IVIF_ZOO's.",
                "SSIM takes a uniform 7x7 window, sample covariances and a range of 2 for grey levels up to 255, as "
                "scikit-image 0.19 did with float images. IVIF_ZOO has a Gaussian window, MATLAB tables the mean.",
                "Qabf takes Sobel derivatives to the left, and the strength itself for the ratio of two equal ones; it "
                "differs from the standard one in the third decimal.",
                *_SHARED_NOTES,
            ),
            _LITERATURE,
        ),
        Profile(
            "oracle",
            (
                "What the published workbooks of nine methods on TNO hold, saturating 8-bit arithmetic included: for "
                "comparison with them, not for judging images.",
                "EN and SCD are the standard ones; SF is of an image from 0 to 1; AG is divided by (H - 1) x (W - 1).",
                "SD counts nothing below the mean and at most 16 levels above it; MI, in bits, has 254 and 255 in one "
                "joint bin; VIF's products saturate at 255 in the first scale; Qabf has its Sobel sums' rounding.",
                "The workbooks have no SSIM: the standard one stands in.",
                "Largest difference to a cell of the workbooks: "
                + ", ".join(f"{name} {value:g}" for name, value in oracle.TOLERANCES.items())
                + ".",
                *_SHARED_NOTES,
            ),
            _ORACLE,
        ),
    )
}


def score(
    rgb_luma: Grey, thermal: Grey, fused: Grey, profile: str = "standard", metrics: Iterable[str] = METRICS
) -> dict[str, float]:
    """Scores a fused image beside its sources.

    Args:
        rgb_luma: uint8 HxW, luma of the RGB image.
        thermal: uint8 HxW, as it was fused (8 bits).
        fused: uint8 HxW, luma of the fused image as saved.
        profile: A name in PROFILES.
        metrics: Names in METRICS; only these are computed.

    Returns:
        A finite value for each metric asked for, in the order asked.

    Raises:
        ParameterError: When the profile or a metric is unknown.
        MetricError: When the images are not uint8 of one size, or smaller than a metric's windows.
    """
    if profile not in PROFILES:
        raise ParameterError(f"there is no metric profile '{profile}'; there are {', '.join(PROFILES)}")
    names = tuple(metrics)
    if unknown := [name for name in names if name not in METRICS]:
        raise ParameterError(f"there is no metric '{unknown[0]}'; there are {', '.join(METRICS)}")
    check_images(rgb_luma, thermal, fused)
    functions = PROFILES[profile].metrics
    return {name: functions[name](rgb_luma, thermal, fused) for name in names}
