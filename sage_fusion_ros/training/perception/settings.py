"""Settings of a perception run beyond those every run has."""

from __future__ import annotations

from dataclasses import dataclass

from sage_fusion_ros.errors import ParameterError


@dataclass(frozen=True)
class PerceptionSettings:
    """How samples for the perception network are made. Chances are 0..1.

    Attributes:
        fusion: Names or folders of the fusion models in front.
        fusion_shares: How often each is drawn, one share a model; they need not add up to 1.
        rgb_alone, thermal_alone: Chance that the network is shown one camera's image instead of a fused one, as it is
            when the other camera has failed and nothing is fused.
        rgb_dead, thermal_dead: Chance that a camera gives nothing (black or grey with a little noise) and is fused all
            the same.
        pool: Fused images kept in memory, from which crops are drawn.
        refresh: How many of them are made anew in each step; 0.25 makes one in four steps.
        synthetic_share: Share of the pool that is of the synthetic scene, whose labels are exact.
        drawn_weight: How much more often a pair is drawn in which people drew boxes.
        smallest, largest: Range of the scale of a crop; at 1 the image's longer side has `input_side` pixels.
        input_side: Pixels of an image's longer side at run time; written into the model card.
        day_luma: Median luma of the upper third, 0..255, from which on an image counts as taken by day. Label maps made
            from the RGB image alone are used for those only.
        day: Patterns (as in file names) against "set/name" of pairs that are known to be by day.
        doubtful_buildings: Patterns of pairs in whose label maps a building may as well be a tree.
        pseudo_floor: Least score of a pseudo-box.
        rgb_only: Names of data folders that hold RGB images alone, of anything: what is not a person or a vehicle there
            is learnt as such, and the boxes are what the detectors see. They are shown alone or with a dead thermal
            camera.
        hint_tensors: Names of the tensors of the first detector that the term "relations" holds the network's features
            against; empty: the last ones at an eighth and a sixteenth of the size on its way down.
        mosaic: Chance that a crop is put together from four, each at half the scale (Bochkovskiy et al. 2020).
    """

    fusion: tuple[str, ...] = ("sage_fast", "sage")
    fusion_shares: tuple[float, ...] = (0.8, 0.2)
    rgb_alone: float = 0.05
    thermal_alone: float = 0.05
    rgb_dead: float = 0.1
    thermal_dead: float = 0.03
    pool: int = 768
    refresh: float = 1.0
    synthetic_share: float = 0.15
    drawn_weight: float = 1.0
    smallest: float = 0.5
    largest: float = 1.6
    input_side: int = 640
    day_luma: float = 150.0
    day: tuple[str, ...] = ()
    doubtful_buildings: tuple[str, ...] = ()
    pseudo_floor: float = 0.1
    rgb_only: tuple[str, ...] = ()
    mosaic: float = 0.0
    hint_tensors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.fusion or len(self.fusion) != len(self.fusion_shares) or min(self.fusion_shares) < 0:
            raise ParameterError(
                f"perception: fusion names {len(self.fusion)} models and fusion_shares has {len(self.fusion_shares)} "
                "numbers; expected one share, 0 or more, for each model"
            )
        shown = (self.rgb_alone, self.thermal_alone, self.rgb_dead, self.thermal_dead)
        chances = (*shown, self.synthetic_share, self.mosaic)
        if min(chances) < 0 or max(chances) > 1 or sum(shown) > 1:
            raise ParameterError(
                "perception: chances must be in 0..1, and those of lone and dead cameras at most 1 in all"
            )
        if self.pool < 1 or self.refresh < 0 or not 0 < self.smallest <= self.largest or self.input_side % 32:
            raise ParameterError(
                "perception: pool must be 1 or more, refresh 0 or more, 0 < smallest <= largest, and input_side a "
                "multiple of 32"
            )
