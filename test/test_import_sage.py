"""models import-sage: what it makes of a checkpoint, that everything takes it, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import rclpy
import torch
from evaluation_data import write_set
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter

from sage_fusion_ros.cli.main import main
from sage_fusion_ros.engines.card import read_card, sha256_of
from sage_fusion_ros.networks.sage import SageStudent, load_published_student
from sage_fusion_ros.networks.sage_fast import SageFast
from sage_fusion_ros.nodes.fusion_node import FusionNode
from sage_fusion_ros.training import import_sage as importer
from sage_fusion_ros.training import onnx_file


@pytest.fixture(scope="module", autouse=True)
def _small_check() -> Iterator[None]:
    """One small size for the comparison with torch: that it holds at every size is test_export's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_file, "_SIZES", ((1, 21, 32),))
        yield


def write_student(path: Path, **changes: torch.Tensor) -> Path:
    """A state dict of the published names with random weights and batch norms that do something; changes by name."""
    torch.manual_seed(0)
    network = SageStudent()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2.0)
    torch.save({**network.state_dict(), **changes}, path)
    return path


def run(*words: object) -> int:
    return main([*map(str, ("models", "import-sage", *words))])


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "mine"
    assert run(write_student(folder.parent / "student.pt"), "--output", folder) == 0
    return folder


def test_the_card_says_where_the_weights_come_from(imported: Path) -> None:
    checkpoint = imported.parent / "student.pt"
    card = read_card(imported)
    assert (card.name, card.task, card.parameters, card.size_multiple) == ("mine", "fusion", 135_617, 1)
    assert card.sha256 == sha256_of(imported / "model.onnx")
    assert card.training["source"] == "github.com/RollingPlain/SAGE_IVIF"
    assert card.training["checkpoint_sha256"] == sha256_of(checkpoint)
    assert card.training["trained_here"] is False
    assert card.training["checkpoint_is_the_published_one"] is False
    assert "not verified" in card.licence
    assert onnx_file.check_against_torch(load_published_student(checkpoint), imported / "model.onnx") <= 1e-4
    assert sorted(path.name for path in imported.iterdir()) == ["card.yaml", "model.onnx"]


def test_a_checkpoint_of_the_published_hash_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = write_student(tmp_path / "student.pt")
    monkeypatch.setattr(importer, "PUBLISHED_SHA256", sha256_of(checkpoint))
    assert run(checkpoint, "--output", tmp_path / "official") == 0
    card = read_card(tmp_path / "official")
    assert card.training["checkpoint_is_the_published_one"] is True
    assert card.licence == "MIT (github.com/RollingPlain/SAGE_IVIF)"
    assert card.version == "published"


def test_fuse_takes_it_in_both_formulas(imported: Path, tmp_path: Path) -> None:
    data = write_set(tmp_path / "set", ["a"])
    results = []
    for colour in ("standard", "published"):
        words = [
            "fuse",
            data,
            "--model",
            imported,
            "--device",
            "cpu",
            "--colour",
            colour,
            "--output",
            tmp_path / colour,
        ]
        assert main([*map(str, words)]) == 0
        results.append(cv2.imread(str(tmp_path / colour / "a.png")).astype(int))
    difference = np.abs(results[0] - results[1])
    assert 0 < difference.max() <= 4


def test_evaluate_takes_it(imported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = write_set(tmp_path / "set", ["a"]), tmp_path / "out"
    words = ["evaluate", "--data", data, "--models", f"official={imported}", "--metrics", "EN", "--still-pairs", 0]
    assert main([*map(str, [*words, "--pictures", 0, "--processes", 1, "--output", out])]) == 0
    assert "official" in capsys.readouterr().out


def test_the_node_takes_it(imported: Path) -> None:
    context = rclpy.Context()
    rclpy.init(context=context)
    overrides = {"autostart": False, "fusion.model": str(imported), "engine.device": "cpu", "perception.model": ""}
    node = FusionNode(context=context, parameter_overrides=[Parameter(k, value=v) for k, v in overrides.items()])
    try:
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)


def test_an_earlier_import_is_replaced_and_nothing_else(
    imported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], project: Path
) -> None:
    folder = tmp_path / "again"
    first = write_student(tmp_path / "first.pt")
    assert run(first, "--output", folder) == 0
    other = write_student(tmp_path / "other.pt", **{"final_decoder.0.bias": torch.tensor([0.2])})
    assert run(other, "--output", folder) == 0
    assert read_card(folder).training["checkpoint_sha256"] == sha256_of(other)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    trained = project / "models" / "sage_fast"
    before = sha256_of(trained / "card.yaml")
    for place, reason in (("photos", "not imported"), ("file", "is a file"), (trained, "not imported")):
        assert run(first, "--output", tmp_path / place) == 2
        assert reason in capsys.readouterr().err
    assert sha256_of(trained / "card.yaml") == before
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["a.txt"]


class _RunsCode:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def _write_bad(kind: str, path: Path) -> None:
    if kind == "noise":
        path.write_bytes(b"no checkpoint")
    elif kind == "code":
        torch.save(_RunsCode(path.with_name("touched")), path)
    elif kind == "other network":
        torch.save(SageFast().state_dict(), path)
    elif kind == "one more":
        write_student(path, more=torch.zeros(1))
    elif kind == "a prefix":
        torch.save({f"module.{name}": value for name, value in SageStudent().state_dict().items()}, path)
    elif kind == "narrow":
        torch.save(SageStudent(dim=16).state_dict(), path)
    elif kind == "a run":
        torch.save({"recipe": "sage", "ema": SageStudent().state_dict()}, path)
    elif kind == "a list":
        torch.save([torch.zeros(3)], path)
    elif kind == "nan":
        write_student(path, **{"module1.0.bias": torch.full((32,), torch.nan)})


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "no file at"),
        ("noise", "can't be read as a torch file of tensors alone"),
        ("code", "can't be read as a torch file of tensors alone"),
        ("other network", "it lacks 121 tensors, such as adjust_channels4"),
        ("one more", "it also has 1 tensors, such as more"),
        ("a prefix", "it lacks 121 tensors"),
        ("narrow", "and not (32, 2, 3, 3)"),
        ("a run", "which sage-fusion export turns into a model"),
        ("a list", "it is no plain state dict"),
        ("nan", "values that are no numbers"),
    ],
)
def test_other_files_are_refused_and_leave_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, reason: str
) -> None:
    path = tmp_path / "student.pt"
    _write_bad(kind, path)
    assert run(path, "--output", tmp_path / "model") == 2
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1
    assert not (tmp_path / "model").exists()
    assert not (tmp_path / "touched").exists()


def test_a_folder_that_can_not_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert run(write_student(tmp_path / "student.pt"), "--output", tmp_path / "file" / "model") == 2
    assert f"model folder {tmp_path / 'file' / 'model'} can't be written" in capsys.readouterr().err
