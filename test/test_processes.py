"""Children of the demo: none may outlive it, however it ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sage_fusion_ros.cli import processes
from sage_fusion_ros.cli.processes import Child, Children, Signals

STUBBORN = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
POLITE = """
import signal, sys, time
signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
print('up', flush=True)
time.sleep(600)
"""


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def children(tmp_path: Path):
    with Signals() as signals, Children(tmp_path, os.environ, signals) as group:
        yield group


def start(children: Children, code: str, name: str = "child"):
    child = children.start(name, [sys.executable, "-c", code])
    wait_for(lambda: "up" in child.tail())
    return child


def test_sigint_is_enough_for_a_polite_child(children):
    child = start(children, POLITE)
    children.stop([child])
    assert (child.exit_code, child.ended_by) == (0, "SIGINT")


def test_sigint_reaches_children_of_a_shell_that_ignores_it(children, monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        child = start(children, "print('up', flush=True); import time; time.sleep(600)")
    finally:
        signal.signal(signal.SIGINT, before)
    children.stop([child])
    assert child.ended_by == "SIGINT"


def test_a_stubborn_child_is_ended_harder(children, monkeypatch):
    monkeypatch.setattr(processes, "GRACE_S", 0.2)
    child = start(children, STUBBORN)
    children.stop([child])
    assert (child.exit_code, child.ended_by) == (-signal.SIGTERM, "SIGTERM")


def test_a_second_signal_does_not_wait(tmp_path):
    with Signals() as signals, Children(tmp_path, os.environ, signals) as children:
        child = start(children, STUBBORN)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        wait_for(lambda: signals.hurry)
        begin = time.monotonic()
        children.stop([child])
        assert time.monotonic() - begin < processes.GRACE_S / 2
    assert signals.received == signal.SIGINT
    assert child.exit_code != 0


def test_an_exception_leaves_no_child(tmp_path):
    def fail(started: list[Child]) -> None:
        with Signals() as signals, Children(tmp_path, os.environ, signals) as children:
            started.append(start(children, POLITE))
            raise RuntimeError("anything")

    started: list[Child] = []
    with pytest.raises(RuntimeError, match="anything"):
        fail(started)
    assert not alive(started[0].pid)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_children_end_with_a_parent_that_is_killed(tmp_path):
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, sys, time\n"
            "from pathlib import Path\n"
            "from sage_fusion_ros.cli.processes import Children, Signals\n"
            f"with Signals() as signals, Children(Path({str(tmp_path)!r}), os.environ, signals) as children:\n"
            f"    child = children.start('child', [sys.executable, '-c', {STUBBORN!r}])\n"
            "    print(child.pid, flush=True)\n"
            "    time.sleep(600)\n",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        pid = int(parent.stdout.readline())
        wait_for(lambda: "up" in (tmp_path / "child.log").read_text())
    finally:
        parent.kill()
        parent.wait()
    wait_for(lambda: not alive(pid))


def test_what_a_child_left_in_its_group_goes_too(tmp_path):
    grandchild = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {STUBBORN!r}])"
    with Signals() as signals, Children(tmp_path, os.environ, signals) as children:
        code = grandchild + ".pid; import time; time.sleep(600)"
        child = start(children, code)
        group = child.pid
        assert members(group) - {group}
    wait_for(lambda: not members(group))


def members(group: int) -> set[int]:
    """Living processes of a process group."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.add(int(stat.parent.name))
    return found


def test_a_child_that_ends_early_is_noticed_and_one_that_may_end_is_not(children):
    code = "print('up', flush=True)"
    ended = children.start("replay", [sys.executable, "-c", code], may_end=True)
    wait_for(lambda: ended.exit_code is not None)
    assert children.dead() is None
    early = children.start("node", [sys.executable, "-c", code])
    wait_for(lambda: early.exit_code is not None)
    assert children.dead() is early


def test_a_child_that_fails_is_noticed_with_its_last_lines(children):
    child = children.start("node", [sys.executable, "-c", "raise SystemExit('the model is broken')"], may_end=True)
    wait_for(lambda: child.exit_code is not None)
    assert children.dead() is child
    assert child.tail() == "the model is broken"
