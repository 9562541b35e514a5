"""Training: resumes to the bit, stops on SIGINT, keeps the validation split out, says what is wrong."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from training_data import write_pairs, write_settings

from sage_fusion_ros.cli.main import main
from sage_fusion_ros.errors import ModelError, ParameterError, SourceError
from sage_fusion_ros.networks.sage import SageStudent
from sage_fusion_ros.training.checkpoint import load_checkpoint
from sage_fusion_ros.training.config import TrainSettings, read_settings
from sage_fusion_ros.training.data import Batch, BatchSampler
from sage_fusion_ros.training.learner import SingleLearner, learning_rate
from sage_fusion_ros.training.loop import CHECKPOINT, Trainer
from sage_fusion_ros.training.pairs import load_pairs
from sage_fusion_ros.training.recipes.build import build_recipe
from sage_fusion_ros.training.run_log import LOG


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_pairs(tmp_path / "pairs")


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    torch.manual_seed(5)
    torch.save(SageStudent().state_dict(), tmp_path / "teacher.pt")
    return tmp_path / "teacher.pt"


def make_trainer(settings: TrainSettings, data: Path, out: Path, teacher: Path | None = None) -> Trainer:
    pairs = load_pairs([data], settings.split, settings.video_stride)
    sampler = BatchSampler(pairs, settings.batch, settings.crop, settings.augment, settings.seed)
    return Trainer(settings, SingleLearner(settings, build_recipe(settings, teacher)), sampler, out)


@pytest.mark.parametrize("recipe", ["sage_distilled", "sage_fast"])
def test_a_resumed_run_ends_with_the_same_bits(recipe: str, data: Path, teacher: Path, tmp_path: Path) -> None:
    settings = read_settings(write_settings(tmp_path / "s.yaml", recipe), recipe)
    chosen = teacher if recipe == "sage_distilled" else None
    assert make_trainer(settings, data, tmp_path / "whole", chosen).run()
    assert not make_trainer(settings, data, tmp_path / "parts", chosen).run(until=3)
    resumed = make_trainer(settings, data, tmp_path / "parts", chosen)
    resumed.resume()
    assert resumed.step == 3
    assert resumed.run()
    whole, parts = (load_checkpoint(tmp_path / name / CHECKPOINT) for name in ("whole", "parts"))
    for key in ("model", "ema"):
        assert all(torch.equal(whole[key][name], parts[key][name]) for name in whole[key])
    rows = [(tmp_path / name / LOG).read_text().splitlines() for name in ("whole", "parts")]
    without_time = [[row.rsplit(",", 1)[0] for row in log] for log in rows]
    assert without_time[0] == without_time[1]
    assert len(rows[0]) == 7


def test_rows_after_the_last_checkpoint_of_a_killed_run_are_dropped(data: Path, tmp_path: Path) -> None:
    settings = read_settings(write_settings(tmp_path / "s.yaml", "sage_fast"), "sage_fast")
    make_trainer(settings, data, tmp_path / "run").run(until=2)
    with (tmp_path / "run" / LOG).open("a") as log:
        log.write("3,0.001,9,9,9,1.0\n")
    resumed = make_trainer(settings, data, tmp_path / "run")
    resumed.resume()
    resumed.run()
    steps = [row.split(",")[0] for row in (tmp_path / "run" / LOG).read_text().splitlines()[1:]]
    assert steps == ["1", "2", "3", "4", "5", "6"]


def test_sigint_saves_and_stops(data: Path, tmp_path: Path) -> None:
    settings = read_settings(write_settings(tmp_path / "s.yaml", "sage_fast"), "sage_fast")
    trainer = make_trainer(settings, data, tmp_path / "run")
    sampler = trainer._sampler

    def interrupted(step: int) -> Batch:
        if step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return sampler(step)

    trainer._sampler = interrupted
    before = signal.getsignal(signal.SIGINT)
    assert trainer.run() is False
    assert signal.getsignal(signal.SIGINT) is before
    assert load_checkpoint(tmp_path / "run" / CHECKPOINT)["step"] == 3


def test_batch_norms_keep_their_running_mean_after_their_share(data: Path, teacher: Path, tmp_path: Path) -> None:
    path = write_settings(tmp_path / "s.yaml", "sage_distilled", steps=4, batch_norm_share=0.5)
    trainer = make_trainer(read_settings(path, "sage_distilled"), data, tmp_path / "run", teacher)
    means = []
    for until in (1, 2, 3, 4):
        trainer.run(until=until)
        means.append(trainer.network.module1[1].running_mean.clone())
    assert not torch.equal(means[0], means[1])
    assert torch.equal(means[1], means[2])
    assert torch.equal(means[1], means[3])


def test_only_what_is_named_learns(data: Path, teacher: Path, tmp_path: Path) -> None:
    settings = {"steps": 2, "batch_norm_share": 0.0, "learns": ["module1."]}
    path = write_settings(tmp_path / "s.yaml", "sage_distilled", **settings)
    trainer = make_trainer(read_settings(path, "sage_distilled"), data, tmp_path / "run", teacher)
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    trainer.run()
    changed = {name for name, value in trainer.network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name, _ in trainer.network.named_parameters() if name.startswith("module1.")}


def test_names_of_no_parameter_are_refused_with_those_there_are(data: Path, teacher: Path, tmp_path: Path) -> None:
    path = write_settings(tmp_path / "s.yaml", "sage_distilled", learns=["mask_"])
    with pytest.raises(ParameterError, match=r"learns is \['mask_'\].*they begin with .*module1"):
        make_trainer(read_settings(path, "sage_distilled"), data, tmp_path / "run", teacher)
    path = write_settings(tmp_path / "w.yaml", "sage", learns=["module1."])
    with pytest.raises(ParameterError, match="learns is for recipes with one network"):
        read_settings(path, "sage")


def test_a_second_stage_starts_from_the_firsts_exported_weights(
    data: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_settings(tmp_path / "s.yaml", "sage_distilled", steps=2)
    command = ["train", "sage_distilled", "--config", str(config), "--data", str(data), "--teacher", str(teacher)]
    assert main([*command, "--out", str(tmp_path / "first")]) == 0
    first = tmp_path / "first" / CHECKPOINT
    second = make_trainer(read_settings(config, "sage_distilled"), data, tmp_path / "second", teacher)
    second.start_from(first)
    weights = load_checkpoint(first)["ema"]
    assert all(torch.equal(value, weights[name]) for name, value in second.network.state_dict().items())
    assert main([*command, "--start", str(first), "--out", str(tmp_path / "third")]) == 0
    notes = load_checkpoint(tmp_path / "third" / CHECKPOINT)["notes"]
    assert (notes["first_stage"]["steps"], notes["first_stage"]["seed"]) == (2, 3)
    fast = write_settings(tmp_path / "f.yaml", "sage_fast")
    wrong = ["train", "sage_fast", "--config", str(fast), "--data", str(data), "--start", str(first)]
    assert main([*wrong, "--out", str(tmp_path / "fourth")]) == 2
    assert "the network 'sage'; this run trains 'sage_fast'" in capsys.readouterr().err


def test_training_lowers_the_loss(data: Path, tmp_path: Path) -> None:
    # Brightness alone: these pairs are random textures, whose edges nobody can learn in so few steps.
    changes = {"steps": 120, "augment": {}, "batch": 4, "checkpoint_every": 120, "terms": {"edges": 0.0}}
    path = write_settings(tmp_path / "s.yaml", "sage_fast", **changes)
    settings = read_settings(path, "sage_fast")
    make_trainer(settings, data, tmp_path / "run").run()
    losses = [float(row.split(",")[2]) for row in (tmp_path / "run" / LOG).read_text().splitlines()[1:]]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5]), losses


def test_seed_decides_the_start(data: Path, tmp_path: Path) -> None:
    weights = []
    for seed in (1, 1, 2):
        settings = read_settings(write_settings(tmp_path / "s.yaml", "sage_fast", seed=seed), "sage_fast")
        weights.append(make_trainer(settings, data, tmp_path / "run").network.head.weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_noise_is_in_the_input_but_not_in_the_target(data: Path, tmp_path: Path) -> None:
    path = write_settings(tmp_path / "s.yaml", "sage_fast", augment={"thermal_noise": 1.0, "noise_max": 0.05})
    settings = read_settings(path, "sage_fast")
    pairs = load_pairs([data], settings.split, 1)
    batch = BatchSampler(pairs, 2, 64, settings.augment, 0)(0)
    assert batch.thermal.shape == (2, 1, 64, 64)
    assert batch.thermal.dtype == torch.float32
    assert torch.equal(batch.rgb_luma, batch.clean_rgb_luma)
    assert not torch.equal(batch.thermal, batch.clean_thermal)
    assert len(torch.unique(batch.clean_thermal)) == 2


def test_learning_rate_warms_up_and_ends_at_its_end() -> None:
    settings = TrainSettings("sage_fast", steps=110, warmup_steps=10, learning_rate=1e-3, learning_rate_end=1e-5)
    assert learning_rate(settings, 0) == pytest.approx(1e-4)
    assert learning_rate(settings, 10) == pytest.approx(1e-3)
    assert learning_rate(settings, 60) == pytest.approx((1e-3 + 1e-5) / 2)
    assert learning_rate(settings, 110) == pytest.approx(1e-5)


def test_command_trains_resumes_and_refuses_to_overwrite(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_settings(tmp_path / "s.yaml", "sage_fast", steps=2)
    command = ["train", "sage_fast", "--config", str(config), "--data", str(data), "--out", str(tmp_path / "run")]
    assert main(command) == 0
    assert load_checkpoint(tmp_path / "run" / CHECKPOINT)["notes"] == {"pairs": {"pairs": 6}}
    assert main(command) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0
    assert main([*command, "--resume", "--seed", "9"]) == 2
    assert "other settings (seed)" in capsys.readouterr().err


BAD_SETTINGS = {
    "unknown key": ({"epochs": 3}, "epochs"),
    "unknown key below": ({"augment": {"rain": 1.0}}, "rain"),
    "wrong type": ({"steps": "many"}, "steps is 'many'"),
    "bad value": ({"crop": 50}, "crop is 50"),
    "other recipe": ({"recipe": "sage"}, "is for the recipe 'sage'"),
    "unknown term": ({"terms": {"perceptual": 1.0}}, "perceptual"),
    "unknown target": ({"target": {"sharpening": 1.0}}, "sharpening"),
    "uneven target": ({"target": {"lesser": [0.0]}}, "have 5 and 1"),
    "nothing left": ({"split": {"exclude": ["*"]}}, "leaves every pair out"),
    "crop too large": ({"crop": 96}, "smaller than the crop"),
}


@pytest.mark.parametrize("case", BAD_SETTINGS)
def test_bad_settings_are_named(case: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes, words = BAD_SETTINGS[case]
    config = write_settings(tmp_path / "s.yaml", "sage_fast", **changes)
    command = ["train", "sage_fast", "--config", str(config), "--data", str(data), "--out", str(tmp_path / "run")]
    assert main(command) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_missing_data_teacher_and_settings_are_named(data: Path, teacher: Path, tmp_path: Path) -> None:
    settings = read_settings(write_settings(tmp_path / "s.yaml", "sage_distilled"), "sage_distilled")
    with pytest.raises(SourceError, match="nowhere"):
        load_pairs([tmp_path / "nowhere"], settings.split, 1)
    with pytest.raises(ParameterError, match="--teacher"):
        build_recipe(settings, None)
    with pytest.raises(ModelError, match="no file at"):
        build_recipe(settings, tmp_path / "nothing.pt")
    with pytest.raises(ParameterError, match="no teacher; leave"):
        build_recipe(TrainSettings("sage_fast"), teacher)
    with pytest.raises(ParameterError, match=r"no\.yaml can't be read"):
        read_settings(tmp_path / "no.yaml", "sage")


def test_another_recipes_or_a_damaged_checkpoint_is_refused(data: Path, teacher: Path, tmp_path: Path) -> None:
    fast = read_settings(write_settings(tmp_path / "f.yaml", "sage_fast", steps=1), "sage_fast")
    make_trainer(fast, data, tmp_path / "run").run()
    student = read_settings(write_settings(tmp_path / "s.yaml", "sage_distilled", steps=1), "sage_distilled")
    with pytest.raises(ParameterError, match="recipe 'sage_fast'; 'sage_distilled' was asked for"):
        make_trainer(student, data, tmp_path / "run", teacher).resume()
    with pytest.raises(ModelError, match="no checkpoint at"):
        make_trainer(fast, data, tmp_path / "empty").resume()
    path = tmp_path / "run" / CHECKPOINT
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match="can't be read"):
        make_trainer(fast, data, tmp_path / "run").resume()
    with pytest.raises(ModelError, match="no checkpoint of a training run"):
        load_checkpoint(teacher)
