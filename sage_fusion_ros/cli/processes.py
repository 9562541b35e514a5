"""Child processes that never outlive the command that started them.

Each child leads its own session, so that Ctrl-C in the terminal reaches the command alone, which then ends the children
in order: SIGINT, later SIGTERM, later SIGKILL, each to the child's whole process group. Should the command itself be
killed, the kernel kills the children (PR_SET_PDEATHSIG, Linux).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType

from sage_fusion_ros.cli.shared_memory import remove_leftovers

POLL_S = 0.05
GRACE_S = 10.0
TERM_S = 3.0
_PR_SET_PDEATHSIG = 1


class Signals:
    """Notes SIGINT, SIGTERM and SIGHUP instead of letting them interrupt at any place; the waits below look at it.

    Attributes:
        received: The first of them, or None.
        hurry: A further one came: the children are killed without grace.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.hurry = False
        self._before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> Signals:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # started with nohup: it is to go on
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.hurry = self.received is not None
        self.received = self.received or number


class Child:
    """One child process with its output in a log file."""

    def __init__(
        self, name: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str], *, may_end: bool = False
    ) -> None:
        self.name = name
        self.may_end = may_end
        self.log = log
        self.ended_by: str = ""
        """How it had to be ended; empty for a child that ended by itself."""
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                start_new_session=True,
                preexec_fn=_die_with_parent(),
            )

    @property
    def pid(self) -> int:
        """Its process id, which is its group's too."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def cpu_seconds(self) -> float:
        """Processor time it has used so far; 0 where the system does not tell or the child has ended."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def tail(self, lines: int = 12) -> str:
        """Last lines of its log."""
        text = self.log.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()
        return "\n".join(text[-lines:])

    def send(self, number: int) -> None:
        """Sends a signal to its process group; nothing where the group is gone."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


class Children:
    """The children of one command; leaving the `with` block leaves none behind."""

    def __init__(self, logs: Path, environment: Mapping[str, str], signals: Signals) -> None:
        self._logs = logs
        self._environment = environment
        self._signals = signals
        self._began = time.time()
        self.all: list[Child] = []
        """Every child started, in that order."""

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(self.all)
        for child in self.all:
            child.send(signal.SIGKILL)  # what a child may have left in its group
        remove_leftovers(since=self._began)

    def start(self, name: str, arguments: Sequence[str], *, may_end: bool = False) -> Child:
        """Starts a child; its output goes to <logs>/<name>.log. One that may end can do so with exit code 0."""
        child = Child(name, arguments, self._logs / f"{name}.log", self._environment, may_end=may_end)
        self.all.append(child)
        return child

    def dead(self) -> Child | None:
        """A child that ended though it should not have, if there is one."""
        ended = (child for child in self.all if child.exit_code is not None)
        return next((child for child in ended if child.exit_code or not child.may_end), None)

    def stop(self, children: Sequence[Child]) -> None:
        """Ends children together: SIGINT, after GRACE_S seconds SIGTERM, after TERM_S more SIGKILL."""
        for number, wait_s in ((signal.SIGINT, GRACE_S), (signal.SIGTERM, TERM_S), (signal.SIGKILL, TERM_S)):
            alive = [child for child in children if child.exit_code is None]
            for child in alive:
                child.ended_by = signal.Signals(number).name
                child.send(number)
            self.wait(alive, wait_s, patient=number != signal.SIGKILL)

    def wait(self, children: Sequence[Child], wait_s: float, *, patient: bool = True) -> None:
        """Waits until the children have ended, at most wait_s seconds; a patient wait ends when the user hurries."""
        end = time.monotonic() + wait_s
        while any(child.exit_code is None for child in children) and time.monotonic() < end:
            if patient and self._signals.hurry:
                return
            time.sleep(POLL_S)


def _die_with_parent() -> Callable[[], None]:
    """What a child does between fork and exec."""
    parent = os.getpid()
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

    def prepare() -> None:
        # A shell's background job ignores SIGINT, and that would be inherited.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)

    return prepare
