"""The parts of sage-fusion evaluate by themselves: whose file is whose, what is chosen, and the arithmetic."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from evaluation_data import write_png, write_set
from hypothesis import given
from hypothesis import strategies as st

from sage_fusion_ros.errors import ImageFormatError, ParameterError, SourceError
from sage_fusion_ros.evaluation.comparison.baselines import read_baselines
from sage_fusion_ros.evaluation.comparison.contenders import PlainContender, ResultsContender, make_pair
from sage_fusion_ros.evaluation.comparison.measures import PairResult
from sage_fusion_ros.evaluation.comparison.pictures import CROPS, choose_pairs, find_differences
from sage_fusion_ros.evaluation.comparison.report import grouped_skips
from sage_fusion_ros.evaluation.comparison.result_files import match_results
from sage_fusion_ros.evaluation.comparison.sets import Item, SelectionRules, select_pairs
from sage_fusion_ros.evaluation.comparison.summary import Row, compare, overall_means, set_means
from sage_fusion_ros.evaluation.comparison.table import Line, Table, as_text


def item(set_name: str, name: str) -> Item:
    return Item(set_name, name, Path(), Path(), f"rgb/{name}", True, False)


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        write_png(folder / name, np.zeros((8, 8), np.uint8))
    return folder


def test_results_are_found_by_set_by_name_and_by_stem(tmp_path: Path) -> None:
    items = [item("one", "a"), item("one", "clip/0001"), item("two", "b"), item("two", "deep/c")]
    folder = touch(tmp_path / "r", "one/a.png", "clip/0001.jpg", "b.bmp", "c.png", "other.png", ".a.png")
    found = match_results("paper", folder, items, {})
    assert {key: path.relative_to(folder).as_posix() for key, path in found.items()} == {
        "one/a": "one/a.png",
        "one/clip/0001": "clip/0001.jpg",
        "two/b": "b.bmp",
        "two/deep/c": "c.png",
    }


def test_a_result_is_never_held_against_another_sets_pair(tmp_path: Path) -> None:
    items = [item("one", "a"), item("two", "a"), item("two", "b")]
    folder = touch(tmp_path / "r", "a.png", "b.png")
    assert list(match_results("paper", folder, items, {})) == ["two/b"]
    with pytest.raises(ParameterError, match="'a' fits several of them"):
        match_results("paper", touch(tmp_path / "only", "a.png"), items, {})
    # In the folder of a set it belongs to that set.
    inside = touch(tmp_path / "one" / "fused", "a.png")
    assert list(match_results("paper", inside, items, {"one": tmp_path / "one", "two": tmp_path / "two"})) == ["one/a"]
    with pytest.raises(ParameterError, match="expected files named as the RGB images are"):
        match_results("paper", touch(tmp_path / "r2", "z.png"), items, {})


def test_results_are_checked_for_size_and_grey_ones_get_their_colours(tmp_path: Path) -> None:
    rgb = np.full((16, 24, 3), (90, 60, 40), np.uint8)
    pair = make_pair("s/a", rgb, np.zeros((16, 24), np.uint8))
    grey = write_png(tmp_path / "grey.png", np.full((16, 24), 120, np.uint8))
    fused = ResultsContender("paper", {"s/a": grey}).fuse(pair)
    assert (fused.luma == 120).all()
    assert (np.diff(fused.rgb.astype(int), axis=2) == [-30, -20]).all()
    colour = write_png(tmp_path / "colour.png", rgb)
    assert (ResultsContender("paper", {"s/a": colour}).fuse(pair).rgb == rgb).all()
    small = write_png(tmp_path / "small.png", np.zeros((16, 16), np.uint8))
    with pytest.raises(ImageFormatError, match="16x16 and the RGB image is 24x16"):
        ResultsContender("paper", {"s/a": small}).fuse(pair)


def test_the_average_rounds_halves_up() -> None:
    """Rounding to even numbers would leave every second grey level half empty."""
    pair = make_pair("s/a", np.full((4, 4, 3), 10, np.uint8), np.array([[11, 12, 13, 200]] * 4, np.uint8))
    assert PlainContender("average", "network").fuse(pair).luma[0].tolist() == [11, 11, 12, 105]


def test_thermal_of_another_size_is_resized_to_rgb() -> None:
    pair = make_pair("s/a", np.zeros((48, 64, 3), np.uint8), np.full((24, 32), 7, np.uint8))
    assert pair.thermal.shape == (48, 64)


results = st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 30), st.booleans()), unique_by=lambda r: r[:2])


@given(results, st.integers(0, 40))
def test_pictures_are_shared_out_over_sets_and_light(chosen: list[tuple[str, int, bool]], count: int) -> None:
    pairs = [PairResult(item(name, f"{index:02d}"), bright=bright) for name, index, bright in chosen]
    picked = choose_pairs(pairs, count)
    keys = [result.item.key for result in picked]
    assert keys == sorted(set(keys))
    assert len(picked) == min(count, len(pairs))
    for one in "ABC":
        for other in "ABC":
            have = [sum(r.item.set_name == name for r in picked) for name in (one, other)]
            # A set has two pictures fewer than another only when it has no more.
            assert have[0] >= have[1] - 1 or have[0] == sum(r.item.set_name == one for r in pairs)
        dark = [sum(r.item.set_name == one and r.bright is bright for r in picked) for bright in (False, True)]
        whole = [sum(r.item.set_name == one and r.bright is bright for r in pairs) for bright in (False, True)]
        assert abs(dark[0] - dark[1]) <= 1 or min(zip(dark, whole, strict=True))[0] == min(whole)


def test_crops_find_what_was_planted() -> None:
    """One of two pictures is brighter in a corner, one blurred in another, and one has a pattern in the flat sky."""
    rng = np.random.default_rng(1)
    base = np.full((240, 320), 120, np.uint8)
    base[120:] = cv2.GaussianBlur(rng.integers(0, 256, (120, 320)).astype(np.uint8), (0, 0), 1)
    first, second = base.copy(), base.copy()
    first[180:240, 0:60] //= 2
    second[150:210, 250:310] = cv2.blur(base[150:210, 250:310], (9, 9))
    second[20:80:4, 200:260] += 8
    sources = [np.dstack([image] * 3) for image in (base, np.full_like(base, 60))]
    found = find_differences([np.dstack([image] * 3) for image in (first, second)], sources)
    assert [what for what, _ in found] == list(CROPS)
    for (_, (left, top, side)), (x, y) in zip(found, [(30, 210), (280, 180), (230, 50)], strict=True):
        assert left <= x < left + side
        assert top <= y < top + side


def test_equal_pictures_have_no_crops() -> None:
    image = np.full((64, 64, 3), 90, np.uint8)
    assert find_differences([image, image], [image, image]) == []


def figures(**values: float | None) -> dict[str, float | None]:
    return dict(values)


IMAGES = {
    "one": {
        "a": {"ours": figures(EN=4.0, SD=10.0), "theirs": figures(EN=2.0, SD=20.0)},
        "b": {"ours": figures(EN=6.0, SD=None)},
    },
    "two": {"c": {"ours": figures(EN=1.0, SD=30.0), "theirs": figures(EN=3.0)}},
}
ROWS = [Row("ours", "model"), Row("theirs", "given")]


def test_means_by_hand() -> None:
    means = set_means(IMAGES, ROWS)
    assert means["one"]["ours"] == {"EN": 5.0, "SD": 10.0, "pairs": 2}
    assert means["one"]["theirs"] == {"EN": 2.0, "SD": 20.0, "pairs": 1}
    # Each set weighs alike, and who lacks a pair has no mean over the sets.
    assert overall_means(means, ROWS) == {"ours": {"EN": 3.0, "SD": 20.0}}


def test_ratios_by_hand() -> None:
    """On the pairs that both have; only metrics that both have in every set."""
    compared = compare(IMAGES, "ours", "theirs", ["EN", "SD"])
    assert compared == {
        "ratios": {"EN": (4 + 1) / (2 + 3)},
        "above": {"mean": [], "one": ["EN"], "two": []},
        "sets": 2,
        "pairs": 2,
    }
    assert compare(IMAGES, "ours", "nobody", ["EN"]) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "hold list"),
        ("{", "not valid JSON"),
        ("{}", "neither 'images'"),
        ('{"images": {"set": {"a.png": {"m": {"EN": "high"}}}}}', "a.png: m: EN is 'high'; expected a number"),
        ('{"images": {"set": {"a.png": {"m": {"EN": NaN}}}}}', "EN is nan"),
        ('{"images": {"set": ["a.png"]}}', "set holds list; expected an object"),
        ('{"net": {"sets": {"set": {"m": 0.5}}}}', "net: set: m holds float"),
    ],
)
def test_baselines_of_another_form_are_told_where(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(ParameterError, match=message):
        read_baselines([tmp_path / "b.json"])


def test_baselines_name_detectors_by_the_beginning_of_their_files(tmp_path: Path) -> None:
    sets = {"sets": {"s": {"m": {"bike": 0.5, "n_bike": 9}}}}
    (tmp_path / "b.json").write_text(json.dumps({"yolox": sets, "yolox_nano": {"sets": {}}, "note": "as measured"}))
    baselines = read_baselines([tmp_path / "b.json"])
    assert baselines.detector("YOLOX_tiny_416") == {"s": {"m": {"bicycle": 0.5, "n_bicycle": 9}}}
    assert baselines.detector("yolox_nano_coco") == {}
    assert baselines.detector("fastestdet") == {}
    assert baselines.notes == ["as measured"]


def test_boxes_without_a_pair_are_named(tmp_path: Path) -> None:
    data = write_set(tmp_path / "set", ["a", "b"], boxes=True)
    (data / "rgb" / "b.png").unlink()
    chosen = select_pairs([data], SelectionRules(boxes="all"))
    assert list(chosen.sets[0].boxes) == ["a"]
    assert ("set/b", "boxes_coco.json has boxes for it, and it is not there") in chosen.skipped


def test_a_broken_annotation_is_an_error(tmp_path: Path) -> None:
    data = write_set(tmp_path / "set", ["a"])
    (data / "boxes_coco.json").write_text("[1, 2]")
    with pytest.raises(SourceError, match="no COCO annotation"):
        select_pairs([data], SelectionRules(boxes="all"))
    assert len(select_pairs([data], SelectionRules()).sets[0].items) == 1


def test_a_table_in_text() -> None:
    lines = [Line("ours", "model", ["1.5", "3/6"], frozenset({0})), Line("a", "plain", ["10.5", "-"])]
    table = Table("T", ["EN", "set\nabove"], lines, ["A foot."])
    assert as_text(table).splitlines() == [
        "T",
        "               set",
        "         EN  above",
        "ours   1.5*    3/6",
        "a     10.5       -",
        "  A foot.",
    ]
    assert "\033[1m 1.5\033[0m" in as_text(table, bold=True)


def test_skips_of_one_reason_are_counted() -> None:
    skips = [(f"set/{index}", "gone") for index in range(9)] + [("set/x", "broken")]
    assert grouped_skips(skips) == [
        *(f"set/{index}: gone" for index in range(3)),
        "... and 6 more: gone",
        "set/x: broken",
    ]
