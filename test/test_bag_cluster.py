"""sage-fusion bag fuse --scheduler: two Dask workers, one of which is killed; every bag is done, and done once."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from bag_files import contents, record, run, start, topics_of
from mock_models import make_model

from sage_fusion_ros.cli.main import main

pytest.importorskip("rosbags")
distributed = pytest.importorskip("distributed")
PAIRS = 64
LIMIT_S = 90


@pytest.fixture
def models(tmp_path):
    make_model(tmp_path / "models/slow", "Mean", repeat=40)
    words = {"fusion.model": "slow", "perception.model": "", "models.path": [str(tmp_path / "models")],
             "engine.threads": 1}  # fmt: skip
    return [word for name, value in words.items() for word in ("--set", f"{name}:={json.dumps(value)}")]


@pytest.fixture
def cluster(tmp_path):
    """A scheduler and two workers of one thread each, as processes without a nanny: what is killed stays dead."""
    file = tmp_path / "scheduler.json"
    common = ["--scheduler-file", str(file), "--no-dashboard"]
    logs = (tmp_path / "cluster.log").open("wb")
    processes = []

    def begin(module, *words):
        arguments = [sys.executable, "-m", f"distributed.cli.{module}", *common, *words]
        processes.append(subprocess.Popen(arguments, stdout=logs, stderr=subprocess.STDOUT, cwd=tmp_path))
        return processes[-1]

    try:
        begin("dask_scheduler", "--host", "127.0.0.1", "--port", "0")
        wait(file.exists, "the scheduler")
        workers = {
            name: begin("dask_worker", "--name", name, "--no-nanny", "--nthreads", "1", "--host", "127.0.0.1")
            for name in ("one", "two")
        }
        with distributed.Client(scheduler_file=str(file), set_as_default=False) as client:
            client.wait_for_workers(2, timeout=LIMIT_S)
            yield client, workers
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()
        logs.close()


def wait(condition, what):
    end = time.monotonic() + LIMIT_S
    while not (found := condition()):
        assert time.monotonic() < end, f"{what} never came"
        time.sleep(0.01)
    return found


def test_a_killed_workers_bag_goes_on_elsewhere_and_every_bag_is_done_once(tmp_path, cluster, models):
    client, workers = cluster
    bags = [record(tmp_path / f"bags/bag{i}", PAIRS if i < 2 else 8) for i in range(5)]
    words = ("fuse", *bags, *models, "--file-mb", "0.1")
    out = tmp_path / "out"
    command = start(*words, "--output", out, "--scheduler", client.scheduler.address)
    interrupted = wait(lambda: next(iter(out.glob(".*.partial/checkpoint.json")), None), "a bag in the middle")
    locked = os.stat(interrupted.with_name("lock")).st_ino
    (name,) = [name for name, worker in workers.items() if locked in open_files(worker.pid)]
    os.kill(workers[name].pid, signal.SIGKILL)
    output, _ = command.communicate(timeout=LIMIT_S)
    assert command.returncode == 0, output
    assert workers[name].wait() == -signal.SIGKILL
    assert len(client.scheduler_info()["workers"]) == 1
    assert run(*words, "--output", tmp_path / "alone") == 0
    interruptions = {}
    for index, bag in enumerate(bags):
        fused = out / bag.name
        assert topics_of(fused)["/fusion_node/output/fused"] == (PAIRS if index < 2 else 8)
        assert contents(fused) == contents(tmp_path / "alone" / bag.name)
        interruptions[bag.name] = json.loads((fused / "report.json").read_text())["interruptions"]
    assert interruptions == {bag.name: int(f".{bag.name}.partial" == interrupted.parent.name) for bag in bags}
    assert sorted(path.name for path in out.iterdir()) == sorted(bag.name for bag in bags), "and nothing else"


def open_files(pid):
    """Inodes of the files a process holds open."""
    found = set()
    for entry in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.add(os.stat(f"/proc/{pid}/fd/{entry}").st_ino)
        except OSError:
            continue
    return found


def test_what_a_user_can_mend_comes_back_as_text(tmp_path, cluster, models):
    client, _ = cluster
    good = record(tmp_path / "bags/good", 5)
    command = start(
        *("fuse", tmp_path / "gone", good, *models, "--output", tmp_path / "out"),
        *("--scheduler", client.scheduler.address),
    )
    output, _ = command.communicate(timeout=LIMIT_S)
    assert command.returncode == 2
    assert f"failed {tmp_path / 'gone'}: '{tmp_path / 'gone'}' does not exist" in output
    assert topics_of(tmp_path / "out/good")["/fusion_node/output/fused"] == 5


def test_without_a_scheduler_or_without_dask_it_says_so(tmp_path, models, capsys, monkeypatch):
    from sage_fusion_ros.bags import cluster as module

    monkeypatch.setattr(module, "CONNECT_S", 0.5)
    bag = record(tmp_path / "bag", 3)
    words = ["bag", "fuse", str(bag), "--output", str(tmp_path / "out"), *models]
    assert main([*words, "--scheduler", "tcp://127.0.0.1:9"]) == 2
    assert "no Dask scheduler answers at 'tcp://127.0.0.1:9'" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main([*words, "--scheduler", "tcp://127.0.0.1:9"]) == 2
    assert "pip install 'sage_fusion_ros[cluster]'" in capsys.readouterr().err
