"""Export: equal to torch at every size, a true card, and nothing written when something is off."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
import torch
from training_data import write_pairs, write_settings

from sage_fusion_ros.cli.main import main
from sage_fusion_ros.engines.card import read_card, sha256_of
from sage_fusion_ros.engines.models import find_model
from sage_fusion_ros.errors import ModelError
from sage_fusion_ros.networks.registry import build_network
from sage_fusion_ros.pipeline.fuse import load_fuser
from sage_fusion_ros.pipeline.network import NetworkOptions
from sage_fusion_ros.training.export import LOG_ROWS, _write_log
from sage_fusion_ros.training.onnx_file import check_against_torch, write_onnx


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    data = write_pairs(tmp_path / "pairs")
    config = write_settings(tmp_path / "s.yaml", "sage_fast", steps=2)
    assert (
        main(["train", "sage_fast", "--config", str(config), "--data", str(data), "--out", str(tmp_path / "run")]) == 0
    )
    return tmp_path / "run" / "checkpoint.pt"


def test_a_trained_network_becomes_a_model_the_runtime_takes(checkpoint: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.yaml"
    notes.write_text("description: A test.\nlicence: unknown\ntraining: {start: random}\nmeasured: {psnr: 40.0}\n")
    more = tmp_path / "more.yaml"
    more.write_text("licence: Apache-2.0\nmeasured: {ssim: 0.9}\n")
    folder = tmp_path / "models" / "mine"
    assert main(["export", str(checkpoint), "--output", str(folder), "--notes", str(notes), str(more)]) == 0
    card = read_card(folder)
    assert (card.name, card.licence, card.description, card.size_multiple) == ("mine", "Apache-2.0", "A test.", 4)
    assert card.sha256 == sha256_of(folder / "model.onnx")
    assert card.training["start"] == "random"
    assert card.training["steps"] == 2
    assert card.training["pairs"] == {"pairs": 6}
    assert (card.measured["psnr"], card.measured["ssim"]) == (40.0, 0.9)
    assert card.measured["onnx_against_torch_max_abs"] <= 1e-4
    assert sorted(path.name for path in folder.iterdir()) == ["card.yaml", "model.onnx", "training_log.csv"]
    assert find_model("mine", [tmp_path / "models"]).path == folder / "model.onnx"
    fuser = load_fuser(folder, NetworkOptions(device="cpu"))
    rgb = cv2.imread(str(tmp_path / "pairs" / "vi" / "000.png"))[:61, :, ::-1].copy()
    thermal = cv2.imread(str(tmp_path / "pairs" / "ir" / "000.png"), 0)[:61]
    assert fuser.fuse(rgb, thermal).shape == (61, 80, 3)
    fuser.close()


def test_the_mean_of_two_runs_weights_can_be_exported(checkpoint: Path, tmp_path: Path) -> None:
    state = torch.load(checkpoint, weights_only=True)
    other = tmp_path / "other" / "checkpoint.pt"
    other.parent.mkdir()
    torch.save({**state, "ema": {name: 3 * tensor for name, tensor in state["ema"].items()}}, other)
    both = tmp_path / "both"
    assert main(["export", str(checkpoint), "--average-with", str(other), "--output", str(both)]) == 0
    network = build_network("sage_fast").eval()
    network.load_state_dict({name: 2 * tensor for name, tensor in state["ema"].items()})
    assert check_against_torch(network, both / "model.onnx") <= 1e-4
    assert read_card(both).training["averaged_with"][0]["steps"] == 2
    with pytest.raises(ModelError):
        check_against_torch(build_network("sage_fast").eval(), both / "model.onnx")


@pytest.mark.parametrize("name", ["sage", "sage_fast"])
def test_onnx_equals_torch_at_every_size(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_network(name).eval()
    write_onnx(network, tmp_path / "model.onnx")
    assert check_against_torch(network, tmp_path / "model.onnx") < 1e-5


def test_a_file_of_other_weights_is_refused(tmp_path: Path) -> None:
    write_onnx(build_network("sage_fast").eval(), tmp_path / "model.onnx")
    with pytest.raises(ModelError, match="differs from the network by"):
        check_against_torch(build_network("sage_fast").eval(), tmp_path / "model.onnx")


def test_nothing_is_written_when_an_input_is_bad(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "model"
    assert main(["export", str(tmp_path / "none.pt"), "--output", str(folder)]) == 2
    assert "no checkpoint at" in capsys.readouterr().err
    notes = tmp_path / "notes.yaml"
    notes.write_text("author: someone\n")
    assert main(["export", str(checkpoint), "--output", str(folder), "--notes", str(notes)]) == 2
    assert "description, licence, measured, training, version" in capsys.readouterr().err
    assert not folder.exists()


def test_the_log_is_thinned_and_keeps_its_ends(tmp_path: Path) -> None:
    rows = [["step", "loss"]] + [[str(step), "1.0"] for step in range(1, 1001)]
    _write_log(tmp_path / "log.csv", rows)
    kept = (tmp_path / "log.csv").read_text().splitlines()
    assert kept[0] == "step,loss"
    assert kept[1].startswith("1,")
    assert kept[-1].startswith("1000,")
    assert len(kept) <= LOG_ROWS + 2
