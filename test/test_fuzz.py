"""The fuzz cases: some by hypothesis, which makes a fault small, and the driver that runs millions of them."""

import importlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def tools(project):
    folder = str(project / "tools" / "fuzz")
    sys.path.insert(0, folder)
    yield importlib.import_module
    sys.path.remove(folder)


@pytest.mark.parametrize("name", ["raw", "jpeg", "png", "card", "calibration", "camera_info"])
def test_what_is_read_holds_and_what_is_not_is_refused(tools, name):
    target, chooser = tools("targets").TARGETS[name], tools("chooser")

    class Drawn(chooser.Chooser):
        def __init__(self, draw):
            self.draw = draw

        def below(self, limit):
            return self.draw(st.integers(0, limit - 1))

        def raw(self, count):
            return random.Random(self.draw(st.integers(0, 2**16))).randbytes(count)

    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def each(data):
        target.test(target.make(Drawn(data.draw)))

    each()


def fuzz(project, tmp_path, *words):
    command = [sys.executable, str(project / "tools" / "fuzz"), "--state", str(tmp_path / "state.json"), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_run_goes_on_where_it_stopped_and_finds_the_same(project, tmp_path):
    first = fuzz(project, tmp_path, "--cases", "300")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "300 cases of images" in first.stdout
    assert "0 faults" in first.stdout
    assert "600 cases of images" in fuzz(project, tmp_path, "--cases", "600").stdout
    parts = json.loads((tmp_path / "state.json").read_text())
    whole = fuzz(project, tmp_path, "--cases", "600", "--inside")
    assert parts["next"] == parts["cases"] == sum(parts["outcomes"].values()) == 600
    lines = {line.strip() for line in whole.stdout.splitlines()}
    assert {f"{count}  {word}" for word, count in parts["outcomes"].items()} <= lines
    assert {word.split(":")[0] for word in parts["outcomes"]} == {"raw", "jpeg", "png"}
    assert "name another --state" in fuzz(project, tmp_path, "--cases", "600", "--seed", "2").stderr


def test_a_fault_is_told_with_its_case_and_the_run_goes_on(tools, monkeypatch):
    driver = tools("driver")

    def run_case(group, seed, case):
        if case == 7:
            raise IndexError("what the code lets out")
        return "raw", "read"

    monkeypatch.setattr(driver, "run_case", run_case)
    outcomes, [(case, text)] = driver.run_block("raw", 1, 0, 20)
    assert outcomes == {"raw: read": 19, "FAULT": 1}
    assert case == 7
    assert "IndexError: what the code lets out" in text


@pytest.mark.parametrize(
    ("body", "told"),
    [("os.kill(os.getpid(), signal.SIGSEGV)", f"ended with {-signal.SIGSEGV}"), ("time.sleep(60)", "no end after")],
)
def test_a_child_that_dies_or_hangs_is_told_with_its_case_and_the_run_goes_on(tools, tmp_path, monkeypatch, body, told):
    driver = tools("driver")
    script = "import os, signal, struct, sys, time; open(sys.argv[1], 'wb').write(struct.pack('<q', 41)); " + body
    real, started = subprocess.Popen, []

    def start(command):
        started.append(command)
        if len(started) == 1:
            return real([sys.executable, "-c", script, str(tmp_path / "state.case")])
        return real(command)

    monkeypatch.setattr(driver, "HANG_S", 1.0)
    monkeypatch.setattr(driver.subprocess, "Popen", start)
    began = time.monotonic()
    state = driver.supervise("raw", 1, 60, tmp_path / "state.json", 10)
    assert time.monotonic() - began < 40
    assert [case for case, _ in state["faults"]] == [41]
    assert told in state["faults"][0][1]
    assert state["next"] == state["cases"] == sum(state["outcomes"].values()) == 60
    assert started[1][started[1].index("--child") + 1] == "42"
    assert not os.path.exists(tmp_path / "state.case")
