"""What `sage_fast` learns to draw: a fused luma computed from the clean pair by Laplacian pyramids.

The network learns to draw the same from each pixel's surroundings alone, and from noisy images. Sources: Burt and
Adelson 1983 (the pyramid), Burt and Kolczynski 1993 (choice by local energy), Donoho 1995 (soft threshold against
noise). The rest is ours and explained where it stands.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sage_fusion_ros.errors import ParameterError

# Where both cameras show nothing but noise, they are weighted by how little of it they have.
_TIE = 2e-7
_QUIETEST = 1e-4


@dataclass(frozen=True)
class TargetSettings:
    """How the target picture is made.

    Attributes:
        gain: Factor on the chosen detail, finest level first, one for each level. Detail below the noise
            gates keeps the factor 1.
        lesser: Share of the detail not chosen that is added nevertheless, per level. On coarse levels both cameras'
            structure should stay readable; on fine ones the sum would double edges.
        brighter_share: How far the coarsest level follows thermal where thermal is brighter: 0 keeps the RGB camera's
            brightness, 1 is the maximum, which veils warm roads by day.
        darker_share: The same where thermal is darker. A little of it takes glare and burnt skies down and tells warm
            from cold by day; at 0.5 the sky turns grey.
        sharpness: Exponent of the choice between the cameras; high values switch, low ones mix.
        thermal_noise_gate: Thermal detail below this many standard deviations of the thermal noise has no say in the
            choice and is not sharpened. It is not dropped either: what is faint is not always noise, and the network
            learns from noisier images than these what noise is.
        rgb_noise_gate: The same for RGB.
        noise_limit: Greatest standard deviation that is taken for noise, not for texture.
        hot_low, hot_high: Thermal contrast to the surroundings (0..1) from which on, and at which fully, a warm thing
            is shown at least as bright as the thermal camera shows it.
        overshoot, undershoot: How far the picture may rise above the brightest and sink below the darkest that its
            sources have near by. Coarse details overshoot at strong thermal edges, such as roofs before a cold sky, and
            stand as halos along them; a little undershoot is what cuts through smoke.
        shoulder: Brightness above which the picture is compressed, so that nothing burns out.
    """

    gain: tuple[float, ...] = (1.3, 1.25, 1.2, 1.2, 1.25)
    lesser: tuple[float, ...] = (0.0, 0.1, 0.4, 0.8, 1.0)
    brighter_share: float = 0.68
    darker_share: float = 0.38
    sharpness: float = 2.0
    thermal_noise_gate: float = 2.0
    rgb_noise_gate: float = 1.0
    noise_limit: float = 0.012
    hot_low: float = 0.15
    hot_high: float = 0.4
    overshoot: float = 0.15
    undershoot: float = 0.35
    shoulder: float = 0.86

    def __post_init__(self) -> None:
        if len(self.gain) != len(self.lesser) or not 1 <= len(self.gain) <= 5:
            raise ParameterError(
                "the target's gain and lesser need one value for each of 1 to 5 levels; "
                f"they have {len(self.gain)} and {len(self.lesser)}"
            )
        if not self.hot_low < self.hot_high or not 0 < self.shoulder < 1 or min(self.overshoot, self.undershoot) <= 0:
            raise ParameterError(
                "the target needs hot_low below hot_high, a shoulder in 0..1, and overshoot and undershoot above 0; "
                f"it has {self.hot_low}, {self.hot_high}, {self.shoulder}, {self.overshoot} and {self.undershoot}"
            )


def halve(image: Tensor) -> Tensor:
    """Half the size by the kernel (1, 3, 3, 1)/8 in both directions; (N, 1, H, W), H and W even."""
    taps = image.new_tensor([1.0, 3.0, 3.0, 1.0]) / 8
    kernel = (taps[:, None] * taps[None, :])[None, None]
    return F.conv2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), kernel, stride=2)


def double(image: Tensor) -> Tensor:
    """Twice the size, bilinear, which is the transpose of `halve` up to a factor."""
    return F.interpolate(image, scale_factor=2, mode="bilinear", align_corners=False)


def laplacian_pyramid(image: Tensor, levels: int) -> tuple[list[Tensor], Tensor]:
    """Detail images from fine to coarse, and the coarsest blur.

    Args:
        image: (N, 1, H, W), H and W multiples of 2**levels.
        levels: Number of detail images.
    """
    details = []
    for _ in range(levels):
        smaller = halve(image)
        details.append(image - double(smaller))
        image = smaller
    return details, image


def _smooth(image: Tensor) -> Tensor:
    for _ in range(2):
        image = F.avg_pool2d(image, 3, stride=1, padding=1, count_include_pad=False)
    return image


def noise_level(finest: Tensor) -> Tensor:
    """Robust standard deviation of the finest detail, (N, 1, 1, 1): median of the magnitude over 0.6745."""
    return finest.abs().flatten(1).median(dim=1).values.view(-1, 1, 1, 1) / 0.6745


def soft_threshold(image: Tensor, threshold: Tensor) -> Tensor:
    """sign(x) max(|x| - threshold, 0), Donoho 1995."""
    return image.sign() * (image.abs() - threshold).clamp_min(0.0)


@torch.no_grad()
def fusion_target(rgb_luma: Tensor, thermal: Tensor, settings: TargetSettings) -> Tensor:
    """The picture to be learnt.

    Args:
        rgb_luma: float32 (N, 1, H, W) in 0..1; H and W multiples of 2**levels.
        thermal: The same, registered.
        settings: How it is made.

    Returns:
        float32 (N, 1, H, W) in 0..1.
    """
    levels = len(settings.gain)
    rgb_details, rgb_base = laplacian_pyramid(rgb_luma, levels)
    thermal_details, thermal_base = laplacian_pyramid(thermal, levels)
    rgb_noise = noise_level(rgb_details[0]).clamp(_QUIETEST, settings.noise_limit)
    thermal_noise = noise_level(thermal_details[0]).clamp(_QUIETEST, settings.noise_limit)
    quieter = thermal_noise**2 / (rgb_noise**2 + thermal_noise**2)
    warmer = thermal_base - rgb_base
    fused = rgb_base + settings.brighter_share * warmer.clamp_min(0.0) + settings.darker_share * warmer.clamp_max(0.0)
    surroundings = thermal_base
    for level in reversed(range(levels)):
        # White noise halves in amplitude with every level.
        a = soft_threshold(rgb_details[level], settings.rgb_noise_gate * rgb_noise * 0.5**level)
        b = soft_threshold(thermal_details[level], settings.thermal_noise_gate * thermal_noise * 0.5**level)
        energy_a, energy_b = _smooth(a.abs()) ** settings.sharpness, _smooth(b.abs()) ** settings.sharpness
        share = (energy_a + _TIE * quieter) / (energy_a + energy_b + _TIE)
        chosen = share * rgb_details[level] + (1 - share) * thermal_details[level]
        sharper, other = share * a + (1 - share) * b, (1 - share) * a + share * b
        fused = double(fused) + chosen + (settings.gain[level] - 1) * sharper + settings.lesser[level] * other
        surroundings = double(surroundings)
    fused = hold_to_sources(fused, rgb_luma, thermal, settings)
    hot = ((thermal - surroundings - settings.hot_low) / (settings.hot_high - settings.hot_low)).clamp(0.0, 1.0)
    fused = fused + hot * (thermal - fused).clamp_min(0.0)
    return roll_off(fused, settings.shoulder)


def hold_to_sources(fused: Tensor, rgb_luma: Tensor, thermal: Tensor, settings: TargetSettings) -> Tensor:
    """Compresses what leaves the sources' local range: above the brighter one's, below the RGB camera's (3 px around).

    Darkness is measured by RGB alone, since a cold sky must not darken the sky that the driver sees.
    """
    brightest = F.max_pool2d(torch.maximum(rgb_luma, thermal), 7, stride=1, padding=3)
    darkest = -F.max_pool2d(-rgb_luma, 7, stride=1, padding=3)
    over = settings.overshoot * torch.tanh((fused - brightest).clamp_min(0.0) / settings.overshoot)
    under = settings.undershoot * torch.tanh((darkest - fused).clamp_min(0.0) / settings.undershoot)
    return fused.clamp(darkest, brightest) + over - under


def roll_off(image: Tensor, shoulder: float) -> Tensor:
    """Keeps 0..shoulder and compresses what is above by tanh, so that 1 is never passed; below 0 is cut."""
    room = 1.0 - shoulder
    return torch.where(image > shoulder, shoulder + room * torch.tanh((image - shoulder) / room), image).clamp(0.0, 1.0)
