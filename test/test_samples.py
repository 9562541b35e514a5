"""Pairs that are drawn: from the right side of the split, from all sets, the same for a seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from training_data import write_pairs

from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.sources.samples import count_by_set, draw_samples
from sage_fusion_ros.sources.split import SplitSettings


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("sets")
    return [write_pairs(root / "large", 11), write_pairs(root / "small", 3)]


def test_the_sides_of_the_split_never_meet(sets: list[Path]) -> None:
    split = SplitSettings(exclude=("large/00[2-5]",), every_fifth=("small",))
    learnt, kept = draw_samples(sets, split, 99, 99, 0)
    assert {sample.name for sample in kept} == {"small/000", *(f"large/00{index}" for index in range(2, 6))}
    assert not {sample.name for sample in learnt} & {sample.name for sample in kept}
    assert len(learnt) + len(kept) == 14


def test_sets_take_turns(sets: list[Path]) -> None:
    learnt, _ = draw_samples(sets, None, 4, 1, 0)
    assert count_by_set(learnt) == {"large": 2, "small": 2}
    learnt, _ = draw_samples(sets, None, 7, 1, 0)
    assert count_by_set(learnt) == {"large": 5, "small": 2}


def test_a_seed_draws_the_same(sets: list[Path]) -> None:
    first, again, other = (draw_samples(sets, None, 5, 2, seed)[0] for seed in (1, 1, 2))
    assert [sample.name for sample in first] == [sample.name for sample in again]
    assert [sample.name for sample in first] != [sample.name for sample in other]
    np.testing.assert_array_equal(first[0].rgb, again[0].rgb)


def test_thermal_has_the_rgb_images_size(sets: list[Path]) -> None:
    learnt, kept = draw_samples(sets, None, 2, 2, 0)
    for sample in learnt + kept:
        assert sample.rgb.dtype == sample.thermal.dtype == np.uint8
        assert sample.rgb.shape == (64, 80, 3)
        assert sample.thermal.shape == (64, 80)


def test_an_empty_side_is_an_error(sets: list[Path]) -> None:
    with pytest.raises(SourceError, match="none that is kept out"):
        draw_samples(sets, SplitSettings(), 2, 2, 0)
    with pytest.raises(SourceError, match="none that may be trained on"):
        draw_samples(sets, SplitSettings(exclude=("*",)), 2, 2, 0)
