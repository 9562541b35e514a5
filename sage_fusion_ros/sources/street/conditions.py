"""Day, night, smoke and fog: light, air and temperatures."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

Colour = tuple[float, float, float]
SUN = (-0.62, 0.66, -0.42)
"""Unit vector to the sun: from the left, behind the camera."""


@dataclass(frozen=True)
class Condition:
    """What the weather and the hour do to both cameras. Colours are linear, temperatures in degrees Celsius.

    Attributes:
        name: For people.
        sun: Light of the sun on a surface that faces it.
        ambient: Light from everywhere.
        sky_top: Colour of the sky above.
        sky_horizon: Colour of the sky at the horizon, and of far haze.
        haze: Extinction by metre for visible light.
        lamps: Whether street lamps, windows and headlights shine.
        smoke: How dense the drifting smoke between the camera and the crossing is; 0 for none.
        exposure: Factor before the tone curve.
        rgb_noise: Standard deviation of the RGB noise in grey levels.
        air: Air temperature.
        ground: Temperature of a road in shade.
        wall: Temperature of a wall in shade.
        sunlit: How much warmer what the sun shines on is.
        sky: Apparent temperature of the sky (at the zenith, at the horizon).
        thermal_haze: Extinction by metre in the thermal band.
    """

    name: str
    sun: Colour
    ambient: Colour
    sky_top: Colour
    sky_horizon: Colour
    haze: float
    lamps: bool
    smoke: float
    exposure: float
    rgb_noise: float
    air: float
    ground: float
    wall: float
    sunlit: float
    sky: tuple[float, float]
    thermal_haze: float


_ALL = (
    Condition(
        "day",
        (2.9, 2.55, 1.95),
        (0.50, 0.58, 0.74),
        (0.20, 0.40, 0.78),
        (0.72, 0.80, 0.88),
        0.0013,
        False,
        0.0,
        1.25,
        1.6,
        13.0,
        15.0,
        14.0,
        7.0,
        (-38.0, -12.0),
        0.0008,
    ),
    Condition(
        "night",
        (0.0, 0.0, 0.0),
        (0.016, 0.019, 0.030),
        (0.004, 0.006, 0.014),
        (0.020, 0.020, 0.028),
        0.002,
        True,
        0.0,
        1.2,
        3.6,
        7.0,
        10.5,
        9.0,
        0.0,
        (-42.0, -14.0),
        0.0008,
    ),
    Condition(
        "smoke",
        (0.0, 0.0, 0.0),
        (0.86, 0.90, 0.96),
        (0.62, 0.65, 0.70),
        (0.70, 0.72, 0.75),
        0.010,
        False,
        1.0,
        0.85,
        2.0,
        10.0,
        11.5,
        11.0,
        0.0,
        (-14.0, -2.0),
        0.0012,
    ),
    Condition(
        "fog",
        (0.0, 0.0, 0.0),
        (0.86, 0.90, 0.96),
        (0.66, 0.68, 0.71),
        (0.70, 0.72, 0.75),
        0.085,
        False,
        0.0,
        0.62,
        2.0,
        8.0,
        9.5,
        9.0,
        0.0,
        (-2.0, 4.0),
        0.006,
    ),
)
CONDITIONS = MappingProxyType({condition.name: condition for condition in _ALL})
