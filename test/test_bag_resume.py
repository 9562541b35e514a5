"""sage-fusion bag fuse, killed and called again; and many bags in several processes."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from bag_files import contents, read_messages, record, run, start, topics_of
from mock_models import make_model

from sage_fusion_ros.bags import many
from sage_fusion_ros.bags.many import ATTEMPTS
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


def wait_for(path: Path, process):
    end = time.monotonic() + 90
    while not path.exists():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < end, f"{path} never came"
        time.sleep(0.01)


def kill(process, number=signal.SIGKILL):
    os.kill(process.pid, number)
    process.wait()
    process.stdout.close()


def report_of(bag):
    return json.loads((bag / "report.json").read_text())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path, models, number):
    bag = record(tmp_path / "bag", PAIRS)
    words = words_for([bag], tmp_path / "out", models)
    process = start(*words)
    partial = tmp_path / "out/.bag.partial"
    wait_for(partial / "checkpoint.json", process)
    kill(process, number)
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
    process = start(*words_for([bag], tmp_path / "out", models))
    wait_for(tmp_path / "out/.bag.partial/checkpoint.json", process)
    kill(process)
    other = words_for([bag], tmp_path / "out", models, "--set", "output.thermal_tint:=0.5")
    assert run(*other) == 2
    assert "differs in pipeline" in capsys.readouterr().err
    assert (tmp_path / "out/.bag.partial/checkpoint.json").exists(), "nothing is lost"
    assert run(*other, "--restart") == 0
    assert report_of(tmp_path / "out/bag")["interruptions"] == 0


def test_a_damaged_note_is_told_and_restart_helps(tmp_path, models, capsys):
    bag = record(tmp_path / "bag", PAIRS)
    words = words_for([bag], tmp_path / "out", models)
    process = start(*words)
    wait_for(tmp_path / "out/.bag.partial/checkpoint.json", process)
    kill(process)
    (tmp_path / "out/.bag.partial/checkpoint.json").write_text("{")
    assert run(*words) == 2
    assert "begin anew with --restart" in capsys.readouterr().err
    assert run(*words, "--restart") == 0


def test_two_commands_do_not_write_one_bag(tmp_path, models, capsys):
    bag = record(tmp_path / "bag", PAIRS)
    words = words_for([bag], tmp_path / "out", models)
    process = start(*words)
    wait_for(tmp_path / "out/.bag.partial/checkpoint.json", process)
    assert run(*words) == 2
    assert "is being written by another process" in capsys.readouterr().err
    assert process.wait() == 0, process.stdout.read()
    process.stdout.close()
    assert topics_of(tmp_path / "out/bag")[FUSED] == PAIRS


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


def test_a_process_that_is_killed_is_replaced_and_the_others_do_not_notice(tmp_path, models):
    bags = [record(tmp_path / f"bag{i}", PAIRS if i == 0 else 10) for i in range(3)]
    killed = []

    def progress(job, done, total):
        if job.bag == bags[0] and done > 30 and not killed:
            (child,) = [c for c in many.multiprocessing.active_children() if f"{bags[0]}" in c.name]
            killed.append(child.pid)
            os.kill(child.pid, signal.SIGKILL)

    results = many.fuse_in_processes(jobs_for(bags, tmp_path / "out", models), 2, progress)
    assert len(killed) == 1
    assert [result.error for result in results] == ["", "", ""]
    assert [result.fused.report["interruptions"] for result in results] == [1, 0, 0]
    assert run(*words_for(bags, tmp_path / "one", models)) == 0
    for bag in bags:
        assert contents(tmp_path / "out" / bag.name) == contents(tmp_path / "one" / bag.name)
    assert not many.multiprocessing.active_children()


def test_a_process_that_dies_every_time_is_given_up(tmp_path, models):
    bags = [record(tmp_path / f"bag{i}", PAIRS if i == 0 else 10) for i in range(2)]
    killed = set()

    def progress(job, done, total):
        for child in many.multiprocessing.active_children():
            if job.bag == bags[0] and f"{bags[0]}" in child.name and child.pid not in killed:
                killed.add(child.pid)
                os.kill(child.pid, signal.SIGKILL)

    results = many.fuse_in_processes(jobs_for(bags, tmp_path / "out", models), 2, progress)
    assert len(killed) == ATTEMPTS
    assert f"its process died {ATTEMPTS} times, the last time with exit code -9" in results[0].error
    assert results[1].error == ""
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if not p.name.startswith(".")) == ["bag1"]


def test_ctrl_c_ends_all_processes_and_the_same_command_goes_on(tmp_path, models):
    bags = [record(tmp_path / f"bag{i}", PAIRS) for i in range(2)]
    words = words_for(bags, tmp_path / "out", models, "--processes", 2)
    process = start(*words)
    for bag in bags:
        wait_for(tmp_path / f"out/.{bag.name}.partial/checkpoint.json", process)
    kill(process, signal.SIGINT)
    assert process.returncode == 130
    assert run(*words) == 0, "the locks are free, so nobody is at work any more"
    for bag in bags:
        assert topics_of(tmp_path / "out" / bag.name)[FUSED] == PAIRS


def test_processes_end_with_the_command_that_was_killed(tmp_path, models):
    bags = [record(tmp_path / f"bag{i}", PAIRS) for i in range(2)]
    words = words_for(bags, tmp_path / "out", models, "--processes", 2)
    process = start(*words)
    for bag in bags:
        wait_for(tmp_path / f"out/.{bag.name}.partial/checkpoint.json", process)
    kill(process)
    end = time.monotonic() + 60
    while run(*words) != 0:  # until the locks are free
        assert time.monotonic() < end, "somebody is still at work"
        time.sleep(0.05)
    for bag in bags:
        assert report_of(tmp_path / "out" / bag.name)["interruptions"] == 1, "nobody finished it unasked"
