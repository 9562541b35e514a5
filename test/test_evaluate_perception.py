"""sage-fusion evaluate --perception on made sets: boxes, masks, folds, smoke, and what is refused."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from evaluation_data import HOT, SIZE, write_boxes, write_set
from mock_detector import write_detector
from mock_eye import make_eye
from mock_models import make_model

from sage_fusion_ros.cli import evaluate
from sage_fusion_ros.errors import ModelError, ParameterError, SourceError
from sage_fusion_ros.evaluation.conditions import CONDITIONS

QUICK = ("--processes", 1, "--pictures", 0, "--still-pairs", 0, "--metrics", "EN", "--overlays", 0)
NAMES = list("abcdefg")  # of which a and f are kept for validation


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "models" / "brighter", "Max")


@pytest.fixture
def eye(tmp_path: Path) -> Path:
    return make_eye(tmp_path / "models" / "eye")


def run(*words: object) -> int:
    parser = argparse.ArgumentParser()
    evaluate.add_parser(parser.add_subparsers())
    return evaluate.run(parser.parse_args(["evaluate", *map(str, words)]))


def perception(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))["perception"]


def cell(part: dict[str, Any], reader: str, row: str, where: str = "all sets", label: str = "person") -> dict[str, Any]:
    (line,) = [line for line in part["lines"] if (line["reader"], line["row"]) == (reader, row)]
    return line["cells"][where][label]


def write_labels(root: Path, names: list[str]) -> None:
    """Road, but for the warm square, a person, and a strip of which nothing is known."""
    left, top, right, bottom = HOT
    labels = np.zeros(SIZE, np.uint8)
    labels[top:bottom, left:right] = 11
    labels[:16] = 255
    (root / "seg_cityscapes19").mkdir()
    for name in names:
        assert cv2.imwrite(str(root / "seg_cityscapes19" / f"{name}.png"), labels)


def listed(folder: Path, *names: str) -> Path:
    path = folder / "pairs.txt"
    path.write_text("# by day\n" + "".join(f"{name}  # seen\n" for name in names))
    return path


def test_boxes_are_judged_on_pairs_kept_out_of_training(tmp_path, model, eye, capsys):
    """The warm person can't be seen in RGB; each of the boxes in thermal is one cell, and exactly right."""
    data = write_set(tmp_path / "set", NAMES, bright=False, boxes=True)
    detector = write_detector(tmp_path / "tiny.onnx")
    words = ("--data", data, "--models", model, "--perception", eye, "--detector", detector)
    assert run(*words, *QUICK, "--output", tmp_path / "out") == 0
    (part,) = perception(tmp_path / "out")["boxes"]
    assert part["judged"] == "validation"
    assert part["sets"]["set"] == {"images": 2, "boxes": {"person": 2, "every class": 2}, "shown": []}
    assert part["sets"]["all sets"] == {"images": 2, "boxes": {"person": 2, "every class": 2}, "shown": ["every class"]}
    rows = ["brighter", "maximum", "average", "rgb", "thermal"]
    assert [(line["reader"], line["row"]) for line in part["lines"]] == [(r, n) for r in ("eye", "tiny") for n in rows]
    for row in ("brighter", "maximum", "thermal"):
        assert cell(part, "eye", row)["AP50"]["value"] == pytest.approx(1)
        assert cell(part, "eye", row)["AP50:95"] == pytest.approx({"value": 1, "low": 1, "high": 1})
    assert cell(part, "eye", "rgb")["AP50"]["value"] == 0
    # The detector sees smaller persons inside the right one, too.
    assert 0 < cell(part, "tiny", "brighter")["AP50"]["value"] < 1
    less = {(d["less_reader"], d["less_row"]): d["classes"]["person"]["AP50"] for d in part["differences"]}
    assert list(less) == [
        ("eye", "rgb"),
        ("eye", "thermal"),
        ("tiny", "rgb"),
        ("tiny", "thermal"),
        ("tiny", "brighter"),
    ]
    assert less["eye", "rgb"] == pytest.approx({"value": 1, "low": 1, "high": 1})
    assert less["eye", "thermal"] == {"value": 0, "low": 0, "high": 0}
    shown = capsys.readouterr().out
    assert "AP50:95 on pairs kept out of training, all sets" in shown
    assert "2 images (2 of set)" in shown


def test_all_boxed_pairs_where_that_is_asked_for(tmp_path, model, eye):
    data = write_set(tmp_path / "set", NAMES, bright=False, boxes=True)
    words = ("--data", data, "--models", model, "--perception", eye, "--boxed", "all")
    assert run(*words, *QUICK, "--output", tmp_path / "out") == 0
    (part,) = perception(tmp_path / "out")["boxes"]
    assert (part["judged"], part["sets"]["set"]["images"]) == ("all", 7)


def test_the_split_says_what_is_kept_for_validation(tmp_path, model, eye):
    data = write_set(tmp_path / "set", NAMES, bright=False, boxes=True)
    split = tmp_path / "recipe.yaml"
    split.write_text("split: {exclude: [set/b, set/c, set/d]}")
    words = ("--data", data, "--models", model, "--perception", eye, "--split", split)
    assert run(*words, *QUICK, "--output", tmp_path / "out") == 0
    assert perception(tmp_path / "out")["boxes"][0]["sets"]["set"]["images"] == 3


def test_no_boxed_pair_kept_out_of_training_is_told(tmp_path, model, eye):
    data = write_set(tmp_path / "set", NAMES, bright=False)
    write_boxes(data, ["b"])
    words = ("--data", data, "--models", model, "--perception", eye, "--detector", write_detector(tmp_path / "t.onnx"))
    assert run(*words, *QUICK, "--output", tmp_path / "out") == 0
    facts = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert facts["perception"]["boxes"] == []
    assert "No boxed pair is kept out of training, so no average precision was taken there." in facts["notes"]


def test_each_fold_judges_its_own_fifth(tmp_path, model, eye):
    """Fold 2 is blind, so the persons of pairs 2, 7 and 12 of 13 are missed, and no others."""
    names = [f"{index:02d}" for index in range(13)]
    data = write_set(tmp_path / "set", names, bright=False, boxes=True)
    for fold in range(5):
        make_eye(tmp_path / "five" / f"fold{fold}", blind=fold == 2)
    words = ("--data", data, "--models", model, "--perception-folds", tmp_path / "five", "--perception", eye)
    assert run(*words, *QUICK, "--output", tmp_path / "out") == 0
    read = perception(tmp_path / "out")
    validation, everything = read["boxes"]
    assert (validation["judged"], validation["sets"]["set"]["images"]) == ("validation", 3)
    assert {line["reader"] for line in validation["lines"]} == {"eye"}
    assert (everything["judged"], everything["sets"]["set"]["images"]) == ("all", 13)
    # Ten of thirteen found without a false alarm: precision 1 up to a recall of 0.769, that is 77 of the 101 recalls.
    assert cell(everything, "five", "thermal")["AP50"]["value"] == pytest.approx(77 / 101)
    assert cell(everything, "five", "thermal")["AP50"]["low"] < 77 / 101
    assert [len(entry["sha256"]) for entry in read["models"]] == [1, 5]


def test_rare_classes_are_pooled_over_the_sets(tmp_path, model, eye):
    many = write_set(tmp_path / "many", [f"{index:02d}" for index in range(31)], bright=False, boxes=True)
    few = write_set(tmp_path / "few", NAMES, bright=False, boxes=True)
    words = ("--data", many, few, "--models", model, "--perception", eye, "--boxed", "all")
    assert run(*words, *QUICK, "--output", tmp_path / "out") == 0
    (part,) = perception(tmp_path / "out")["boxes"]
    shown = {name: entry["shown"] for name, entry in part["sets"].items()}
    assert shown == {"few": [], "many": ["person", "every class"], "all sets": ["person", "every class"]}
    assert part["sets"]["all sets"]["boxes"]["person"] == 38


def test_detectors_alone_get_both_average_precisions(tmp_path, model):
    data = write_set(tmp_path / "set", NAMES, bright=False, boxes=True)
    detector = write_detector(tmp_path / "tiny.onnx")
    words = ("--data", data, "--models", model, "--detector", detector)
    assert run(*words, *QUICK, "--output", tmp_path / "out") == 0
    facts = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    (part,) = facts["perception"]["boxes"]
    assert (part["judged"], part["sets"]["set"]["images"], part["differences"]) == ("all", 7, [])
    own = cell(part, "tiny", "thermal")
    assert own["AP50"]["value"] == pytest.approx(facts["detectors"]["tiny"]["rows"]["thermal"]["set"]["person"])
    assert own["AP50:95"]["value"] <= own["AP50"]["value"]
    assert run(*words, "--boxes", "scored", "--limit", 4, *QUICK, "--output", tmp_path / "out2") == 0
    (part,) = perception(tmp_path / "out2")["boxes"]
    assert (part["judged"], part["sets"]["set"]["images"]) == ("scored", 4)


def test_masks_as_is_and_spoilt(tmp_path, model, eye, capsys):
    """In thermal the person is seen whole; in dark RGB not at all, so its 1024 pixels are taken for road."""
    data = write_set(tmp_path / "set", NAMES, bright=False)
    write_labels(data, NAMES)
    words = ("--data", data, "--models", model, "--perception", eye, "--mask-pairs", listed(tmp_path, "set/a", "set/f"))
    assert run(*words, *QUICK, "--output", tmp_path / "out") == 0
    (masks,) = perception(tmp_path / "out")["masks"]
    assert masks["list"] == "pairs"
    assert masks["pairs"] == ["set/a", "set/f"]
    known = 128 * 112
    assert masks["share"]["person"] == pytest.approx(1024 / known)
    assert (masks["images"]["road"], masks["images"]["car"]) == (2, 0)
    lines = {(line["row"], line["condition"]): line for line in masks["lines"]}
    assert set(lines) == {(r, c) for r in ("brighter", "maximum", "average", "rgb", "thermal") for c in CONDITIONS}
    assert lines["thermal", "as is"]["classes"] == {"road": 1, "person": 1}
    assert lines["thermal", "as is"]["sets"] == {"set": 1}
    assert lines["thermal", "as is"]["miou"] == {"value": 1, "low": 1, "high": 1}
    assert lines["rgb", "as is"]["classes"] == pytest.approx({"road": 1 - 1024 / known, "person": 0})
    assert lines["rgb", "as is"]["miou"]["value"] == pytest.approx((1 - 1024 / known) / 2)
    # The maximum of a black image and thermal is thermal; without thermal it is RGB.
    assert lines["brighter", "RGB dead"]["kept"]["value"] == pytest.approx(1)
    assert lines["brighter", "thermal dead"]["kept"]["value"] == pytest.approx((1 - 1024 / known) / 2, abs=0.01)
    assert lines["rgb", "thermal dead"]["miou"] == lines["rgb", "as is"]["miou"]
    shown = capsys.readouterr().out
    assert "Masks on pairs, as is and spoilt" in shown
    assert "pseudo-labels" in shown


def test_each_list_of_pairs_is_judged_by_itself(tmp_path, model, eye):
    """In one set the labels are right, in the other they call everything road, the person too."""
    good, bad = (write_set(tmp_path / name, NAMES, bright=False) for name in ("good", "bad"))
    write_labels(good, NAMES)
    write_labels(bad, NAMES)
    assert cv2.imwrite(str(bad / "seg_cityscapes19" / "a.png"), np.zeros(SIZE, np.uint8))
    lists = []
    for name, pairs in (("both", "good/a\nbad/a"), ("trusted", "good/a")):
        lists.append(tmp_path / f"{name}.txt")
        lists[-1].write_text(pairs)
    words = ("--data", good, bad, "--models", model, "--perception", eye, "--mask-pairs", *lists)
    assert run(*words, *QUICK, "--output", tmp_path / "out") == 0
    both, trusted = perception(tmp_path / "out")["masks"]
    assert (both["list"], both["sets"]) == ("both", {"bad": 1, "good": 1})
    assert (trusted["list"], trusted["sets"]) == ("trusted", {"good": 1})
    lines = [
        next(line for line in part["lines"] if (line["row"], line["condition"]) == ("thermal", "as is"))
        for part in (both, trusted)
    ]
    assert lines[1]["miou"]["value"] == 1
    assert lines[0]["sets"] == pytest.approx({"bad": 1 - 1024 / 128**2, "good": 1})
    assert lines[0]["classes"]["person"] == pytest.approx(0.5)
    twice = tmp_path / "again" / "both.txt"
    twice.parent.mkdir()
    twice.write_text("good/a")
    with pytest.raises(ParameterError, match="two bear the same name"):
        run(*words, twice, *QUICK, "--output", tmp_path / "out")


def test_two_processes_judge_as_one_does(tmp_path, model, eye):
    data = write_set(tmp_path / "set", NAMES, bright=False, boxes=True)
    write_labels(data, NAMES)
    words = ("--data", data, "--models", model, "--perception", eye, "--mask-pairs", listed(tmp_path, "set/a", "set/f"))
    found = []
    for processes in (1, 2):
        out = tmp_path / f"out{processes}"
        assert run(*words, *QUICK, "--processes", processes, "--output", out) == 0
        found.append(perception(out))
    assert found[0] == found[1]


def test_labels_that_are_not_there_are_named(tmp_path, model, eye):
    data = write_set(tmp_path / "set", NAMES, bright=False)
    bare = write_set(tmp_path / "bare", ["a"])
    write_labels(data, ["a"])
    assert cv2.imwrite(str(data / "seg_cityscapes19" / "b.png"), np.zeros((4, 4), np.uint8))
    pairs = listed(tmp_path, "set/a", "set/b", "set/c", "set/z", "bare/a", "elsewhere/a")
    words = ("--data", data, bare, "--models", model, "--perception", eye, "--mask-pairs", pairs)
    assert run(*words, *QUICK, "--output", tmp_path / "out") == 1
    facts = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert facts["perception"]["masks"][0]["pairs"] == ["set/a"]
    reasons = dict(map(tuple, facts["skipped"]))
    assert reasons["set/c"] == "it is listed for masks, and its labels are not there"
    assert reasons["set/z"] == "it is listed for masks, and it is not there"
    assert "uint8 of 4x4; expected an 8-bit grey PNG of 128x128" in reasons["set/b"]
    assert any(note.startswith("bare has no seg_cityscapes19") for note in facts["notes"])


def write_clip(folder: Path) -> str:
    """Ten frames: the person is bright in RGB in the first four, and warm in all but the last."""
    left, top, right, bottom = HOT
    for name, seen in (("smoke.mp4", range(4)), ("thermal.mp4", range(9))):
        writer = cv2.VideoWriter(str(folder / name), cv2.VideoWriter_fourcc(*"mp4v"), 30.0, SIZE)
        assert writer.isOpened()
        for index in range(10):
            image = np.full((*SIZE, 3), 20, np.uint8)
            if index in seen:
                image[top:bottom, left:right] = 255
            writer.write(image)
        writer.release()
    return f"{folder / 'smoke.mp4'},{folder / 'thermal.mp4'}"


def test_people_whom_smoke_hides(tmp_path, model, eye, capsys):
    clip, detector = write_clip(tmp_path), write_detector(tmp_path / "tiny.onnx")
    words = ("--smoke-clip", clip, "--models", model, "--perception", eye, "--detector", detector)
    assert run(*words, *QUICK, "--smoke-step", 1, "--overlays", 2, "--output", tmp_path / "out") == 0
    (found,) = perception(tmp_path / "out")["smoke"]
    assert found["clip"] == "smoke"
    assert found["reference"] == "tiny"
    assert found["looked"] == 10
    assert found["hidden"] == [4, 5, 6, 7, 8]
    lines = {(line["reader"], line["row"]): (line["seen"], line["share"]) for line in found["lines"]}
    assert lines["eye", "brighter"] == lines["tiny", "thermal"] == (5, 1.0)
    assert lines["eye", "rgb"] == lines["tiny", "rgb"] == (0, 0.0)
    assert "tiny sees nobody in RGB and somebody in thermal in 5" in capsys.readouterr().out
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    # One frame: RGB, thermal, the model and the maximum.
    assert page.count("data:image/jpeg") == 4
    assert "smoke, frame 4" in page
    assert run(*words, *QUICK, "--smoke-step", 4, "--output", tmp_path / "out") == 0
    assert perception(tmp_path / "out")["smoke"][0]["hidden"] == [4, 8]


def test_overlays_are_on_the_page(tmp_path, model, eye):
    data = write_set(tmp_path / "set", NAMES, bright=False, boxes=True)
    out = tmp_path / "out"
    words = ("--data", data, "--models", model, "--perception", eye, f"blind={make_eye(tmp_path / 'b', blind=True)}")
    assert run(*words, *QUICK[:-1], 3, "--output", out) == 0
    page = (out / "index.html").read_text(encoding="utf-8")
    # Both pairs kept out of training, two models that look at RGB, thermal, the fused image and the maximum.
    assert page.count("data:image/jpeg") == 2 * 2 * 4
    assert not re.findall(r'(?:src|href)="(?!data:image|#|\{)[^"]*"', page)
    assert "Masks and boxes" in page


def test_a_model_of_one_kind_is_judged_by_that(tmp_path, model):
    data = write_set(tmp_path / "set", NAMES, bright=False, boxes=True)
    write_labels(data, NAMES)
    boxes, mask = make_eye(tmp_path / "boxes", mask=False), make_eye(tmp_path / "mask", boxes=False)
    words = ("--data", data, "--models", model, "--perception", boxes, mask)
    assert run(*words, "--mask-pairs", listed(tmp_path, "set/a"), *QUICK, "--output", tmp_path / "out") == 0
    read = perception(tmp_path / "out")
    assert {line["reader"] for line in read["boxes"][0]["lines"]} == {"boxes"}
    assert {line["reader"] for line in read["masks"][0]["lines"]} == {"mask"}


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (("--perception", "/nowhere/at/all"), ModelError, "/nowhere/at/all does not exist"),
        (("--perception", "sage_fast"), ModelError, "for the task 'fusion'; a model for 'perception'"),
        (("--perception-folds", "."), ParameterError, "'.' has no fold0, fold1, fold2, fold3, fold4"),
        (("--perception", "{eye}", "{eye}"), ParameterError, "two perception models are called 'eye'"),
        (("--perception", "{eye}", "--boxed", "some"), ParameterError, "boxed is 'some'; expected one of validation"),
        (("--perception", "{eye}", "--mask-pairs", "gone.txt"), ParameterError, "list of pairs gone.txt can't be read"),
        (("--smoke-clip", "a.mp4,b.mp4"), ParameterError, "needs a detector"),
        (
            ("--smoke-clip", "a.mp4", "--detector", "{tiny}"),
            ParameterError,
            "expected two videos as RGB.mp4,THERMAL.mp4",
        ),
        (("--smoke-clip", "a.mp4,b.mp4", "--detector", "{tiny}"), SourceError, "'a.mp4' does not exist"),
        (("--perception", "tiny={eye}", "--detector", "{tiny}"), ParameterError, "are called 'tiny'"),
        (("--smoke-step", 0), ParameterError, "smoke_step must be 1 or more"),
    ],
)
def test_what_can_not_be_is_refused_before_any_work(tmp_path, model, eye, words, error, message):
    data = write_set(tmp_path / "set", ["a"])
    places = {"eye": eye, "tiny": write_detector(tmp_path / "tiny.onnx")}
    given = [str(word).format(**places) for word in words]
    with pytest.raises(error, match=re.escape(message)):
        run("--data", data, "--models", model, "--output", tmp_path / "out", *given)
    assert not (tmp_path / "out").exists()
