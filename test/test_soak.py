"""The soak: what it calls a broken promise, and a short run of it over DDS."""

import importlib
import json
import subprocess
import sys

import numpy as np
import pytest
from mock_models import make_model


@pytest.fixture(scope="module")
def judge(project):
    sys.path.insert(0, str(project / "tools" / "soak"))
    yield importlib.import_module("judge")
    sys.path.remove(str(project / "tools" / "soak"))


def record(**changes):
    """An hour in which everything went well."""
    rng = np.random.default_rng(0)
    samples = [
        {
            "t": float(t),
            "rss_mb": 300 + rng.uniform(0, 2),
            "threads": 20,
            "files": 30,
            "latency_p50": 90 + rng.uniform(0, 10),
            "latency_p95": 120.0,
        }
        for t in range(3600)
    ]
    faults = [
        {"t": m * 60 + 6.0, "returned_t": m * 60 + 14.0, "kind": "die", "recovery_s": 0.1, "difference": 0.0}
        for m in range(60)
    ]
    diagnostics = {
        "input rgb": {"received": "1000"},
        "input thermal": {"received": "900"},
        "pairing": {
            "matched": "700",
            "fused": "500",
            "dropped: rgb: no partner": "90",
            "dropped: thermal: frozen": "20",
            "dropped: pair: replaced by a newer pair": "590",
        },
    }
    run = {
        "minutes": 60.0,
        "sustained_hz": 10.0,
        "input_hz": 30.0,
        "exit_code": 0,
        "ended_early": "",
        "tracebacks": 0,
        "sent": {"rgb": 1003, "thermal": 900},
        "heard": 500,
        "twice": 0,
        "unknown": 0,
        "diagnostics": diagnostics,
        "faults": faults,
        "samples": samples,
    }
    return {**run, **changes}


def broken(judge, run):
    return [promise.name for promise in judge.judge(run) if promise.kept is not True]


def test_a_good_hour_keeps_every_promise(judge):
    assert broken(judge, record()) == []


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"exit_code": -9}, "no crash"),
        ({"tracebacks": 1}, "no crash"),
        ({"ended_early": "interrupted"}, "no crash"),
        ({"sustained_hz": 15.0}, "overload"),
        ({"sent": {"rgb": 1003, "thermal": 890}}, "transport"),
        ({"sent": {"rgb": 1020, "thermal": 900}}, "transport"),
        ({"twice": 1}, "stamps"),
        ({"unknown": 1}, "stamps"),
        ({"heard": 0}, "stamps"),
    ],
)
def test_what_breaks_a_promise_is_found(judge, changes, name):
    assert broken(judge, record(**changes)) == [name]


@pytest.mark.parametrize(
    ("key", "by_minute", "name"),
    [("rss_mb", 1.2, "memory"), ("latency_p50", 0.5, "latency"), ("threads", 0.2, "threads and files")],
)
def test_what_grows_is_found(judge, key, by_minute, name):
    run = record()
    for sample in run["samples"]:
        sample[key] += by_minute * sample["t"] / 60
    assert broken(judge, run) == [name]


def test_a_step_in_memory_and_a_busy_minute_are_no_leak(judge):
    run = record()
    for sample in run["samples"]:
        sample["rss_mb"] += 8 * (sample["t"] > 1500)
        sample["latency_p50"] += 100 * (1000 < sample["t"] < 1060)
    assert broken(judge, run) == []


def test_an_image_of_which_nothing_is_known_is_found(judge):
    run = record()
    run["diagnostics"]["pairing"]["fused"] = "499"
    assert judge.unaccounted(run["diagnostics"]) == 1
    assert broken(judge, run) == ["every drop counted"]


@pytest.mark.parametrize(("key", "value"), [("recovery_s", 3.5), ("recovery_s", None), ("difference", 4.0)])
def test_a_camera_that_is_not_taken_back_or_a_wrong_image_is_found(judge, key, value):
    run = record()
    run["faults"][7][key] = value
    assert "return" in " ".join(broken(judge, run))


@pytest.mark.long
def test_a_short_run_over_dds(project, tmp_path):
    """A rate limit makes the overload; each fault comes once."""
    models = tmp_path / "models"
    make_model(models / "mock", "Mean")
    node = ["engine.threads:=1", f"models.path:=['{models}']", "fusion.model:=mock", "perception.model:=''"]
    arguments = ["--minutes", "0.1", "--measure", "0.5", "--cycle", "6", "--size", "96", "128"]
    output = tmp_path / "soak"
    done = subprocess.run(
        [
            sys.executable,
            project / "tools" / "soak",
            *arguments,
            "--output",
            output,
            "--set",
            *node,
            "rate.max_hz:=10.0",
        ],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    run = json.loads((output / "soak.json").read_text())
    kept = {promise["name"]: promise["kept"] for promise in run["promises"]}
    # What depends on how busy the machine is, or takes longer to judge, is no test.
    for name in ("no crash", "every drop counted", "stamps", "right after return", "threads and files"):
        assert kept[name], (name, done.stdout)
    assert [fault["kind"] for fault in run["faults"]] == ["die", "freeze", "stall"]
    assert all(fault["recovery_s"] is not None for fault in run["faults"]), done.stdout
    assert "<svg" in (output / "soak.svg").read_text()
    assert (output / "soak.md").read_text() in done.stdout
