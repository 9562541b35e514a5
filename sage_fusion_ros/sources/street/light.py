"""Light on surfaces, and the camera's tone curve."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.sources.street.conditions import SUN, Condition
from sage_fusion_ros.sources.street.layout import FACADE, Street

LAMP_HEIGHT = 5.6
_LAMP_COLOUR = np.array((1.0, 0.68, 0.36), np.float32)
_LAMP_POWER = 7.0
_SHADOW = -SUN[0] / SUN[1]
"""How far a shadow reaches to the right for each metre of height."""


def tone(linear: npt.NDArray[np.floating], exposure: float) -> npt.NDArray[np.float32]:
    """Linear light to grey levels 0..255: a shoulder that keeps highlights apart, then the display's gamma."""
    exposed = np.maximum(linear, 0) * exposure
    return np.asarray(255.0 * np.power(exposed * (1 + exposed / 4.0) / (1 + exposed), 1 / 2.2), np.float32).clip(0, 255)


def haze_light(condition: Condition) -> npt.NDArray[np.float64]:
    """Linear light that thick air sends to the camera, 3 numbers."""
    overcast = not any(condition.sun) and not condition.lamps
    return np.array(condition.sky_horizon) * (2.0 if overcast else 1.6)


def lamp_light(
    street: Street, x: npt.NDArray[np.float32], y: npt.NDArray[np.float32] | np.float32, z: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Light of the street lamps at points, (...) -> (..., 3); inverse square, pointing down."""
    total = np.zeros(np.shape(x), np.float32)
    for lamp_x, lamp_z in street.lamps:
        dx, dy, dz = x - lamp_x * 0.78, LAMP_HEIGHT - y, z - lamp_z
        square = dx * dx + dy * dy + dz * dz + 0.6
        total += np.maximum(dy, 0.15 * LAMP_HEIGHT) / (square * np.sqrt(square))
    return total[..., None] * (_LAMP_POWER * _LAMP_COLOUR)


def sun_on_ground(street: Street, x: npt.NDArray[np.float32], z: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """1 where the sun reaches the ground between the houses, 0 in the shadow of the left row."""
    far = np.array([building.far for building in street.left])
    height = np.array([building.height for building in street.left], np.float32)
    # The shadow falls forward as well as to the right.
    origin = z - (x + FACADE) / -SUN[0] * -SUN[2]
    reach = height[np.searchsorted(far, origin).clip(0, len(far) - 1)] * _SHADOW * 0.52
    return ((x + FACADE - reach) * 4).clip(0, 1).astype(np.float32)


class ActorLight:
    """Light on people and vehicles, by normal."""

    def __init__(self, street: Street, condition: Condition) -> None:
        self._ambient = np.array(condition.ambient)
        self._sun = np.array(condition.sun)
        self._direction = np.array(SUN)
        # A table by half metres: asking for each actor anew would take too long.
        z, x = np.meshgrid(np.arange(0, 240, dtype=np.float32) / 2, np.arange(-20, 21, dtype=np.float32) / 2)
        none = np.zeros((*x.shape, 3), np.float32)
        self._lamps = 1.3 * lamp_light(street, x, np.float32(1.0), z) if condition.lamps else none
        self._sunny = sun_on_ground(street, x, z) if any(condition.sun) else none[..., 0]

    def sunlit(self, x: float, z: float) -> float:
        """Share of the sun that reaches the ground there, 0..1."""
        return float(self._sunny[self._cell(x, z)])

    def at(self, x: float, z: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """(ambient, sun) light, 3 numbers each, for something at x, z."""
        cell = self._cell(x, z)
        return self._ambient + self._lamps[cell], self._sun * self._sunny[cell]

    def _cell(self, x: float, z: float) -> tuple[int, int]:
        rows, columns = self._sunny.shape
        return min(max(round(x * 2) + 20, 0), rows - 1), min(max(round(z * 2), 0), columns - 1)

    def shade(
        self, light: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]], normals: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Light on surfaces with these unit normals (N, 3) -> (N, 3)."""
        ambient, sun = light
        facing = np.maximum(normals @ self._direction, 0)[:, None]
        upward = 0.68 + 0.32 * normals[:, 1:2]
        return ambient * upward + sun * facing
