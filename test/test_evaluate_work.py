"""The processes behind sage-fusion evaluate: same figures with several, Ctrl-C, and a process that dies."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from evaluation_data import write_set
from mock_models import make_model

from sage_fusion_ros.errors import SageFusionError
from sage_fusion_ros.evaluation.comparison.contenders import ContenderSpec
from sage_fusion_ros.evaluation.comparison.runner import Crew, Job, Plan


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "sage_fusion_ros.cli.main", "evaluate", *map(str, words)]


def alive(session: int) -> list[str]:
    """Processes of a session that are no zombies, as /proc/<id>/stat has them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            text = path.read_text()
            state, _, _, of = text.rpartition(")")[2].split()[:4]
            if int(of) == session and state != "Z":
                found.append(text)
    return found


def test_two_processes_find_what_one_finds(tmp_path: Path) -> None:
    data = write_set(tmp_path / "set", ["a", "b", "c"])
    model = make_model(tmp_path / "models" / "brighter", "Max")
    words = ("--data", data, "--models", model, "--pictures", 1, "--still-pairs", 1, "--metrics", "EN", "SCD", "VIF")
    reports = []
    for processes in (1, 2):
        out = tmp_path / f"out{processes}"
        subprocess.run(command(*words, "--processes", processes, "--output", out), check=True, capture_output=True)
        reports.append(json.loads((out / "evaluation.json").read_text()))
        reports[-1]["arguments"].pop("processes")
    assert reports[0] == reports[1]


@pytest.mark.parametrize("wait_s", [0.0, 4.0], ids=["while the processes start", "while they work"])
def test_ctrl_c_leaves_at_once_and_leaves_nothing(tmp_path: Path, wait_s: float) -> None:
    data = write_set(tmp_path / "set", [f"{index:03d}" for index in range(120)])
    model = make_model(tmp_path / "models" / "slow", "Max", repeat=400)
    words = ("--data", data, "--models", model, "--processes", 2, "--output", tmp_path / "out")
    # A session of its own: the signal goes to all its processes, as Ctrl-C in a terminal does.
    process = subprocess.Popen(command(*words), stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    try:
        text = ""
        while "job/s" not in text:  # the bar is drawn when the work begins
            character = process.stderr.read(1)
            assert character, f"it ended by itself: {text}"
            text += character
        time.sleep(wait_s)
        os.killpg(process.pid, signal.SIGINT)
        text += process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in text
    assert not (tmp_path / "out").exists()
    end = time.monotonic() + 10
    while alive(process.pid) and time.monotonic() < end:
        time.sleep(0.1)
    assert alive(process.pid) == []


class Bomb:
    """Ends the process that unpickles it."""

    key = "set/bomb"

    def __reduce__(self) -> tuple[object, ...]:
        return os._exit, (1,)


def test_a_process_that_dies_is_told(tmp_path: Path) -> None:
    plan = Plan((ContenderSpec("rgb", "plain"),))
    with (
        pytest.raises(SageFusionError, match=r"a process died before it was done with one of set/bomb; .*--processes"),
        Crew(plan, 2) as crew,
    ):
        list(crew.do([Job("pair", Bomb())]))


def test_what_is_wrong_with_a_model_is_told_from_another_process(tmp_path: Path) -> None:
    plan = Plan((ContenderSpec("gone", "model", str(tmp_path / "gone")), ContenderSpec("rgb", "plain")))
    with pytest.raises(SageFusionError, match="gone does not exist"), Crew(plan, 2) as crew:
        list(crew.do([Job("pair", None)]))
