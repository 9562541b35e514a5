"""sage-fusion evaluate --perception on made sets: boxes, folds, the page, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from evaluation_data import write_boxes, write_set
from judging_data import NAMES, QUICK, cell, perception, report, run
from mock_detector import write_detector
from mock_eye import make_eye
from mock_models import make_model

from sage_fusion_ros.errors import ModelError, ParameterError, SourceError


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "models" / "brighter", "Max")


@pytest.fixture
def eye(tmp_path: Path) -> Path:
    return make_eye(tmp_path / "models" / "eye")


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
    facts = report(tmp_path / "out")
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
    facts = report(tmp_path / "out")
    (part,) = facts["perception"]["boxes"]
    assert (part["judged"], part["sets"]["set"]["images"], part["differences"]) == ("all", 7, [])
    own = cell(part, "tiny", "thermal")
    assert own["AP50"]["value"] == pytest.approx(facts["detectors"]["tiny"]["rows"]["thermal"]["set"]["person"])
    assert own["AP50:95"]["value"] <= own["AP50"]["value"]
    assert run(*words, "--boxes", "scored", "--limit", 4, *QUICK, "--output", tmp_path / "out2") == 0
    (part,) = perception(tmp_path / "out2")["boxes"]
    assert (part["judged"], part["sets"]["set"]["images"]) == ("scored", 4)


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
