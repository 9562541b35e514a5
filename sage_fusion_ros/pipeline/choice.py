"""Which of a pick's images go out, by what they look like and by policy; keeps the last good thermal image."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sage_fusion_ros.pipeline.camera_health import ImageJudge, RgbExposure, ThermalHealth
from sage_fusion_ros.pipeline.degraded import HOLD, NEVER_LOST, RGB_ONLY, STOP, DegradedSettings, Pick
from sage_fusion_ros.pipeline.pairing import Arrival
from sage_fusion_ros.pipeline.types import Frame, FramePair

UNREADABLE = "its images can't be read"


@dataclass(frozen=True)
class Choice:
    """What goes out.

    Attributes:
        pick: With the stamp and the mode that it goes out under.
        frames: The pair, or the frame alone; None: nothing goes out.
        reason: Why nothing does, or empty.
    """

    pick: Pick
    frames: FramePair | Frame | None
    reason: str = ""


class Chooser:
    """One thread calls it, with every pick in turn; others may read what it found.

    Attributes:
        settings: May change between two picks.
        thermal, rgb: What the last image of each camera looked like; None before the first.
    """

    def __init__(self, settings: DegradedSettings = NEVER_LOST) -> None:
        self.settings = settings
        self.thermal: ThermalHealth | None = None
        self.rgb: RgbExposure | None = None
        self._judge = ImageJudge(settings.health)
        self._held: tuple[Arrival, Frame] | None = None

    def problem(self, camera: str) -> str:
        """Why the camera's last image could not be used, or empty."""
        found = self.rgb if camera == "rgb" else self.thermal
        return "" if found is None else found.problem

    def look(self, rgb: Frame | None, thermal: Frame | None) -> None:
        """Judges images that nobody may want to see."""
        self._judge.settings = self.settings.health
        if rgb is not None:
            self.rgb = self._judge.rgb(np.asarray(rgb.image, np.uint8))
        if thermal is not None:
            self.thermal = self._judge.thermal(thermal.image)

    def unreadable(self, camera: str) -> None:
        """Takes note of a frame that could not be decoded."""
        if camera == "rgb":
            self.rgb = RgbExposure(0.0, 0.0, 0.0, UNREADABLE)
        else:
            self.thermal = ThermalHealth(0.0, 0.0, 0.0, 0, UNREADABLE)

    def choose(self, pick: Pick, rgb: Frame | None, thermal: Frame | None) -> Choice:
        """Decides about one pick.

        Args:
            pick: What came out of the intake.
            rgb: Its RGB frame, decoded; None where it has none, or one that can't be read.
            thermal: Its thermal frame, likewise.
        """
        self.look(rgb, thermal)
        if rgb is not None and self.problem("rgb"):
            rgb = None
        if thermal is not None and self.problem("thermal"):
            thermal = None
        if rgb is not None and thermal is not None:
            assert pick.thermal is not None
            self._held = (pick.thermal, thermal)
            return Choice(pick, FramePair(rgb, thermal))
        if rgb is None and thermal is None:
            return Choice(pick, None, "both cameras lost")
        lost = "rgb" if rgb is None else "thermal"
        mode = self.settings.policy(lost)
        if mode == STOP:
            return Choice(pick, None, f"{lost} lost")
        if rgb is None:
            assert pick.thermal is not None
            assert thermal is not None
            return Choice(replace(pick, rgb=None, stamp_ns=pick.thermal.stamp_ns, mode=mode), thermal)
        assert pick.rgb is not None
        alone = replace(pick, thermal=None, stamp_ns=pick.rgb.stamp_ns, mode=RGB_ONLY)
        held = self._held if mode == HOLD else None
        if held is None or not self._is_young(held[0], alone):
            return Choice(alone, rgb)
        return Choice(replace(alone, thermal=held[0], mode=HOLD), FramePair(rgb, held[1]))

    def _is_young(self, held: Arrival, pick: Pick) -> bool:
        """Whether a thermal image may still be shown with an RGB image, by the age of what it shows."""
        assert pick.rgb is not None
        since_ns = held.time_ns if pick.stale_since_ns is None else min(held.time_ns, pick.stale_since_ns)
        return held.epoch == pick.rgb.epoch and pick.rgb.time_ns - since_ns <= self.settings.hold_ns
