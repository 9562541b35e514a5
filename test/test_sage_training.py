"""The whole method: a run from the command line, both solvers, resuming, several processes, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from training_data import write_pairs, write_settings

from sage_fusion_ros.cli.main import main
from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.pipeline.fuse import load_fuser
from sage_fusion_ros.pipeline.network import NetworkOptions
from sage_fusion_ros.training.checkpoint import load_checkpoint
from sage_fusion_ros.training.config import TrainSettings
from sage_fusion_ros.training.loop import BEST, CHECKPOINT, Trainer
from sage_fusion_ros.training.sage.assemble import SageInputs, build_problem
from sage_fusion_ros.training.sage.batch import SageBatch
from sage_fusion_ros.training.sage.learner import BilevelLearner
from sage_fusion_ros.training.sage.problem import shown
from sage_fusion_ros.training.sage.settings import SageSettings

LABELS = "seg_cityscapes19"
SMALL = {"teacher_width": 8, "masks": 2, "prior": f"labels:{LABELS}", "labels": LABELS}
FROZEN = ["--feature-network", "perception", "--task-network", "perception"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six pairs, five of them with a label map: road below, a car in the warm square."""
    root = write_pairs(tmp_path / "pairs")
    (root / LABELS).mkdir()
    for index in range(5):
        labels = np.full((64, 80), 255, np.uint8)
        labels[40:] = 0
        labels[20:30, 10:40] = 13
        cv2.imwrite(str(root / LABELS / f"{index:03d}.png"), labels)
    return root


def arguments(data: Path, folder: Path, name: str, sage: dict[str, Any], **changes: Any) -> list[str]:
    """Of sage-fusion but for --out."""
    settings = write_settings(
        folder / f"{name}.yaml", "sage", crop=32, device="cpu", sage={**SMALL, **sage}, **{"steps": 4, **changes}
    )
    return ["train", "sage", "--config", str(settings), "--data", str(data), "--threads", "1"]


def problem_of(**changes: Any) -> tuple[BilevelLearner, TrainSettings]:
    settings = TrainSettings("sage", crop=32, batch=2, sage=SageSettings(teacher_width=8, masks=2, **changes))
    problem = build_problem(settings, SageInputs("perception", "perception"), torch.device("cpu"))
    return BilevelLearner(problem, settings), settings


def made_batch(seed: int = 0) -> SageBatch:
    torch.manual_seed(seed)
    rgb = torch.rand(2, 3, 32, 32)
    masks = torch.zeros(2, 2, 32, 32)
    masks[:, 0, 4:20, 4:20] = 1
    labels = torch.full((2, 32, 32), 255)
    labels[:, 20:] = 0
    return SageBatch(rgb, rgb.mean(1, keepdim=True), torch.rand(2, 1, 32, 32), masks, masks.flip(2), labels)


@pytest.mark.parametrize("student", ["sage", "sage_fast"])
def test_a_run_is_trained_validated_and_becomes_a_model_that_fuses(
    student: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = {"student": student, "validation_share": 0.2}
    command = arguments(data, tmp_path, "run", chosen, validate_every=2)
    assert main([*command, *FROZEN, "--out", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().err
    assert "held back" in said
    assert "with masks (labels:seg_cityscapes19)" in said
    rows = (tmp_path / "run" / "log.csv").read_text().splitlines()
    assert {"sources", "pixel", "features", "contrast", "teacher_own", "teacher_task"} <= set(rows[0].split(","))
    state = load_checkpoint(tmp_path / "run" / CHECKPOINT)
    assert (state["recipe"], state["network"]) == ("sage", student)
    assert state["notes"]["feature_network"].startswith("perception")
    assert load_checkpoint(tmp_path / "run" / BEST)["step"] in (2, 4)
    folder = tmp_path / "models" / "mine"
    assert main(["export", str(tmp_path / "run" / BEST), "--output", str(folder)]) == 0
    fused = load_fuser(str(folder), NetworkOptions(device="cpu")).fuse(
        np.zeros((48, 64, 3), np.uint8), np.zeros((48, 64), np.uint8)
    )
    assert fused.shape == (48, 64, 3)
    more = arguments(data, tmp_path, "more", {"student": student})
    start = ["--start", str(tmp_path / "run" / CHECKPOINT), "--out", str(tmp_path / "more")]
    assert main([*more, *FROZEN, *start]) == 0


@pytest.mark.parametrize("solver", ["alternate", "unrolled"])
def test_an_interrupted_run_ends_with_the_same_bits(
    solver: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [*arguments(data, tmp_path, "run", {"solver": solver}), *FROZEN]
    assert main([*command, "--out", str(tmp_path / "whole")]) == 0
    run = Trainer.run
    monkeypatch.setattr(Trainer, "run", lambda trainer: run(trainer, until=3))
    assert main([*command, "--out", str(tmp_path / "parts")]) == 130
    monkeypatch.undo()
    assert main([*command, "--out", str(tmp_path / "parts"), "--resume"]) == 0
    whole, parts = (load_checkpoint(tmp_path / name / CHECKPOINT) for name in ("whole", "parts"))
    for key in ("model", "teacher", "ema"):
        assert all(torch.equal(whole[key][name], parts[key][name]) for name in whole[key])


def test_two_processes_do_what_one_does_with_two_micro_batches(data: Path, tmp_path: Path) -> None:
    options = [*FROZEN, "--masks", str(tmp_path / "masks")]
    launch = ["--standalone", "--local-addr=127.0.0.1", "--nproc_per_node=2", "-m", "sage_fusion_ros.cli.main"]
    two = [*arguments(data, tmp_path, "two", {"solver": "unrolled"}), *options, "--out", str(tmp_path / "two")]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *launch, *two],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    one = arguments(data, tmp_path, "one", {"solver": "unrolled"}, accumulate=2)
    assert main([*one, *options, "--out", str(tmp_path / "one")]) == 0
    alone, together = (load_checkpoint(tmp_path / name / CHECKPOINT) for name in ("one", "two"))
    for key in ("model", "teacher"):
        for name, value in alone[key].items():
            assert torch.allclose(value, together[key][name], rtol=1e-3, atol=1e-5), (key, name)


@pytest.mark.parametrize("solver", ["alternate", "unrolled"])
def test_each_step_changes_one_network_and_leaves_the_other_and_its_statistics(solver: str) -> None:
    learner, _ = problem_of(solver=solver)
    for step in range(2):
        before = [
            {name: value.clone() for name, value in network.state_dict().items()}
            for network in (learner.network, learner.teacher)
        ]
        values = learner.update(step, [made_batch(step)])
        assert all(np.isfinite(value) for value in values.values())
        after = [network.state_dict() for network in (learner.network, learner.teacher)]
        same = [all(torch.equal(old[name], new[name]) for name in old) for old, new in zip(before, after, strict=True)]
        assert same == [step == 1, step == 0]
        assert all(parameter.grad is None for parameter in learner.teacher.parameters())


def test_the_teacher_may_be_trained_alone_first() -> None:
    learner, _ = problem_of(teacher_warmup=3)
    start = {name: value.clone() for name, value in learner.network.state_dict().items()}
    for step in range(3):
        assert "teacher_own" in learner.update(step, [made_batch(step)])
    assert all(torch.equal(start[name], value) for name, value in learner.network.state_dict().items())


def test_the_solvers_differ_in_the_teacher_alone() -> None:
    """The student's first step is the same; the teacher's is not, since it sees how the student would answer."""
    weights = []
    for solver in ("alternate", "unrolled"):
        learner, _ = problem_of(solver=solver)
        for step in range(2):
            learner.update(step, [made_batch(step)])
        weights.append((learner.network.state_dict(), learner.teacher.state_dict()))
    (student, teacher), (other_student, other_teacher) = weights
    assert all(torch.equal(student[name], other_student[name]) for name in student)
    assert not all(torch.equal(teacher[name], other_teacher[name]) for name in teacher)


def test_the_student_s_loss_reaches_the_teacher_unless_it_is_held() -> None:
    learner, settings = problem_of()
    problem = build_problem(settings, SageInputs("perception", "perception"), torch.device("cpu"))
    torch.stack(list(problem.student_terms(made_batch()).values())).sum().backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in problem.teacher.parameters())
    assert learner.network is not problem.student


def test_an_empty_mask_shows_the_whole_image() -> None:
    image = torch.rand(2, 1, 4, 4)
    masks = torch.zeros(2, 2, 4, 4)
    masks[0, 0, :2] = 1
    seen = shown(image, masks)
    assert torch.equal(seen[0, 0, :2], image[0, 0, :2])
    assert not seen[0, 0, 2:].any()
    assert torch.equal(seen[0, 1], image[0, 0])
    assert torch.equal(seen[1, 0], image[1, 0])


def test_what_is_missing_or_not_needed_is_named(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(options: list[str], sage: dict[str, Any] | None = None, **changes: Any) -> str:
        command = arguments(data, tmp_path, "x", sage or {}, **changes)
        assert main([*command, *options, "--out", str(tmp_path / "refused")]) == 2
        assert not (tmp_path / "refused" / CHECKPOINT).exists()
        return capsys.readouterr().err

    assert "term 'contrast' a weight; give --feature-network" in refused([])
    assert "term 'contrast' no weight; leave --feature-network out" in refused(FROZEN, terms={"contrast": 0.0})
    assert "terms has the unknown keys colour" in refused(FROZEN, terms={"colour": 1.0})
    assert "takes no --teacher" in refused([*FROZEN, "--teacher", "x.pt"])
    assert "sage.labels names no folder" in refused(FROZEN, {"labels": ""})
    assert "has a label map 'other'" in refused(FROZEN, {"labels": "other"})
    assert "the prior is 'clouds'" in refused([*FROZEN, "--prior", "clouds"])
    assert "gave no mask for any" in refused([*FROZEN, "--prior", "labels:nothing"])
    assert "no model" in refused(["--feature-network", "nowhere", "--task-network", "perception"]).lower()
    fast = write_settings(tmp_path / "f.yaml", "sage_fast")
    command = ["train", "sage_fast", "--config", str(fast), "--data", str(data), "--prior", "none"]
    assert main([*command, "--out", str(tmp_path / "refused")]) == 2
    assert "are for 'sage'" in capsys.readouterr().err


def test_damaged_files_are_an_error_or_counted(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "vi" / "002.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (data / LABELS / "003.png").write_bytes(b"nothing")
    command = [*arguments(data, tmp_path, "strict", {}), *FROZEN]
    assert main([*command, "--out", str(tmp_path / "run")]) == 2
    assert "002.png" in capsys.readouterr().err
    command = [*arguments(data, tmp_path, "loose", {"skip_damaged": True}, steps=1), *FROZEN]
    assert main([*command, "--out", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().err
    assert "002.png" in said
    assert "003.png" in said
    assert load_checkpoint(tmp_path / "run" / CHECKPOINT)["notes"]["damaged"] >= 2


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"student": "x"}, "student is 'x'"),
        ({"solver": "x"}, "solver is 'x'"),
        ({"teacher_width": 12}, "multiple of 8"),
        ({"validation_share": 0.9}, "validation_share"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ParameterError, match=named):
        SageSettings(**changes)
