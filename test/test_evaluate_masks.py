"""sage-fusion evaluate --perception on made sets: masks as is and spoilt, and people in smoke."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from evaluation_data import HOT, SIZE, write_set
from judging_data import NAMES, QUICK, listed, perception, report, run, write_labels
from mock_detector import write_detector
from mock_eye import make_eye
from mock_models import make_model

from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.evaluation.conditions import CONDITIONS


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "models" / "brighter", "Max")


@pytest.fixture
def eye(tmp_path: Path) -> Path:
    return make_eye(tmp_path / "models" / "eye")


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
    facts = report(tmp_path / "out")
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


def test_a_model_of_one_kind_is_judged_by_that(tmp_path, model):
    data = write_set(tmp_path / "set", NAMES, bright=False, boxes=True)
    write_labels(data, NAMES)
    boxes, mask = make_eye(tmp_path / "boxes", mask=False), make_eye(tmp_path / "mask", boxes=False)
    words = ("--data", data, "--models", model, "--perception", boxes, mask)
    assert run(*words, "--mask-pairs", listed(tmp_path, "set/a"), *QUICK, "--output", tmp_path / "out") == 0
    read = perception(tmp_path / "out")
    assert {line["reader"] for line in read["boxes"][0]["lines"]} == {"boxes"}
    assert {line["reader"] for line in read["masks"][0]["lines"]} == {"mask"}
