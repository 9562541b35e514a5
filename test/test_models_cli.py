"""models list: one line a folder, what is damaged, and what a name finds."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from mock_models import make_model

from sage_fusion_ros.cli.main import main


def listing(capsys: pytest.CaptureFixture[str], *places: Path) -> dict[str, str]:
    """The lines by folder, each with the notes below it."""
    assert main(["models", "list", *(["--models-path", *map(str, places)] if places else [])]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["name", "task", "version", "parameters", "size", "licence", "folder"]
    found: dict[str, str] = {}
    last = ""
    for line in lines:
        if line.startswith("    "):
            found[last] += line
        else:
            last = line.split()[-1]
            assert last not in found
            found[last] = " ".join(line.split())
    return found


def test_the_packages_models_are_listed(capsys, project) -> None:
    found = {Path(folder).name: line.split() for folder, line in listing(capsys).items()}
    assert found["sage"][:4] == ["sage", "fusion", "2", "135,617"]
    assert found["perception"][1] == "perception"
    assert "Apache-2.0" in found["sage_fast"]
    assert found["sage_fast"][5] == "MB"


def test_users_folders_come_first_and_hide_a_name(tmp_path, capsys, project) -> None:
    make_model(tmp_path / "sage")
    (tmp_path / "no_model").mkdir()
    found = listing(capsys, tmp_path, tmp_path / "." / "sage" / "..")
    mine, theirs = str(tmp_path / "sage"), str(project / "models" / "sage")
    assert next(iter(found)) == mine
    assert "its name" not in found[mine]
    assert f"its name finds {mine}" in found[theirs]
    assert not any("no_model" in folder for folder in found)


def test_damaged_folders_are_listed_with_the_reason(tmp_path, capsys) -> None:
    for name in ("changed", "no_file", "no_card", "bad_card", "whole"):
        make_model(tmp_path / name)
    with (tmp_path / "changed" / "model.onnx").open("ab") as stream:
        stream.write(b"x")
    (tmp_path / "no_file" / "model.onnx").unlink()
    (tmp_path / "no_card" / "card.yaml").unlink()
    (tmp_path / "bad_card" / "card.yaml").write_text("a: [")
    found = listing(capsys, tmp_path)
    for name, reason in {
        "changed": "has the sha256",
        "no_file": "has no file model.onnx",
        "no_card": "card.yaml can't be read",
        "bad_card": "is not valid YAML",
    }.items():
        note = found[str(tmp_path / name)].partition("can't be used: ")[2]
        assert reason in note
    assert "can't be used" not in found[str(tmp_path / "whole")]


def test_long_licences_stay_on_one_line(tmp_path, capsys) -> None:
    folder = make_model(tmp_path / "long")
    card = folder / "card.yaml"
    card.write_text(card.read_text().replace("licence: Apache-2.0", 'licence: "' + "many words\\n" * 60 + '"'))
    found = listing(capsys, tmp_path)
    assert len(found[str(folder)]) < 160 + len(str(folder))
    assert " ..." in found[str(folder)]


def test_a_place_that_is_not_there_is_an_error(tmp_path, capsys) -> None:
    shutil.rmtree(tmp_path)
    assert main(["models", "list", "--models-path", str(tmp_path)]) == 2
    assert f"the models in {tmp_path} can't be listed: No such file or directory" in capsys.readouterr().err


def test_it_runs_without_torch(tmp_path, monkeypatch, capsys) -> None:
    for module in ("training.import_sage", "networks.sage"):
        monkeypatch.delitem(sys.modules, f"sage_fusion_ros.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["models", "list"]) == 0
    assert main(["models", "import-sage", str(tmp_path / "none.pt")]) == 2
    assert "pip install 'sage_fusion_ros[train]'" in capsys.readouterr().err
