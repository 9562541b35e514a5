"""The processes that measurements are made in: what they say, how they end, and a whole small bench of them."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from mock_models import make_model

from sage_fusion_ros.cli.bench_runs import How, measure, run_alone, run_together
from sage_fusion_ros.cli.processes import Signals
from sage_fusion_ros.cli.turns import rate_in
from sage_fusion_ros.errors import SageFusionError
from sage_fusion_ros.evaluation.bare_loop import input_shape, repeat
from sage_fusion_ros.evaluation.machine import peak_memory_mb, processor_units

TINY = How(size="64x48", threads=1, seconds=0.05)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(make_model(tmp_path_factory.mktemp("models") / "mock"))


def script(text):
    return [sys.executable, "-c", text]


def test_a_bare_loop_of_pairs(model):
    since = ["--since", str(time.monotonic_ns())]
    result = run_alone([*TINY.command(model, "pairs"), *since], Signals())
    assert result["p10_ms"] <= result["p50_ms"] <= result["p90_ms"]
    assert result["count"] >= 1
    assert 0.1 < result["first_s"] < 60
    assert 20 < result["memory_mb"] < 2000
    assert (result["device"], result["precision"]) == ("cpu", "fp32")
    assert result["library"].startswith("onnxruntime ")


def test_a_bare_loop_with_workers_counts_the_pairs_of_all(model):
    result = run_alone(replace(TINY, workers=3, seconds=0.3).command(model, "pairs"), Signals())
    assert result["count"] >= 3
    # Mean and median differ, and each thread's last pair ends after the time is over.
    assert result["rate_hz"] == pytest.approx(3e3 / result["p50_ms"], rel=0.8)


def test_a_refusal_is_told_with_its_kind(model):
    assert run_alone(TINY.command("nothing", "network"), Signals())["refused"] == "ModelError"
    half = How(size="64x48", threads=1, seconds=0.05, precision="fp16")
    refusal = run_alone(half.command(model, "network"), Signals())
    assert refusal["refused"] == "EngineError"
    assert "fp16" in refusal["reason"]
    with pytest.raises(SageFusionError, match="fp16"):
        measure(half, model, "network", Signals())


def test_a_crash_is_told_with_its_last_line():
    result = run_alone(script("raise SystemExit('the bottom fell out')"), Signals())
    assert result["refused"] == "crash"
    assert "the bottom fell out" in result["reason"]


def test_a_measurement_without_an_end_is_given_up(tmp_path):
    note = f"import os,time; open({str(tmp_path / 'pid')!r},'w').write(str(os.getpid())); time.sleep(60)"
    result = run_alone(script(note), Signals(), limit_s=2.0)
    assert result["refused"] == "time"
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_signal_ends_the_measurement_and_its_process(tmp_path):
    note = f"import os,time; open({str(tmp_path / 'pid')!r},'w').write(str(os.getpid())); time.sleep(60)"
    signals = Signals()

    def stop():
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.05)
        signals.received = signal.SIGINT

    threading.Thread(target=stop).start()
    with pytest.raises(KeyboardInterrupt):
        run_alone(script(note), signals)
    assert gone(int((tmp_path / "pid").read_text()))


def gone(pid):
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


BARRIER = """
import argparse, json, os, pathlib, time
p = argparse.ArgumentParser(); p.add_argument("wait", type=float); p.add_argument("--barrier", type=pathlib.Path)
a = p.parse_args()
time.sleep(a.wait)
ready = time.monotonic()
(a.barrier / f"ready-{os.getpid()}").touch()
while not (a.barrier / "go").exists():
    time.sleep(0.002)
print(json.dumps({"ready": ready, "go": time.monotonic()}))
"""


def test_those_that_run_together_begin_when_the_last_one_is_ready():
    results = run_together([[*script(BARRIER), wait] for wait in ("0.0", "0.6")], Signals())
    assert min(result["go"] for result in results) >= max(result["ready"] for result in results)


def test_one_that_dies_before_it_is_ready_keeps_nobody_waiting():
    start = time.monotonic()
    results = run_together([script("raise SystemExit(3)"), [*script(BARRIER), "0.0"]], Signals())
    assert [result.get("refused") for result in results] == ["crash", None]
    assert time.monotonic() - start < 20


def test_a_loop_waits_at_its_barrier(tmp_path):
    calls = []
    thread = threading.Thread(target=repeat, args=(lambda: calls.append(time.monotonic()), 0.0, tmp_path))
    thread.start()
    while not list(tmp_path.glob("ready-*")):
        time.sleep(0.01)
    warm = len(calls)
    time.sleep(0.1)
    assert len(calls) == warm
    (tmp_path / "go").touch()
    thread.join()
    assert len(calls) == warm + 1  # a time of none still measures once


@pytest.mark.parametrize(
    ("declared", "shape"),
    [((None, 1, None, None), (1, 1, 48, 64)), ((1, 3, 32, 40), (1, 3, 32, 40)), ((8, 8), (8, 8))],
)
def test_the_shape_of_an_input_without_a_card(declared, shape):
    assert input_shape(declared, None, (48, 64)) == shape


def test_the_processors_units(tmp_path):
    (tmp_path / "x86").write_text("model name : A\nflags\t\t: fpu avx2 avx512f avx512_vnni\nflags\t\t: fpu avx2\n")
    (tmp_path / "arm").write_text("processor : 0\nFeatures\t: fp asimd asimddp bf16\n")
    assert processor_units(tmp_path / "x86") == ["avx2", "avx512f", "avx512_vnni"]
    assert processor_units(tmp_path / "arm") == ["asimddp", "bf16"]
    assert processor_units(tmp_path / "none") == []


def test_the_peak_of_memory_is_kept_after_it_was_freed():
    before = peak_memory_mb()
    block = np.ones(int((before + 200) * 1e6), np.uint8)
    del block
    assert peak_memory_mb() >= before + 190
    assert peak_memory_mb(os.getpid()) == pytest.approx(peak_memory_mb(), rel=0.1)
    assert peak_memory_mb(2**22 + 1) == 0.0


def bench(project, folder, model, *more):
    words = [
        "--models",
        model,
        "--perception",
        "",
        "--engines",
        "onnxruntime",
        "--precisions",
        "fp32",
        "--sizes",
        "64x48",
    ]
    words += ["--threads", "1", "--output", str(folder), *more]
    return [sys.executable, str(project / "tools" / "bench"), *words]


def test_a_small_bench_is_interrupted_and_goes_on(project, tmp_path, model):
    command = bench(project, tmp_path / "out", model, "--quick", "--only", "networks", "threads", "pairs")
    command += ["--official", str(make_model(tmp_path / "official", "Mean"))]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    record = tmp_path / "out" / "bench.json"
    end = time.monotonic() + 60
    while first.poll() is None and time.monotonic() < end:
        if record.exists() and json.loads(record.read_text())["blocks"]:
            first.send_signal(signal.SIGINT)
            break
        time.sleep(0.05)
    text, _ = first.communicate(timeout=60)
    assert first.returncode == 130, text
    assert "Interrupted" in (tmp_path / "out" / "index.html").read_text()
    before = json.loads(record.read_text())
    kept = {key: before["measurements"][f"1: {key}"] for keys in before["blocks"].values() for key in keys}
    assert kept

    second = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert second.returncode == 0, second.stderr
    after = json.loads(record.read_text())
    assert after["complete"]
    assert {key: after["measurements"][f"1: {key}"] for key in kept} == kept
    summary = after["summary"]
    rows = {row["model"]: row for row in summary["networks"]}
    assert rows[str(tmp_path / "official")]["reference_over_this"]["median"] == 1.0
    assert rows[model]["reference_over_this"]["median"] > 0
    assert {row["spinning"] for row in summary["threads"]} == {False, True}
    assert summary["pairs"][0]["first_s"]["median"] > 0
    assert "Whole pairs in a bare loop, 64x48" in second.stdout
    assert "A quick run" in second.stdout

    again = subprocess.run(
        [*command[:2], "--report", "--output", str(tmp_path / "out")], capture_output=True, text=True
    )
    assert again.returncode == 0, again.stderr
    assert "Networks alone, 64x48" in again.stdout


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (["--sizes", "64"], "'64'; expected WIDTHxHEIGHT"),
        (["--rounds", "0"], "--rounds"),
        (["--models", "nothing"], "no model named 'nothing'"),
        (["--official", "none/such"], "does not exist"),
    ],
)
def test_what_can_not_be_measured_is_refused_before_anything_is(project, tmp_path, model, more, text):
    run = subprocess.run(bench(project, tmp_path / "out", model, *more), capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert text in run.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_the_node_beside_the_bare_loop_and_with_two_pairs_of_cameras(project, tmp_path):
    model = str(make_model(tmp_path / "slow", repeat=20))
    command = bench(project, tmp_path / "out", model, "--quick", "--only", "cameras", "node", "--sizes", "160x120")
    run = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    record = json.loads((tmp_path / "out" / "bench.json").read_text())
    assert record["accidents"] == {}
    (row,) = record["summary"]["node"]
    assert row["node_hz"]["median"] > 1
    assert row["workers_hz"]["median"] > 1
    assert row["active_s"]["median"] > 0
    assert row["memory_mb"]["median"] > 20
    assert [(row["where"], row["cameras"]) for row in record["summary"]["cameras"]] == [
        ("a process for each", 1),
        ("a process for each", 2),
        ("one node", 1),
        ("one node", 2),
    ]
    assert "The node over DDS, 160x120" in run.stdout


def test_only_what_ended_in_a_turn_counts():
    turns = [(0, 1_000_000_000), (2_000_000_000, 4_000_000_000)]
    ended = [-1, 0, 999_999_999, 1_000_000_000, 1_500_000_000, 2_000_000_000, 3_000_000_000, 4_000_000_000]
    assert rate_in(turns, ended) == pytest.approx(4 / 3)
    assert rate_in(turns, []) == 0


def test_a_loop_writes_down_when_each_call_ended():
    log = io.StringIO()
    before = time.time_ns()
    durations = repeat(lambda: time.sleep(0.001), 0.05, log=log)
    times = [int(line) for line in log.getvalue().split()]
    assert len(times) == len(durations)
    assert before < times[0]
    assert sorted(times) == times
    assert times[-1] <= time.time_ns()
