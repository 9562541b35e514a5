"""The two colour formulas: hand-computed values, and how far they may lie apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mock_models import make_model

from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.pipeline.colour import COLOURS, find_colour, published_recolour
from sage_fusion_ros.pipeline.fuse import load_fuser
from sage_fusion_ros.pipeline.network import NetworkOptions


def one_colour(red: int, green: int, blue: int) -> np.ndarray:
    return np.full((8, 8, 3), (red, green, blue), np.uint8)


def unit(level: float) -> np.ndarray:
    return np.full((8, 8), level / 255, np.float32)


def test_the_published_formula_tints_grey_as_computed_by_hand() -> None:
    """Cr = Cb = 128, half a level above the formula's zero: 100 + 0.70, 100 - 0.53 and 100 + 0.89, halves up."""
    fused = published_recolour(one_colour(50, 50, 50), unit(50), unit(100))
    assert (fused == (101, 99, 101)).all()


def test_the_published_formula_on_a_colour_computed_by_hand() -> None:
    """Pure red has Cr 255 and Cb 85, 127.5 above and 42.5 below zero: 150 + 178.9, 150 - 91.0 + 14.6, 150 - 75.4."""
    fused = published_recolour(one_colour(255, 0, 0), unit(76), unit(150))
    assert (fused == (255, 74, 75)).all()


def test_the_standard_formula_keeps_grey_grey() -> None:
    fused = COLOURS["standard"].recolour(one_colour(50, 50, 50), unit(50), unit(100))
    assert (fused == 100).all()


@given(st.integers(0, 2**32 - 1))
def test_the_two_lie_three_levels_apart_at_most_where_nothing_clips(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rgb = rng.integers(60, 196, (8, 8, 3)).astype(np.uint8)
    change = rng.integers(-50, 51)
    results = []
    for colour in COLOURS.values():
        before = colour.luma(rgb).astype(np.float32) / np.float32(255)
        results.append(colour.recolour(rgb, before, before + np.float32(change / 255)).astype(int))
    assert np.abs(results[0] - results[1]).max() <= 3


def test_the_published_luma_is_the_same_but_for_rounding() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (300, 300, 3)).astype(np.uint8)
    ours, theirs = (COLOURS[name].luma(rgb).astype(int) for name in ("standard", "published"))
    assert np.abs(ours - theirs).max() <= 1
    assert 0 < (ours != theirs).mean() < 0.005


def test_a_fuser_takes_the_formula_it_is_given(tmp_path) -> None:
    model = make_model(tmp_path / "max", "Max")
    rgb, thermal = one_colour(50, 50, 50), np.full((8, 8), 100, np.uint8)
    for name, expected in (("standard", (100, 100, 100)), ("published", (101, 99, 101))):
        fuser = load_fuser(model, NetworkOptions(device="cpu"), colour=name)
        assert (fuser.fuse(rgb, thermal) == expected).all()
        fuser.close()


def test_an_unknown_formula_is_refused_with_those_there_are() -> None:
    with pytest.raises(ParameterError, match="named 'bt709'; there are standard, published"):
        find_colour("bt709")
