"""sage-fusion evaluate on made sets: what it measures, what it leaves behind, what it skips and refuses."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_data import rgb_image, thermal_image, write_png, write_set
from mock_detector import write_detector
from mock_models import make_model
from source_files import write_video

from sage_fusion_ros.cli import evaluate
from sage_fusion_ros.cli.main import main
from sage_fusion_ros.errors import ModelError, ParameterError, SourceError
from sage_fusion_ros.evaluation.metrics.profiles import METRICS, score

QUICK = ("--processes", 1, "--pictures", 0, "--still-pairs", 0, "--metrics", "EN", "SD")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "models" / "brighter", "Max")


def run(*words: object) -> int:
    parser = argparse.ArgumentParser()
    evaluate.add_parser(parser.add_subparsers())
    return evaluate.run(parser.parse_args(["evaluate", *map(str, words)]))


def report(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))


def test_one_set_with_everything_by_default(tmp_path, model, capsys):
    data = write_set(tmp_path / "night", ["a", "b"], bright=False)
    out = tmp_path / "out"
    assert run("--data", data, "--models", model, "--processes", 1, "--output", out) == 0
    facts = report(out)
    figures = facts["images"]["night/a"]["figures"]
    assert list(figures["brighter"])[:9] == list(METRICS)
    luma = np.asarray(rgb_image(0, False) @ [0.299, 0.587, 0.114])
    hot = thermal_image(0) >= 250
    assert facts["images"]["night/a"] | {"figures": 0} == {"bright": False, "size": [128, 128], "figures": 0}
    assert figures["brighter"]["burnt"] == pytest.approx(hot.mean(), abs=0.01)
    assert figures["rgb"]["SD"] == pytest.approx(luma.std(), abs=0.1)
    assert set(figures["rgb"]) == {"EN", "SD", "SF", "AG", "burnt"}
    # The network is the maximum, and so is the plain maximum.
    assert figures["brighter"] == pytest.approx(figures["maximum"], rel=1e-3)
    assert [row["kind"] for row in facts["rows"]] == ["model"] + 4 * ["plain"]
    assert facts["sets"] == {"night": {"scored": 2, "bright": 0, "boxed": 0}}
    assert facts["skipped"] == []
    assert len(facts["still_scenes"]) == 2 * 3
    assert facts["still_scenes"][0]["ratios"]["maximum"] < 1.25
    assert facts["means"]["sets"]["night"]["brighter"]["pairs"] == 2
    shown = capsys.readouterr().out
    assert "night, 2 pairs, 0 bright" in shown
    assert "central differences" in shown
    assert "BT.601" in shown


def test_the_page_needs_nothing_beside_it(tmp_path, model):
    data = write_set(tmp_path / "day<b>", ["a", "b", "c"])
    run("--data", data, "--models", model, *QUICK[:2], *QUICK[4:], "--pictures", 2, "--output", tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?!data:image|#|\{)[^"]*"', page)
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]*", "", page)
    assert "<b>," not in page
    assert "day&lt;b&gt;/a" in page
    # rgb, thermal, the model and the maximum, two pairs; and crops of each.
    assert page.count("data:image/jpeg") == 2 * 4
    assert page.count("data:image/png") % 4 == 0
    assert page.count("data:image/png") > 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["evaluation.json", "index.html"]


def test_a_broken_image_is_named_and_the_rest_goes_on(tmp_path, model, capsys):
    data = write_set(tmp_path / "set", ["a", "b", "c"])
    whole = (data / "rgb" / "b.png").read_bytes()
    (data / "rgb" / "b.png").write_bytes(whole[: len(whole) // 2])
    (data / "thermal" / "alone.png").write_bytes((data / "thermal" / "a.png").read_bytes())
    assert run("--data", data, "--models", model, *QUICK, "--output", tmp_path / "out") == 1
    facts = report(tmp_path / "out")
    assert list(facts["images"]) == ["set/a", "set/c"]
    reasons = dict(map(tuple, facts["skipped"]))
    assert reasons.keys() == {"set/b", "set/thermal/alone.png"}
    assert "the PNG data ends early" in reasons["set/b"]
    assert "skipped set/b: " in capsys.readouterr().err


def test_nothing_to_score_is_an_error_of_its_own(tmp_path, model, capsys):
    data = write_set(tmp_path / "set", ["a"])
    (data / "thermal" / "a.png").write_bytes(b"")
    assert run("--data", data, "--models", model, *QUICK, "--output", tmp_path / "out") == 2
    assert not (tmp_path / "out").exists()
    assert "nothing could be evaluated" in capsys.readouterr().err


def test_results_of_others_stand_beside_the_models(tmp_path, model):
    data = write_set(tmp_path / "set", ["a", "b", "c"])
    other = write_set(tmp_path / "other", ["x"])
    results = tmp_path / "theirs"
    bright = np.full((128, 128), 255, np.uint8)
    write_png(results / "a.png", bright)
    write_png(results / "b.jpg", np.zeros((64, 128, 3), np.uint8))
    words = ("--data", data, other, "--models", model, "--results", f"paper={results}")
    assert run(*words, *QUICK, "--output", tmp_path / "out") == 1
    facts = report(tmp_path / "out")
    assert facts["images"]["set/a"]["figures"]["paper"] | {"likeness": 0} == {
        "EN": 0,
        "SD": 0,
        "burnt": 1,
        "likeness": 0,
    }
    reasons = dict(map(tuple, facts["skipped"]))
    assert reasons["set/c, paper"] == "paper has no image for it"
    assert "128x64 and the RGB image is 128x128" in reasons["set/b, paper"]
    assert "paper has no images of other." in facts["notes"]
    # Ratios are over the one pair that both have; the mean over the sets has no row for one who lacks pairs.
    assert facts["against"]["brighter"]["paper"]["pairs"] == 1
    assert "paper" not in facts["means"]["overall"]
    assert facts["means"]["sets"]["set"]["paper"]["pairs"] == 1


def test_given_figures_choose_the_pairs_and_stand_beside_ours(tmp_path, model, capsys):
    data = write_set(tmp_path / "set", ["a", "b", "c"])
    images = {f"set/rgb/{name}.jpg": {"theirs": {"EN": 2.0, "SD": 1000.0}, "maximum": {"EN": 1.0}} for name in "ab"}
    images["set/rgb/gone.png"] = {"theirs": {"EN": 9.0}}
    given = tmp_path / "given.json"
    given.write_text(json.dumps({"note": "by hand", "images": {"set": images}}))
    assert run("--data", data, "--models", model, "--baselines", given, *QUICK, "--output", tmp_path / "out") == 1
    facts = report(tmp_path / "out")
    assert list(facts["images"]) == ["set/a", "set/b"]
    assert facts["skipped"] == [["set/rgb/gone", "the baselines list it, and it is not there"]]
    assert facts["means"]["sets"]["set"]["theirs"] == {"EN": 2.0, "SD": 1000.0, "pairs": 2}
    ours = facts["means"]["sets"]["set"]["brighter"]
    compared = facts["against"]["brighter"]["theirs"]
    assert compared["ratios"] == pytest.approx({"EN": ours["EN"] / 2, "SD": ours["SD"] / 1000})
    assert compared["above"] == {"mean": ["EN"], "set": ["EN"]}
    # The maximum was measured too: no second row, but a word on how well both agree.
    assert [row["name"] for row in facts["rows"]] == ["brighter", "theirs", "maximum", "average", "rgb", "thermal"]
    assert any(note.startswith("The given figures of maximum differ") for note in facts["notes"])
    assert facts["baseline_notes"] == ["by hand"]
    assert "brighter against the others" in capsys.readouterr().out


def test_a_split_keeps_what_is_trained_on_out(tmp_path, model):
    data = write_set(tmp_path / "set", list("abcdefg"))
    split = tmp_path / "recipe.yaml"
    split.write_text("split: {every_fifth: [set], exclude: [set/c]}")
    assert run("--data", data, "--models", model, "--split", split, *QUICK, "--output", tmp_path / "out") == 0
    assert list(report(tmp_path / "out")["images"]) == ["set/a", "set/c", "set/f"]


def test_a_limit_spreads_over_the_set(tmp_path, model):
    data = write_set(tmp_path / "set", list("abcde"))
    assert run("--data", data, "--models", model, "--limit", 3, *QUICK, "--output", tmp_path / "out") == 0
    assert list(report(tmp_path / "out")["images"]) == ["set/a", "set/c", "set/e"]


def test_what_a_detector_reads(tmp_path, model, capsys):
    """The warm person is invisible in RGB, plain to see in thermal, and so in the maximum of both."""
    data = write_set(tmp_path / "set", list("abcdef"), bright=False, boxes=True)
    detector = write_detector(tmp_path / "tiny_net.onnx")
    given = tmp_path / "given.json"
    cells = {"theirs": {"people": 0.25, "n_people": 6}, "rgb": {"people": 0.9, "n_people": 6}}
    given.write_text(json.dumps({"tiny": {"sets": {"set": cells}}}))
    words = ("--data", data, "--models", model, "--detector", detector, "--baselines", given, "--limit", 2)
    assert run(*words, *QUICK, "--output", tmp_path / "out") == 0
    facts = report(tmp_path / "out")
    assert facts["sets"]["set"] == {"scored": 2, "bright": 0, "boxed": 6}
    read = facts["detectors"]["tiny_net"]
    assert read["boxes"] == {"set": {"person": 6}}
    assert read["judged"] == "all boxed pairs"
    assert read["rows"]["rgb"]["set"]["person"] == 0
    assert read["rows"]["thermal"]["set"]["person"] > 0.1
    assert read["means"]["brighter"] == pytest.approx(read["means"]["maximum"])
    assert read["means"]["theirs"] == 0.25
    better = read["means"]["better camera, cell by cell"]
    assert better == read["means"]["thermal"]
    difference = read["differences"]["brighter"]["rgb"]
    assert difference["difference"] == pytest.approx(read["means"]["brighter"])
    assert 0 < difference["low"] <= difference["difference"] <= difference["high"]
    shown = capsys.readouterr().out
    assert "What tiny_net reads" in shown
    assert "all boxed pairs (6 of set)" in shown


def test_detectors_may_look_at_the_scored_pairs_alone(tmp_path, model):
    data = write_set(tmp_path / "set", list("abcdefg"), bright=False, boxes=True)
    given = tmp_path / "given.json"
    given.write_text(json.dumps({"tiny": {"sets": {"set": {"theirs": {"person": 0.25, "n_person": 7}}}}}))
    words = ("--data", data, "--models", model, "--detector", write_detector(tmp_path / "tiny.onnx"), "--limit", 5)
    words += ("--boxes", "scored", "--baselines", given)
    assert run(*words, *QUICK, "--output", tmp_path / "out") == 0
    facts = report(tmp_path / "out")
    assert facts["detectors"]["tiny"]["images"] == {"set": 5}
    # Seven boxes were judged there, five are here: no comparison.
    assert "theirs" not in facts["detectors"]["tiny"]["rows"]
    assert any("count other boxes" in note for note in facts["notes"])


def test_clips_of_videos_and_of_frames(tmp_path, model, capsys):
    videos = tmp_path / "videos"
    write_video(videos / "visible" / "walk.mp4", 8)
    write_video(videos / "infrared" / "walk.mp4", 8)
    frames = write_set(tmp_path / "frames" / "one", list("abc"))
    words = ("--data", videos, "--clips", frames.parent, "--models", model, "--clip-frames", 4)
    assert run(*words, *QUICK, "--output", tmp_path / "out") == 0
    clips = report(tmp_path / "out")["clips"]
    assert {name: clip["frames"] for name, clip in clips.items()} == {"frames/one": 3, "videos/walk": 4}
    steps = [group for clip in clips.values() for group in clip["steps"].values()]
    assert all({"rgb", "thermal", "brighter", "maximum"} <= group["change"].keys() for group in steps)
    shown = capsys.readouterr().out
    assert "Steadiness of clips" in shown
    assert "Flicker of clips" in shown


def test_a_clip_that_ends_early_counts_as_far_as_it_goes(tmp_path, model):
    frames = write_set(tmp_path / "frames" / "one", list("abcd"))
    (frames / "rgb" / "d.png").write_bytes(b"broken")
    assert run("--clips", frames.parent, "--models", model, *QUICK, "--output", tmp_path / "out") == 1
    facts = report(tmp_path / "out")
    assert facts["clips"]["frames/one"]["frames"] == 3
    assert facts["skipped"][0][0] == "frames/one, from frame 3 on"


def test_the_networks_own_luma_can_be_scored(tmp_path):
    """Where RGB is burnt out in one channel the change of luma can't be carried whole; the network's own is whole."""
    data = tmp_path / "set"
    write_png(data / "rgb" / "a.png", np.full((64, 64, 3), (0, 0, 255), np.uint8))
    thermal = np.full((64, 64), 20, np.uint8)
    thermal[:, 32:] = 220
    write_png(data / "thermal" / "a.png", thermal)
    model = make_model(tmp_path / "models" / "brighter", "Max")
    figures = {}
    for luma in ("saved", "network"):
        out = tmp_path / luma
        assert run("--data", data, "--models", model, "--luma", luma, *QUICK, "--output", out) == 0
        figures[luma] = report(out)["images"]["set/a"]["figures"]
    expected = score(np.full((64, 64), 29, np.uint8), thermal, np.maximum(thermal, 29), metrics=("SD",))["SD"]
    for name in ("brighter", "maximum"):
        assert figures["network"][name]["SD"] == pytest.approx(expected)
        assert figures["saved"][name]["SD"] < expected - 5


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (("--profile", "best"), ParameterError, "profile is 'best'; expected one of standard, literature, oracle"),
        (("--metrics", "EN", "PSNR"), ParameterError, "no metric 'PSNR'; there are EN, SD"),
        (("--luma", "hsv"), ParameterError, "luma is 'hsv'"),
        (("--models", "nobody"), ModelError, "no model named 'nobody'"),
        (("--results", "paper=/nowhere/at/all"), ParameterError, "'/nowhere/at/all', which is no folder"),
        (("--split", "gone.yaml"), ParameterError, "split gone.yaml can't be read"),
        (("--baselines", "gone.json"), ParameterError, "baselines gone.json can't be read"),
        (("--detector", "gone.onnx"), ParameterError, "detector gone.onnx does not exist"),
        (("--clips", "gone"), SourceError, "'gone' does not exist"),
        (("--pictures", -1), ParameterError, "pictures is -1"),
    ],
)
def test_what_can_not_be_is_refused_before_any_work(tmp_path, model, words, error, message):
    data = write_set(tmp_path / "set", ["a"])
    with pytest.raises(error, match=re.escape(message)):
        run("--data", data, "--models", model, "--output", tmp_path / "out", *words)
    assert not (tmp_path / "out").exists()


def test_missing_data_two_of_a_name_and_nothing_at_all(tmp_path, model):
    write_set(tmp_path / "one" / "set", ["a"])
    write_set(tmp_path / "two" / "set", ["a"])
    with pytest.raises(SourceError, match="does not exist"):
        run("--data", tmp_path / "gone", "--models", model)
    with pytest.raises(ParameterError, match="both called 'set'"):
        run("--data", tmp_path / "one" / "set", tmp_path / "two" / "set", "--models", model)
    with pytest.raises(ParameterError, match="nothing to evaluate"):
        run("--models", model)
    with pytest.raises(ParameterError, match="the name 'maximum' is taken"):
        run("--data", tmp_path / "one" / "set", "--models", f"maximum={model}")
    with pytest.raises(ParameterError, match="no pair of .* is left to score"):
        run("--data", tmp_path / "one" / "set", "--models", model, "--split", _split(tmp_path))


def _split(folder: Path) -> Path:
    path = folder / "recipe.yaml"
    path.write_text("split: {exclude: [other/*]}")
    return path


def test_an_error_is_one_line_and_exit_code_2(tmp_path, capsys):
    assert main(["evaluate", "--data", str(tmp_path / "gone")]) == 2
    assert capsys.readouterr().err.startswith("sage-fusion: '")


@pytest.mark.parametrize("package", ["jinja2", "skimage", "sklearn", "pycocotools"])
def test_a_missing_package_is_told_with_its_extra(tmp_path, monkeypatch, capsys, package):
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["evaluate", "--data", str(tmp_path), "--detector", "net.onnx"]) == 2
    assert f"needs {package}: pip install 'sage_fusion_ros[evaluate]'" in capsys.readouterr().err


def test_the_shipped_models_are_compared_by_default(tmp_path):
    data = write_set(tmp_path / "set", ["a"])
    assert run("--data", data, *QUICK, "--output", tmp_path / "out") == 0
    facts = report(tmp_path / "out")
    assert [row["name"] for row in facts["rows"] if row["kind"] == "model"] == ["sage", "sage_fast", "sage_whole"]
    assert all(len(row["sha256"]) == 64 for row in facts["rows"] if row["kind"] == "model")
