"""A synthetic street scene as a source: the same pairs for the same seed, whatever was read before."""

from __future__ import annotations

import numpy as np

from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.sources.base import Camera, SceneTruth, SourcePair, check_index
from sage_fusion_ros.sources.street.background import build_geometry
from sage_fusion_ros.sources.street.choreography import Choreography
from sage_fusion_ros.sources.street.conditions import CONDITIONS
from sage_fusion_ros.sources.street.layout import build_street
from sage_fusion_ros.sources.street.scene import Scene
from sage_fusion_ros.sources.street.view import View

FRAME_RATE = 30.0
DURATION_S = 15.0
ACT_S = 5.0
"""Without a condition the scene changes it after each act."""
ACTS = ("day", "night", "smoke")
_SIZES = (160, 2048)


class SyntheticSource:
    """A street with people, cyclists and cars, seen by an RGB and a 16-bit thermal camera.

    Thermal counts are hundredths of a kelvin, as radiometric cameras give them. `read(i)` depends on seed, size, frame
    rate, condition and i alone; a longer duration only adds pairs at the end.

    Args:
        condition: 'day', 'night', 'smoke' or 'fog'; empty for acts of five seconds: day, night with glare, smoke.
        seed: Chooses houses, people, cars and noise.
        duration: Length in seconds.
        frame_rate: Pairs per second.
        size: (width, height) in pixels, even numbers.

    Raises:
        SourceError: When the condition is unknown or a number is out of range.
    """

    kind = "synthetic"
    is_sequence = True

    def __init__(
        self,
        condition: str = "",
        seed: int = 0,
        duration: float = DURATION_S,
        frame_rate: float = FRAME_RATE,
        size: tuple[int, int] = (640, 480),
    ) -> None:
        if condition and condition not in CONDITIONS:
            raise SourceError(
                f"'synthetic:{condition}' is unknown; there are {', '.join(CONDITIONS)}, or just 'synthetic'"
            )
        width, height = (int(value) for value in size)
        if any(value < _SIZES[0] // 2 or value > _SIZES[1] or value % 2 for value in (width, height)):
            raise SourceError(f"size is {width}x{height}; expected even numbers from {_SIZES[0] // 2} to {_SIZES[1]}")
        if not (duration > 0 and frame_rate > 0 and seed >= 0):
            raise SourceError(
                f"duration {duration:g} s, frame rate {frame_rate:g} Hz, seed {seed}: must be above 0 (seed: 0 or more)"
            )
        self.name = f"synthetic:{condition}" if condition else "synthetic"
        self.frame_rate = float(frame_rate)
        self.skipped: list[tuple[str, str]] = []
        self._length = max(1, round(duration * frame_rate))
        self._view = View(width, height)
        geometry = build_geometry(build_street(seed), self._view, seed)
        choreography = Choreography(seed)
        self._acts = (condition,) if condition else ACTS
        # All at once: a scene made in the middle of a replay would delay it.
        needed = [act for number, act in enumerate(self._acts) if number * ACT_S < duration]
        self._scenes = {act: Scene(geometry, choreography, CONDITIONS[act], seed) for act in needed}

    def __len__(self) -> int:
        """Number of pairs."""
        return self._length

    def condition(self, index: int) -> str:
        """The condition that a pair shows."""
        return self._acts[int(index / self.frame_rate / ACT_S) % len(self._acts)]

    def read(self, index: int) -> SourcePair:
        """Draws one pair, with its truth; see PairSource."""
        check_index(index, len(self))
        rgb, thermal, mask, boxes = self._scenes[self.condition(index)].render(index / self.frame_rate, index)
        corners = np.array([box for _, box in boxes], np.float32).reshape(-1, 4)
        return SourcePair(index, rgb, thermal, SceneTruth(mask, corners, [label for label, _ in boxes]))

    def smoke_amount(self, index: int) -> np.ndarray:
        """How much the smoke hides in the RGB image of a pair: float32 HxW in 0..1, for what stands behind it."""
        check_index(index, len(self))
        return self._scenes[self.condition(index)].smoke_amount(index / self.frame_rate).astype(np.float32) / 255

    def stamps_ns(self, index: int) -> None:
        """Nothing was recorded."""

    def intrinsics(self, camera: Camera) -> tuple[float, ...]:
        """The camera matrix; both cameras share one lens."""
        return self._view.matrix

    def close(self) -> None:
        """Holds nothing open."""
