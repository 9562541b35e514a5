"""The change from frame to frame: made sequences with known answers."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_fusion_ros.errors import ImageFormatError, ParameterError
from sage_fusion_ros.evaluation.clip_steps import BLOCK, find_repeats
from sage_fusion_ros.evaluation.temporal import (
    TemporalChange,
    noisy_copies,
    over_greater_source,
    still_change,
    still_pair,
    temporal_change,
)

SIZE = (96, 128)


def flat(level, size=SIZE):
    return np.full(size, level, np.uint8)


def noisy(level, sigma, seed, size=SIZE):
    return np.clip(np.rint(np.random.default_rng(seed).normal(level, sigma, size)), 0, 255).astype(np.uint8)


def clip_of(frames):
    clip = TemporalChange()
    for frame in frames:
        clip.add(frame)
    return clip


def test_a_known_change_in_grey_levels():
    change = temporal_change(
        {"rgb": [flat(50), flat(51), flat(50)], "thermal": [flat(90), flat(90), flat(92)], "mine": [flat(70)] * 3}
    )
    assert change == {"rgb": 1.0, "thermal": 1.0, "mine": 0.0, "maximum": 1.0}


def test_noise_excludes_no_pixel_and_is_measured_as_it_is():
    frames = [{"rgb": noisy(100, 8, i), "thermal": noisy(40, 2, 100 + i), "half": flat(80)} for i in range(12)]
    group = clip_of(frames).groups()["all"]
    assert group.share == 1.0
    assert group.steps == 11
    expected = 8 * math.sqrt(2) * math.sqrt(2 / math.pi)  # mean |difference| of two normal values
    assert group.change["rgb"] == pytest.approx(expected, rel=0.02)
    assert group.change["maximum"] == pytest.approx(expected, rel=0.02)
    assert group.ratios["half"] == 0
    assert group.flicker["rgb"] < group.change["rgb"] / 8, "a block's mean hardly moves with noise"


def test_what_moves_in_one_source_is_not_measured():
    def frame(i):
        rgb = noisy(60, 3, i)
        rgb[32:80, 8 * i : 8 * i + 16] = 200
        return {"rgb": rgb, "thermal": flat(60), "copy": rgb}

    group = clip_of(map(frame, range(8))).groups()["all"]
    assert 0.7 < group.share < 0.95
    quiet = clip_of({"rgb": noisy(60, 3, i), "thermal": flat(60)} for i in range(8)).groups()["all"]
    assert group.change["rgb"] == pytest.approx(quiet.change["rgb"], rel=0.05)
    assert group.change["copy"] == group.change["rgb"]


def test_flicker_that_noise_hides_from_the_change_is_seen_in_the_block_means():
    frames = []
    for i in range(10):
        rgb = noisy(100, 8, i)
        frames.append({"rgb": rgb, "thermal": flat(40), "flickering": rgb + np.uint8(2 * (i % 2)), "steady": rgb})
    group = clip_of(frames).groups()["all"]
    assert group.ratios["flickering"] < 1.1
    assert group.flicker["steady"] < 0.8
    assert group.flicker["flickering"] == pytest.approx(2, abs=0.2)


@pytest.mark.parametrize("copies", [2, 3])
@pytest.mark.parametrize("source", ["rgb", "thermal"])
def test_repeated_frames_are_named_and_measured_apart(source, copies):
    other = "thermal" if source == "rgb" else "rgb"
    frames = [
        {source: noisy(100, 8, i // copies), other: noisy(60, 2, 1000 + i), "same": noisy(100, 8, i // copies)}
        for i in range(24)
    ]
    groups = clip_of(frames).groups()
    assert set(groups) == {"all", "fresh", f"{source} repeats"}
    fresh = 24 // copies - 1
    assert groups["fresh"].steps == fresh
    assert groups[f"{source} repeats"].steps == 23 - fresh
    assert groups[f"{source} repeats"].change[source] == 0
    assert groups["fresh"].change[source] == pytest.approx(9, rel=0.05)
    assert groups["all"].change[source] == pytest.approx(9 * fresh / 23, rel=0.05)


def test_a_scene_that_quietens_down_or_is_cut_is_not_called_repeated():
    assert not any(find_repeats([8.0] * 10 + [3.0] * 10))
    assert not any(find_repeats([1.0, 1.1, 60.0, 0.9, 1.0, 1.1, 0.9]))
    assert not any(find_repeats([0.0] * 6))
    assert find_repeats([0.3, 8, 0.3, 8, 0.3, 8]) == [True, False] * 3
    assert find_repeats([]) == []


def test_a_jump_of_a_whole_source_is_in_no_other_group():
    levels = [40, 40, 75, 75, 75, 45, 45]
    frames = [{"rgb": noisy(100, 1, i), "thermal": flat(t), "mean": flat((100 + t) // 2)} for i, t in enumerate(levels)]
    groups = clip_of(frames).groups()
    assert groups["thermal jumps"].steps == 2
    assert groups["thermal jumps"].change["thermal"] == pytest.approx(32.5)
    assert groups["thermal jumps"].ratios["mean"] == pytest.approx(16 / 32.5)
    assert groups["all"].steps == 4
    assert groups["all"].change["thermal"] == 0
    assert "thermal repeats" not in groups, "its frames do not change, with or without the jumps"


def test_a_clip_without_anything_steady_measures_nothing():
    frames = [{"rgb": flat(10 + 60 * i), "thermal": flat(50)} for i in range(4)]
    groups = clip_of(frames).groups()
    assert set(groups) == {"rgb jumps"}
    change = temporal_change({name: [frame[name] for frame in frames] for name in ("rgb", "thermal")})
    assert set(change) == {"rgb", "thermal", "maximum"}
    assert all(map(math.isnan, change.values()))
    # Half of the blocks rise and half fall: everything moves, and nothing shifts as a whole.
    board = np.kron(np.indices((6, 8)).sum(0) % 2, np.ones((BLOCK, BLOCK))).astype(np.uint8) * 50
    moving = clip_of({"rgb": board if i % 2 else 50 - board, "thermal": flat(50)} for i in range(4)).groups()["all"]
    assert (moving.steps, moving.share) == (3, 0.0)
    assert math.isnan(moving.change["rgb"])


def test_clips_add_up_and_cuts_are_no_steps():
    clips = [[{"rgb": noisy(50 + 40 * c, 4, i), "thermal": noisy(70, 2, 50 + i)} for i in range(6)] for c in range(3)]
    together = TemporalChange()
    for clip in clips:
        for frame in clip:
            together.add(frame)
        together.cut()
    parts = [pickle.loads(pickle.dumps(clip_of(clip))) for clip in clips]
    total = parts[0] + parts[1] + parts[2]
    assert total.groups() == together.groups()
    assert total.groups()["all"].steps == 15
    total.add(clips[0][0])
    assert total.groups()["all"].steps == 15, "the first frame after a sum begins a clip"


def test_memory_does_not_grow_with_the_clip():
    clip = TemporalChange()
    sizes = []
    for i in range(60):
        clip.add({"rgb": noisy(60, 3, i), "thermal": flat(90)})
        sizes.append(len(pickle.dumps(clip)))
    assert sizes[-1] - sizes[1] < 60 * 1000 < SIZE[0] * SIZE[1] * 10


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.permutations(range(6)))
def test_the_order_of_fused_names_and_the_direction_of_time_do_not_matter(seed, order):
    rng = np.random.default_rng(seed)
    names = [f"way{i}" for i in order]
    frames = [
        {"rgb": rng.integers(80, 90, (32, 48), np.uint8), "thermal": rng.integers(20, 25, (32, 48), np.uint8)}
        | {name: rng.integers(0, 255, (32, 48), np.uint8) for name in names}
        for _ in range(4)
    ]
    forward, backward = clip_of(frames).groups()["all"], clip_of(frames[::-1]).groups()["all"]
    for name, value in forward.change.items():
        assert backward.change[name] == pytest.approx(value)
    shuffled = clip_of({k: frame[k] for k in sorted(frame)} for frame in frames).groups()["all"]
    assert shuffled.change == forward.change


def test_the_still_pair_has_independent_noise_of_the_size_asked_for():
    rgb = np.dstack([flat(120), flat(90), flat(60)])
    first, second = still_pair(rgb, flat(100), 0.02, seed=3)
    noises = [np.float64(pair[0][..., c]) - rgb[..., c] for pair in (first, second) for c in range(3)]
    noises += [np.float64(pair[1]) - 100 for pair in (first, second)]
    assert np.array_equal(noises[0], noises[1]), "one noise for the three channels"
    independent = [noises[0], noises[3], noises[6], noises[7]]
    assert [noise.std() for noise in independent] == pytest.approx([5.1] * 4, rel=0.03)
    correlation = np.corrcoef([noise.ravel() for noise in independent])
    assert np.abs(correlation - np.eye(4)).max() < 0.04
    again = still_pair(rgb, flat(100), 0.02, seed=3)
    assert all(
        np.array_equal(a, b) for x, y in zip((first, second), again, strict=True) for a, b in zip(x, y, strict=True)
    )
    assert not np.array_equal(still_pair(rgb, flat(100), 0.02, seed=4)[0][0], first[0])


def test_on_a_still_pair_a_mean_of_the_sources_has_less_noise_by_the_square_root_of_two():
    pairs = still_pair(flat(100), flat(100), 0.04)
    mean = [np.rint(a / 2 + b / 2).astype(np.uint8) for a, b in pairs]
    change = still_change({"rgb": [p[0] for p in pairs], "thermal": [p[1] for p in pairs], "mean": mean})
    ratios = over_greater_source(change)
    assert ratios["mean"] == pytest.approx(math.sqrt(0.5), rel=0.03)
    assert ratios["maximum"] == pytest.approx(math.sqrt(1 - 1 / math.pi), rel=0.03)


def test_without_noise_nothing_changes_and_no_ratio_is_made_up():
    image = noisy(90, 20, 0)
    first, second = noisy_copies(image, 0.0, 1)
    assert np.array_equal(first, image)
    assert np.array_equal(second, image)
    assert math.isnan(over_greater_source(still_change({"rgb": [image] * 2, "thermal": [image] * 2}))["maximum"])


@pytest.mark.parametrize(
    ("frames", "text"),
    [
        ({"rgb": [flat(1)] * 2}, "'thermal' is missing"),
        ({"rgb": [flat(1)] * 2, "thermal": [flat(1)] * 3}, "as many of each name"),
        ({"rgb": [flat(1)], "thermal": [flat(1)]}, "two or more"),
        ({"rgb": [flat(1)] * 2, "thermal": [flat(1, (96, 64))] * 2}, r"'thermal' is uint8 of shape \(96, 64\)"),
        ({"rgb": [flat(1)] * 2, "thermal": [flat(1)] * 2, "x": [flat(1) / 255] * 2}, "'x' is float64"),
        ({"rgb": [flat(1, (8, 8))] * 2, "thermal": [flat(1, (8, 8))] * 2}, "16 pixels or more"),
        ({"rgb": [flat(1), flat(1, (96, 64))], "thermal": [flat(1), flat(1, (96, 64))]}, "of 64x96 after one with"),
    ],
)
def test_frames_that_do_not_fit_are_named(frames, text):
    with pytest.raises(ImageFormatError, match=text):
        temporal_change(frames)


def test_a_name_that_appears_later_and_a_wrong_sigma_are_refused():
    clip = clip_of([{"rgb": flat(1), "thermal": flat(2)}])
    with pytest.raises(ImageFormatError, match="late"):
        clip.add({"rgb": flat(1), "thermal": flat(2), "late": flat(2)})
    clip.add({"rgb": flat(1), "thermal": flat(2)})
    assert clip.groups()["all"].steps == 1, "the frame that was refused is forgotten"
    with pytest.raises(ParameterError, match="sigma is 5"):
        noisy_copies(flat(1), 5, 0)
    with pytest.raises(ImageFormatError, match="float64"):
        noisy_copies(np.zeros((4, 4)), 0.1, 0)
    with pytest.raises(ImageFormatError, match="two frames"):
        still_change({"rgb": [flat(1)] * 3, "thermal": [flat(1)] * 3})
