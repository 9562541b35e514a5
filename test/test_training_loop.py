"""What a run is around its steps: best weights, early stop, logs, checkpoints that survive, and going on from them."""

from __future__ import annotations

import csv
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from toy_learner import ToyLearner, toy_batch, toy_settings

from sage_fusion_ros.errors import ModelError, ParameterError, TrainingError
from sage_fusion_ros.training.checkpoint import load_checkpoint, save_checkpoint
from sage_fusion_ros.training.config import TrainSettings
from sage_fusion_ros.training.loop import BEST, CHECKPOINT, Trainer
from sage_fusion_ros.training.progress import Forecast
from sage_fusion_ros.training.run_log import LOG, TENSORBOARD, VALIDATION

Validate = Callable[[nn.Module], dict[str, float]]


def make_trainer(out: Path, validate: Validate | None = None, **changes: Any) -> Trainer:
    settings = toy_settings(**changes)
    return Trainer(settings, ToyLearner(settings), toy_batch, out, validate=validate)


def scripted(*scores: float) -> Validate:
    """Gives these scores one after the other."""
    waiting = iter(scores)
    return lambda _network: {"score": next(waiting)}


def slope(network: nn.Module) -> dict[str, float]:
    """A score of the weights, from inputs drawn at random."""
    assert not network.training
    drawn = torch.rand(4, 1)
    return {"gap": float((network(drawn) - 2 * drawn).square().mean()), "slope": float(network[1].weight)}


def same(first: Any, second: Any) -> bool:
    """Whether two nested states are equal to the bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("stopped_after", [1, 3, 4])
def test_everything_goes_on_to_the_bit(stopped_after: int, tmp_path: Path) -> None:
    changes = {"accumulate": 2, "validate_every": 2, "patience": 3}
    assert make_trainer(tmp_path / "whole", slope, **changes).run()
    assert not make_trainer(tmp_path / "parts", slope, **changes).run(until=stopped_after)
    resumed = make_trainer(tmp_path / "parts", slope, **changes)
    resumed.resume()
    assert resumed.step == stopped_after
    assert resumed.run()
    for name in (CHECKPOINT, BEST):
        whole, parts = ({**load_checkpoint(tmp_path / run / name), "seconds": 0} for run in ("whole", "parts"))
        assert same(whole, parts), name
    for name in (LOG, VALIDATION):
        whole, parts = ([{**row, "seconds": ""} for row in rows(tmp_path / run / name)] for run in ("whole", "parts"))
        assert whole == parts
    assert [row["step"] for row in rows(tmp_path / "whole" / VALIDATION)] == ["2", "4", "6"]


def test_validation_does_not_change_what_is_learnt(tmp_path: Path) -> None:
    make_trainer(tmp_path / "with", slope, validate_every=1).run()
    make_trainer(tmp_path / "without").run()
    states = [load_checkpoint(tmp_path / run / CHECKPOINT) for run in ("with", "without")]
    assert all(same(states[0][key], states[1][key]) for key in ("model", "ema", "optimiser", "torch_rng"))


def test_it_is_the_running_mean_that_is_validated(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []

    def keep(network: nn.Module) -> dict[str, float]:
        seen.append(dict(network.state_dict()))
        return {"score": 0.0}

    trainer = make_trainer(tmp_path, keep, validate_every=6)
    trainer.run()
    assert same(seen[0], load_checkpoint(tmp_path / CHECKPOINT)["ema"])
    assert not same(seen[0], dict(trainer.network.state_dict()))


def test_the_lowest_score_is_the_best_and_the_earlier_of_equal_ones(tmp_path: Path) -> None:
    scores = (math.nan, 5.0, 3.0, 3.0, math.nan, 4.0)
    trainer = make_trainer(tmp_path, scripted(*scores), validate_every=1)
    assert trainer.run()
    assert load_checkpoint(tmp_path / BEST)["step"] == 3
    assert load_checkpoint(tmp_path / CHECKPOINT)["step"] == 6
    assert (trainer.best.score, trainer.best.step, trainer.best.without) == (3.0, 3, 3)
    assert [row["best"] for row in rows(tmp_path / VALIDATION)] == ["inf", "5", "3", "3", "3", "3"]


def test_patience_ends_the_run_and_a_resumed_one_stays_ended(tmp_path: Path) -> None:
    changes = {"steps": 20, "validate_every": 2, "patience": 2}
    trainer = make_trainer(tmp_path, scripted(5.0, 4.0, 6.0, 4.5), **changes)
    assert trainer.run()
    assert (trainer.step, trainer.out_of_patience) == (8, True)
    resumed = make_trainer(tmp_path, scripted(), **changes)
    resumed.resume()
    assert resumed.run()
    assert resumed.step == 8
    assert load_checkpoint(tmp_path / BEST)["step"] == 4


def test_validation_settings_that_can_mean_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="'sage_fast' has no validation"):
        make_trainer(tmp_path, None, validate_every=5)
    with pytest.raises(ParameterError, match="patience is 2, but nothing is validated"):
        toy_settings(patience=2)
    with pytest.raises(ParameterError, match="device is 'gpu'"):
        toy_settings(device="gpu")
    with pytest.raises(ParameterError, match="accumulate is 0"):
        toy_settings(accumulate=0)
    with pytest.raises(ParameterError, match="validate_every is -1"):
        toy_settings(validate_every=-1)


def test_tensorboard_has_the_figures_once_each_also_after_a_kill(tmp_path: Path) -> None:
    make_trainer(tmp_path, slope, validate_every=2, checkpoint_every=3).run(until=3)
    state = load_checkpoint(tmp_path / CHECKPOINT)
    killed = make_trainer(tmp_path, slope, validate_every=2, checkpoint_every=3)
    killed.resume()
    killed.run(until=5)
    save_checkpoint(tmp_path / CHECKPOINT, state)  # as if the last two steps had never been saved
    resumed = make_trainer(tmp_path, slope, validate_every=2, checkpoint_every=3)
    resumed.resume()
    resumed.run()
    events = EventAccumulator(str(tmp_path / TENSORBOARD))
    events.Reload()
    wanted = {"loss", "learning_rate", "terms/square", "validation/gap", "validation/slope", "validation/best"}
    assert set(events.Tags()["scalars"]) == wanted
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in events.Scalars("validation/gap")] == [2, 4, 6]
    for event, row in zip(events.Scalars("terms/square"), rows(tmp_path / LOG), strict=True):
        assert event.value == pytest.approx(float(row["square"]), rel=1e-4)


def test_without_tensorboard_the_rest_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    make_trainer(tmp_path, slope, validate_every=3).run()
    assert not (tmp_path / TENSORBOARD).exists()
    assert (len(rows(tmp_path / LOG)), len(rows(tmp_path / VALIDATION))) == (6, 2)


def test_a_row_that_was_cut_off_is_dropped(tmp_path: Path) -> None:
    make_trainer(tmp_path).run(until=2)
    with (tmp_path / LOG).open("a") as stream:
        stream.write("3,0.1,0.2,0.3,1.0\n1")
    resumed = make_trainer(tmp_path)
    resumed.resume()
    resumed.run()
    assert [row["step"] for row in rows(tmp_path / LOG)] == ["1", "2", "3", "4", "5", "6"]


class TwoTurns(ToyLearner):
    """Other terms in even steps than in odd ones."""

    def update(self, step: int, batches: Any) -> dict[str, float]:
        super().update(step, batches)
        return {"even": 1.0 + step} if step % 2 == 0 else {"odd": 1.0 + step}


def test_terms_that_come_by_turns_have_a_column_each(tmp_path: Path) -> None:
    settings = toy_settings()
    Trainer(settings, TwoTurns(settings), toy_batch, tmp_path).run(until=3)
    resumed = Trainer(settings, TwoTurns(settings), toy_batch, tmp_path)
    resumed.resume()
    resumed.run()
    assert [(row["even"], row["odd"]) for row in rows(tmp_path / LOG)] == [
        ("1", ""),
        ("1", "2"),
        ("3", "2"),
        ("3", "4"),
        ("5", "4"),
        ("5", "6"),
    ]
    assert (tmp_path / LOG).read_text().splitlines()[0] == "step,learning_rate,loss,even,odd,seconds"


class Exploding(ToyLearner):
    def update(self, step: int, batches: Any) -> dict[str, float]:
        return {**super().update(step, batches), "other": math.inf if step == 3 else 0.0}


def test_a_loss_that_is_no_number_ends_the_run_before_it_is_saved(tmp_path: Path) -> None:
    settings = toy_settings()
    with pytest.raises(TrainingError, match="at step 4 the loss's other is no finite number"):
        Trainer(settings, Exploding(settings), toy_batch, tmp_path).run()
    assert load_checkpoint(tmp_path / CHECKPOINT)["step"] == 2


FULL_DISK = """
import resource, sys
from pathlib import Path
from toy_learner import ToyLearner, toy_batch, toy_settings
from sage_fusion_ros.errors import ModelError
from sage_fusion_ros.training.loop import Trainer

folder, settings = Path(sys.argv[1]), toy_settings()
trainers = [Trainer(settings, ToyLearner(settings), toy_batch, folder / name) for name in ("first", "second")]
trainers[1].run(until=2)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))  # no file may grow beyond it
for trainer in trainers:
    try:
        trainer.run()
    except ModelError as error:
        print(error)
"""


def test_a_full_disk_leaves_the_earlier_checkpoint(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=120, check=True)
    first, second = done.stdout.splitlines()
    assert f"{tmp_path / 'first' / CHECKPOINT} can't be written: File too large; there is no earlier checkp" in first
    assert f"{tmp_path / 'second' / CHECKPOINT} can't be written: File too large; the earlier checkpoint.pt" in second
    left = [path for path in tmp_path.glob("*/*") if path.suffix in {".pt", ".partial"}]
    assert left == [tmp_path / "second" / CHECKPOINT]
    resumed = make_trainer(tmp_path / "second")
    resumed.resume()
    assert resumed.step == 2
    assert resumed.run()


def test_a_folder_that_can_not_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file where the folder should be")
    with pytest.raises(TrainingError, match=r"run can't be written: .*xists"):
        make_trainer(tmp_path / "run").run()
    with pytest.raises(ModelError, match="there is no earlier"):
        make_trainer(tmp_path / "nowhere").save()


def old_state(path: Path) -> dict[str, Any]:
    """What a run saved before micro-batches, validation and processes were known."""
    state = load_checkpoint(path)
    for name in ("accumulate", "device", "validate_every", "patience"):
        del state["settings"][name]
    del state["settings"]["perception"]["mosaic"]
    return {key: value for key, value in state.items() if key not in {"processes", "best", "terms", "format"}}


def test_a_run_from_before_goes_on_and_lends_its_weights(tmp_path: Path) -> None:
    make_trainer(tmp_path / "whole").run()
    make_trainer(tmp_path / "old").run(until=3)
    save_checkpoint(tmp_path / "old" / CHECKPOINT, old_state(tmp_path / "old" / CHECKPOINT))
    resumed = make_trainer(tmp_path / "old")
    resumed.resume()
    resumed.run()
    states = [load_checkpoint(tmp_path / run / CHECKPOINT) for run in ("whole", "old")]
    assert same(states[0]["ema"], states[1]["ema"])
    save_checkpoint(tmp_path / "old" / CHECKPOINT, old_state(tmp_path / "old" / CHECKPOINT))
    second = make_trainer(tmp_path / "second", accumulate=2)
    second.start_from(tmp_path / "old" / CHECKPOINT)
    assert same(dict(second.network.state_dict()), states[1]["ema"])
    with pytest.raises(ParameterError, match=r"other settings \(accumulate\)"):
        make_trainer(tmp_path / "old", accumulate=2).resume()


def test_settings_that_differ_are_named_and_a_device_may(tmp_path: Path) -> None:
    make_trainer(tmp_path).run(until=1)
    make_trainer(tmp_path, device="auto").resume()
    state = load_checkpoint(tmp_path / CHECKPOINT)
    state["settings"]["perception"]["pool"] = 7
    state["settings"]["terms"] = {"pixel": 2.0}
    state["settings"]["forgotten"] = True
    save_checkpoint(tmp_path / CHECKPOINT, state)
    with pytest.raises(ParameterError, match=r"other settings \(forgotten, perception\.pool, terms\.pixel\)"):
        make_trainer(tmp_path).resume()
    save_checkpoint(tmp_path / CHECKPOINT, {**state, "settings": toy_settings().as_dict(), "processes": 2})
    with pytest.raises(ParameterError, match="is of 2 processes, not 1"):
        make_trainer(tmp_path).resume()


def test_a_checkpoint_of_another_learner_is_refused(tmp_path: Path) -> None:
    make_trainer(tmp_path).run(until=1)
    state = load_checkpoint(tmp_path / CHECKPOINT)
    save_checkpoint(tmp_path / CHECKPOINT, {**state, "model": {"other.weight": torch.zeros(1)}})
    with pytest.raises(ModelError, match="holds other networks than this run's"):
        make_trainer(tmp_path).resume()
    save_checkpoint(tmp_path / CHECKPOINT, {**state, "ema": {"other.weight": torch.zeros(1)}})
    with pytest.raises(ModelError, match="holds other networks than this run's"):
        make_trainer(tmp_path / "second").start_from(tmp_path / CHECKPOINT)


def test_the_forecast_counts_steps_and_validations_apart() -> None:
    forecast = Forecast(steps=100, validate_every=10)
    assert forecast.seconds_left(0) is None
    forecast.stepped(60.0)  # loads and warms up; is not to come again
    assert forecast.seconds_left(51) is None
    forecast.stepped(2.0)
    assert forecast.seconds_left(52) == pytest.approx(48 * 2.0)
    forecast.validated(30.0)
    assert forecast.seconds_left(60) == pytest.approx(40 * 2.0 + 4 * 30.0)
    assert forecast.seconds_left(100) == 0
    for _ in range(1000):
        forecast.stepped(4.0)
    assert forecast.seconds_left(99) == pytest.approx(4.0 + 30.0, rel=0.01)


def test_defaults_are_one_micro_batch_and_no_validation() -> None:
    settings = TrainSettings("sage")
    assert (settings.accumulate, settings.device, settings.validate_every, settings.patience) == (1, "auto", 0, 0)
