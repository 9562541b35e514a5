"""sage-fusion bag fuse, killed and called again; and many bags in several processes."""

import json
import os
import shutil
import signal
import time

import pytest
from bag_files import contents, read_messages, record, run, start, topics_of
from mock_models import make_model

from sage_fusion_ros.bags import many
from sage_fusion_ros.bags.many import ATTEMPTS
from sage_fusion_ros.bags.work_folder import WorkFolder
from sage_fusion_ros.cli.bag_fuse import make_jobs
from sage_fusion_ros.pipeline.thermal import ThermalNormaliser

pytest.importorskip("rosbags")
PAIRS = 64
FUSED = "/fusion_node/output/fused"
SMALL_FILES = ("--file-mb", "0.1")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Arguments that choose a slow model, of which nothing is left to chance."""
    root = tmp_path_factory.mktemp("models")
    make_model(root / "slow", "Mean", repeat=40)
    words = {"fusion.model": "slow", "perception.model": "", "models.path": [str(root)], "engine.threads": 1}
    return [word for name, value in words.items() for word in ("--set", f"{name}:={json.dumps(value)}")]


def words_for(bags, output, models, *more):
    return ("fuse", *bags, "--output", output, *models, *SMALL_FILES, *more)


def interrupt_midway(words, out, names=("bag",), number=signal.SIGKILL):
    """Starts a command and ends it when each of its bags is in the middle; returns the exit code."""
    checkpoints = [out / f".{name}.partial/checkpoint.json" for name in names]
    for _ in range(5):
        process = start(*words)
        while process.poll() is None and not all(path.exists() for path in checkpoints):
            time.sleep(0.01)
        early = process.returncode is None
        process.send_signal(number)
        output, _ = process.communicate()
        assert early or process.returncode == 0, output
        if early and not any((out / name).exists() for name in names):
            return process.returncode
        shutil.rmtree(out)  # on a machine that is too busy for this test, it came too late
    raise AssertionError(f"never in the middle; the last time: {output}")


def report_of(bag):
    return json.loads((bag / "report.json").read_text())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path, models, number):
    bag = record(tmp_path / "bag", PAIRS)
    words = words_for([bag], tmp_path / "out", models)
    interrupt_midway(words, tmp_path / "out", number=number)
    partial = tmp_path / "out/.bag.partial"
    done = json.loads((partial / "checkpoint.json").read_text())["tally"]["pairs"]
    assert 0 < done < PAIRS, "killed in the middle"
    assert not (tmp_path / "out/bag").exists()
    readable = partial / "bag/bag_0.mcap"
    assert len(read_messages(readable, FUSED)) > 0, "each whole file can be read by itself"
    assert run(*words) == 0
    assert report_of(tmp_path / "out/bag")["interruptions"] == 1
    assert report_of(tmp_path / "out/bag")["pairs"] == {"found": PAIRS, "fused": PAIRS, "skipped": 0}
    assert not partial.exists()
    assert run(*words_for([bag], tmp_path / "whole", models)) == 0
    assert contents(tmp_path / "out/bag") == contents(tmp_path / "whole/bag")


def test_another_job_does_not_go_on_with_what_is_not_its_own(tmp_path, models, capsys):
    bag = record(tmp_path / "bag", PAIRS)
    interrupt_midway(words_for([bag], tmp_path / "out", models), tmp_path / "out")
    other = words_for([bag], tmp_path / "out", models, "--set", "output.thermal_tint:=0.5")
    assert run(*other) == 2
    assert "differs in pipeline" in capsys.readouterr().err
    assert (tmp_path / "out/.bag.partial/checkpoint.json").exists(), "nothing is lost"
    assert run(*other, "--restart") == 0
    assert report_of(tmp_path / "out/bag")["interruptions"] == 0


def test_a_damaged_note_is_told_and_restart_helps(tmp_path, models, capsys):
    bag = record(tmp_path / "bag", PAIRS)
    words = words_for([bag], tmp_path / "out", models)
    interrupt_midway(words, tmp_path / "out")
    (tmp_path / "out/.bag.partial/checkpoint.json").write_text("{")
    assert run(*words) == 2
    assert "begin anew with --restart" in capsys.readouterr().err
    assert run(*words, "--restart") == 0


def test_two_commands_do_not_write_one_bag(tmp_path, models, capsys):
    bag = record(tmp_path / "bag", 5)
    words = words_for([bag], tmp_path / "out", models)
    with WorkFolder(tmp_path / "out/bag"):
        assert run(*words) == 2
    assert "is being written by another process" in capsys.readouterr().err
    assert run(*words) == 0, "whoever held it is gone"


def test_what_is_done_is_not_done_again(tmp_path, models, capsys):
    bag = record(tmp_path / "bag", 5)
    words = words_for([bag], tmp_path / "out", models)
    assert run(*words) == 0
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "out/bag").iterdir()}
    capsys.readouterr()
    assert run(*words) == 0
    assert "5 of 5 pairs fused (fused before)" in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "out/bag").iterdir()} == before


def test_the_normalisations_state_is_what_makes_the_bytes_equal():
    """The range follows the scene, so a run that forgot it would come to other grey levels."""
    import numpy as np

    images = [np.linspace(1000 * i, 1000 * i + 900, 64, dtype=np.uint16).reshape(8, 8) for i in range(4)]
    stamps = [i * 33_333_333 for i in range(4)]
    whole, first, second, forgetful = (ThermalNormaliser() for _ in range(4))
    expected = [whole(image, stamp) for image, stamp in zip(images, stamps, strict=True)]
    for image, stamp in zip(images[:2], stamps[:2], strict=True):
        first(image, stamp)
    second.state = json.loads(json.dumps(first.state))
    for index in (2, 3):
        assert (second(images[index], stamps[index]) == expected[index]).all()
    assert (forgetful(images[2], stamps[2]) != expected[2]).any()


def test_several_processes_give_the_bytes_of_one(tmp_path, models):
    bags = [record(tmp_path / f"bag{i}", 10 + i) for i in range(3)]
    assert run(*words_for(bags, tmp_path / "one", models)) == 0
    assert run(*words_for(bags, tmp_path / "two", models, "--processes", 2)) == 0
    for bag in bags:
        assert contents(tmp_path / "two" / bag.name) == contents(tmp_path / "one" / bag.name)


def jobs_for(bags, output, models):
    from bag_files import arguments

    return make_jobs(arguments(*words_for(bags, output, models)))


WORK = many._work


class DeadlyPipe:
    """A process's pipe that kills it after so many pairs of the bag "bag0", and takes note of that beside the bag."""

    def __init__(self, job, pipe, times):
        self.job, self.pipe, self.times = job, pipe, times

    def send(self, message):
        self.pipe.send(message)
        note = self.job.bag.parent / "deaths"
        deaths = note.read_text() if note.exists() else ""
        if self.job.bag.name == "bag0" and message[0] == "progress" and len(deaths) < self.times:
            done, _ = message[1]
            if done > 20 * (len(deaths) + 1):
                note.write_text(deaths + "x")
                os.kill(os.getpid(), signal.SIGKILL)


def dies_once(job, restart, pipe):
    WORK(job, restart, DeadlyPipe(job, pipe, 1))


def dies_always(job, restart, pipe):
    WORK(job, restart, DeadlyPipe(job, pipe, ATTEMPTS))


def test_a_process_that_is_killed_is_replaced_and_the_others_do_not_notice(tmp_path, models, monkeypatch):
    bags = [record(tmp_path / f"bag{i}", PAIRS if i == 0 else 10) for i in range(3)]
    monkeypatch.setattr(many, "_work", dies_once)
    results = many.fuse_in_processes(jobs_for(bags, tmp_path / "out", models), 2, lambda *_: None)
    assert (tmp_path / "deaths").read_text() == "x"
    assert [result.error for result in results] == ["", "", ""]
    assert [result.fused.report["interruptions"] for result in results] == [1, 0, 0]
    assert run(*words_for(bags, tmp_path / "one", models)) == 0
    for bag in bags:
        assert contents(tmp_path / "out" / bag.name) == contents(tmp_path / "one" / bag.name)
    assert not many.multiprocessing.active_children()


def test_a_process_that_dies_every_time_is_given_up(tmp_path, models, monkeypatch):
    bags = [record(tmp_path / f"bag{i}", PAIRS if i == 0 else 10) for i in range(2)]
    monkeypatch.setattr(many, "_work", dies_always)
    results = many.fuse_in_processes(jobs_for(bags, tmp_path / "out", models), 2, lambda *_: None)
    assert (tmp_path / "deaths").read_text() == "x" * ATTEMPTS
    assert f"its process died {ATTEMPTS} times, the last time with exit code -9" in results[0].error
    assert results[1].error == ""
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if not p.name.startswith(".")) == ["bag1"]


def test_ctrl_c_ends_all_processes_and_the_same_command_goes_on(tmp_path, models):
    bags = [record(tmp_path / f"bag{i}", PAIRS) for i in range(2)]
    words = words_for(bags, tmp_path / "out", models, "--processes", 2)
    code = interrupt_midway(words, tmp_path / "out", [bag.name for bag in bags], signal.SIGINT)
    assert code == 130
    assert run(*words) == 0, "the locks are free, so nobody is at work any more"
    for bag in bags:
        assert topics_of(tmp_path / "out" / bag.name)[FUSED] == PAIRS


def test_processes_end_with_the_command_that_was_killed(tmp_path, models):
    bags = [record(tmp_path / f"bag{i}", PAIRS) for i in range(2)]
    words = words_for(bags, tmp_path / "out", models, "--processes", 2)
    interrupt_midway(words, tmp_path / "out", [bag.name for bag in bags])
    end = time.monotonic() + 60
    while run(*words) != 0:  # until the locks are free
        assert time.monotonic() < end, "somebody is still at work"
        time.sleep(0.05)
    for bag in bags:
        assert report_of(tmp_path / "out" / bag.name)["interruptions"] == 1, "nobody finished it unasked"
