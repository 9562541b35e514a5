"""sage-fusion masks: from folders of pairs to a cache that training takes its masks from."""

from __future__ import annotations

from pathlib import Path

import pytest
from prior_data import write_sam
from training_data import write_pairs

from sage_fusion_ros.cli.main import main
from sage_fusion_ros.training.priors import sam

SAM = ["--device", "cpu", "--sam", "points_per_side=2", "predicted_iou=0", "stability=0", "least_area=1"]


def masks(*words: object) -> int:
    return main(["masks", *map(str, words)])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_pairs(tmp_path / "set", count=3, size=(24, 30))


def test_masks_are_found_counted_and_taken_from_the_cache_again(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--prior", f"sam:{write_sam(tmp_path / 'weights')}", "--data", data, "--cache", tmp_path / "cache", *SAM]
    found = sam.find_everything
    calls = []

    def interrupted(*given: object) -> object:
        calls.append(given)
        if len(calls) == 4:  # two images a pair
            raise KeyboardInterrupt
        return found(*given)

    monkeypatch.setattr(sam, "find_everything", interrupted)
    assert masks(*words) == 130
    assert "the same command goes on" in capsys.readouterr().out
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert masks(*words) == 0
    first = capsys.readouterr().out
    assert first.startswith("3 pairs, 0 of them without masks;")
    assert len(calls) == 4 + 4
    assert masks(*words) == 0
    assert capsys.readouterr().out == first
    assert len(calls) == 4 + 4


def test_the_split_of_a_recipe_is_left_out(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split = tmp_path / "recipe.yaml"
    split.write_text("split: {every_fifth: [set]}")
    (data / "ir_mask").mkdir()
    for index in (0, 2):
        (data / "ir_mask" / f"{index:03d}.png").write_bytes((data / "ir" / "000.png").read_bytes())
    words = ["--prior", "hand:ir_mask", "--data", data, "--cache", tmp_path / "cache"]
    assert masks(*words, "--split", split) == 0
    assert capsys.readouterr().out.startswith(
        "2 pairs, 1 of them without masks; 1 masks of rgb, 1 of thermal (not kept"
    )
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--prior", "nothing"], "the prior is 'nothing'; there are none, sam:FOLDER"),
        (["--prior", "none", "--sam", "points=3"], "--sam has 'points=3'; expected NAME=VALUE with one of"),
        (["--prior", "none", "--sam", "crop_layers=0.5"], "crop_layers is '0.5'; expected int"),
        (["--prior", "none", "--sam", "stability=2"], "stability is 2.0; expected 0 to 1"),
        (["--prior", "none", "--video-stride", "0"], "--video-stride is 0; expected 1 or more"),
        (["--prior", "labels:maps"], "labels:maps gave no mask for any of 3 pairs"),
    ],
)
def test_what_is_wrong_is_one_line_of_text(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert masks(*words, "--data", data, "--cache", tmp_path / "cache") == 2
    assert message in capsys.readouterr().err
