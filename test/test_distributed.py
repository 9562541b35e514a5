"""Several processes and micro-batches: the same numbers however they are shared out."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from training_data import write_pairs, write_settings

from sage_fusion_ros.cli.main import main
from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.networks.sage import SageStudent
from sage_fusion_ros.training.checkpoint import load_checkpoint
from sage_fusion_ros.training.device import choose_device, move
from sage_fusion_ros.training.distributed import Group, gradients, joined
from sage_fusion_ros.training.learner import draw_seeds
from sage_fusion_ros.training.loop import CHECKPOINT
from sage_fusion_ros.training.prefetch import Prefetched

WORKER = Path(__file__).with_name("torchrun_worker.py")


def train(folder: Path, name: str, **changes: object) -> list[str]:
    """Arguments of sage-fusion but for --out, for four steps on tiny pairs with a network that has batch norms."""
    recipe = "sage_distilled"
    settings = write_settings(folder / f"{name}.yaml", recipe, steps=4, device="cpu", **changes)
    inputs = ["--data", str(folder / "pairs"), "--teacher", str(folder / "teacher.pt"), "--threads", "1"]
    return ["train", recipe, "--config", str(settings), *inputs]


def test_two_processes_do_what_one_does_with_two_micro_batches(tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs")
    torch.manual_seed(5)
    torch.save(SageStudent().state_dict(), tmp_path / "teacher.pt")
    both = ["--standalone", "--local-addr=127.0.0.1", "--nproc_per_node=2", str(WORKER), str(tmp_path)]
    command = [sys.executable, "-m", "torch.distributed.run", *both, *train(tmp_path, "two")]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=150
    )
    assert done.returncode == 0, done.stderr
    assert main([*train(tmp_path, "one", accumulate=2), "--out", str(tmp_path / "one")]) == 0
    one, whole, parts = (load_checkpoint(tmp_path / run / CHECKPOINT) for run in ("one", "whole", "parts"))
    start = torch.load(tmp_path / "teacher.pt", weights_only=True)
    assert any("running_var" in name for name in start)
    for key in ("model", "ema"):
        assert all(torch.equal(value, parts[key][name]) for name, value in whole[key].items())
        for name, value in one[key].items():
            torch.testing.assert_close(whole[key][name], value, rtol=1e-4, atol=1e-6)
    assert (whole["processes"], whole["notes"]["processes"], one["processes"]) == (2, 2, 1)
    logs = [(tmp_path / run / "log.csv").read_text().splitlines() for run in ("one", "whole", "parts")]
    assert [len(log) for log in logs] == [5, 5, 5]
    assert [row.rsplit(",", 1)[0] for row in logs[1]] == [row.rsplit(",", 1)[0] for row in logs[2]]
    assert main([*train(tmp_path, "two"), "--out", str(tmp_path / "whole"), "--resume"]) == 2
    for rank in (0, 1):
        assert json.loads((tmp_path / f"group{rank}.json").read_text()) == {
            "rank": rank,
            "mean": [[[0.5] * 3] * 2, 2.0],
            "any": [True, False],
            "shared": "from 0",
            "shared_error": "process 0 finds nothing",
            "found": rank == 1,
        }


def make_network() -> nn.Sequential:
    torch.manual_seed(2)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 1, 1), nn.Conv2d(1, 1, 1))


def squares(network: nn.Module, batch: Tensor) -> dict[str, Tensor]:
    values = network[:3](batch)  # the last layer is not used
    return {"square": values.square().mean(), "mean": 0.5 * values.mean().abs()}


def test_gradients_terms_and_running_statistics_are_means_over_micro_batches() -> None:
    batches = list(torch.rand(3, 2, 1, 6, 6))
    wanted_gradients, wanted_means, wanted_variances, wanted_terms = [], [], [], []
    for batch in batches:
        alone = make_network()
        terms = squares(alone, batch)
        (terms["square"] + terms["mean"]).backward()
        wanted_gradients.append([p.grad for p in alone[:3].parameters()])
        wanted_means.append(alone[1].running_mean)
        wanted_variances.append(alone[1].running_var)
        wanted_terms.append(terms["square"].detach())
    network = make_network()
    network[0].weight.grad = torch.ones_like(network[0].weight)  # of a step before
    values = gradients(Group(), [network], batches, lambda batch: squares(network, batch))
    assert list(values) == ["square", "mean"]
    assert values["square"] == pytest.approx(float(torch.stack(wanted_terms).mean()), rel=1e-6)
    for parameter, each in zip(network[:3].parameters(), zip(*wanted_gradients, strict=True), strict=True):
        torch.testing.assert_close(parameter.grad, torch.stack(each).mean(dim=0))
    torch.testing.assert_close(network[1].running_mean, torch.stack(wanted_means).mean(dim=0))
    torch.testing.assert_close(network[1].running_var, torch.stack(wanted_variances).mean(dim=0))
    assert int(network[1].num_batches_tracked) == 1
    assert network[3].weight.grad is None


def test_batch_norms_in_eval_mode_and_other_networks_are_left_alone() -> None:
    network, other = make_network(), make_network()
    network[1].eval()
    other[0].weight.grad = torch.full_like(other[0].weight, 7.0)
    network[2].requires_grad_(False)
    before = copy.deepcopy(network[1].state_dict())

    def terms(batch: Tensor) -> dict[str, Tensor]:
        return {"gap": (network[:3](batch) - other[:3](batch)).square().mean()}

    gradients(Group(), [network], list(torch.rand(2, 2, 1, 6, 6)), terms)
    assert all(torch.equal(value, before[name]) for name, value in network[1].state_dict().items())
    assert bool((other[0].weight.grad == 7).all())
    assert other[2].weight.grad is None
    assert network[2].weight.grad is None
    assert network[0].weight.grad is not None


def test_a_micro_batch_draws_the_same_whichever_process_does_it() -> None:
    def drawn(group: Group, count: int) -> list[float]:
        network, values = nn.Linear(1, 1), []

        def terms(_batch: None) -> dict[str, Tensor]:
            values.append(float(torch.rand(())))
            return {"all": network.weight.sum()}

        gradients(Group(), [network], [None] * count, terms, draw_seeds(3, group, 5, count))
        return values

    one = drawn(Group(), 2)
    assert one == [*drawn(Group(0, 2), 1), *drawn(Group(1, 2), 1)]
    assert one[0] != one[1]
    assert draw_seeds(3, Group(), 5, 1) is None


@given(size=st.integers(1, 4), accumulate=st.integers(1, 3))
def test_every_micro_batch_is_done_once_and_in_order(size: int, accumulate: int) -> None:
    groups = [Group(rank, size) for rank in range(size)]
    of_a_step = [number for group in groups for number in group.indices(2, accumulate)]
    assert of_a_step == list(range(2 * size * accumulate, 3 * size * accumulate))
    for group in groups:
        mine = [number for step in range(3) for number in group.indices(step, accumulate)]
        assert [group.following(number, accumulate) for number in mine[:-1]] == mine[1:]


def test_a_process_prepares_its_own_micro_batches_ahead_and_none_twice() -> None:
    made: list[int] = []

    def sampler(number: int) -> int:
        made.append(number)
        return number

    group = Group(1, 2)
    batches = Prefetched(sampler, lambda number: group.following(number, 2))
    wanted = [number for step in range(3) for number in group.indices(step, 2)]
    assert [batches(number) for number in wanted] == wanted
    assert made[: len(wanted)] == wanted


@dataclass(frozen=True)
class Nested:
    image: Tensor
    more: tuple[Tensor, ...]
    name: str


def test_batches_move_with_all_that_is_in_them() -> None:
    batch = Nested(torch.zeros(2), (torch.ones(3), torch.ones(1)), "a")
    there = move([batch, {"count": torch.ones(1)}, 3], torch.device("meta"))
    assert isinstance(there[0], Nested)
    assert [each.device.type for each in (there[0].image, *there[0].more, there[1]["count"])] == ["meta"] * 4
    assert (there[0].name, there[0].more[0].shape, there[2]) == ("a", (3,), 3)


def test_devices_that_are_not_there_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto", 0).type == "cpu"
    with pytest.raises(ParameterError, match="torch finds no GPU; set device to auto or cpu"):
        choose_device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device("cpu", 0).type == "cpu"
    with pytest.raises(ParameterError, match="process 1 of this machine has no GPU of its own, there are 1"):
        choose_device("auto", 1)


def test_a_group_that_torchrun_did_not_start_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ParameterError, match="RANK is ''; start with torchrun"), joined("cpu"):
        pass
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(ParameterError, match="process 0 of 2 can't join the others"), joined("cpu"):
        pass
    monkeypatch.setenv("WORLD_SIZE", "1")
    with joined("cpu") as group:
        assert (group.size, group.main) == (1, True)
