"""A few pairs out of sets of pairs, drawn by a seed from one side of a split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.pipeline.registration import resize_to
from sage_fusion_ros.pipeline.thermal import ThermalNormaliser
from sage_fusion_ros.sources.images import read_rgb, read_thermal
from sage_fusion_ros.sources.layouts import PairPath, find_pairs
from sage_fusion_ros.sources.split import SplitSettings, training_names, validation_names


@dataclass(frozen=True)
class Sample:
    """A pair in memory, as the node would fuse it.

    Attributes:
        name: "set/name".
        rgb: uint8 HxWx3 RGB.
        thermal: uint8 HxW, normalised, of the same size.
    """

    name: str
    rgb: npt.NDArray[np.uint8]
    thermal: npt.NDArray[np.uint8]


def draw_samples(
    roots: Sequence[Path], split: SplitSettings | None, learnt_from: int, kept_out: int, seed: int
) -> tuple[list[Sample], list[Sample]]:
    """Draws pairs that may be trained on, and pairs that may not.

    The sets take turns, so that a small one is not lost among those of a large one.

    Args:
        roots: Folders of pairs, complete ones; see training_names.
        split: The rule; None: every fifth file of each set is kept out.
        learnt_from: How many of the first kind are wanted, at least 1; fewer where there are fewer.
        kept_out: How many of the second kind, likewise.
        seed: Of the draw.

    Raises:
        SourceError: A folder holds no pairs, a drawn image can't be read, or a side of the split is empty.
    """
    folders = [Path(root).expanduser().resolve() for root in roots]
    if split is None:
        split = SplitSettings(every_fifth=tuple(folder.name for folder in folders))
    paths = {f"{folder.name}/{pair.name}": pair for folder in folders for pair in find_pairs(folder).pairs}
    rng = np.random.default_rng(seed)
    drawn = []
    for names, count, what in (
        (training_names(list(paths), split), learnt_from, "that may be trained on"),
        (validation_names(list(paths), split), kept_out, "that is kept out of training"),
    ):
        if not names:
            raise SourceError(
                f"{', '.join(map(str, roots))}: of {len(paths)} pairs the split leaves none {what}; add sets, or give "
                "another split"
            )
        drawn.append([_read(name, paths[name]) for name in _draw(names, count, rng)])
    return drawn[0], drawn[1]


def count_by_set(samples: Sequence[Sample]) -> dict[str, int]:
    """How many of each set."""
    sets = [sample.name.split("/")[0] for sample in samples]
    return {name: sets.count(name) for name in sorted(set(sets))}


def _draw(names: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    """Names from all sets in turns, in the order in which they were drawn."""
    sets: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        sets[name.split("/")[0]].append(name)
    for members in sets.values():
        rng.shuffle(members)
    drawn: list[str] = []
    while len(drawn) < count and any(sets.values()):
        drawn += [members.pop() for members in sets.values() if members]
    return drawn[:count]


def _read(name: str, pair: PairPath) -> Sample:
    rgb = read_rgb(pair.rgb)
    thermal = ThermalNormaliser()(read_thermal(pair.thermal))
    return Sample(name, rgb, resize_to(thermal, *rgb.shape[:2]))
