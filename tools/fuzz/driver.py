"""Runs cases by number in a child process, so that a fault of the C libraries ends the child and not the run.

The number of the case in work stands in a file that both share; so a child that dies or hangs tells at which case, and
the run goes on behind it. What was done is kept in a state file, from which a later run goes on.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import struct
import subprocess
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

from targets import run_case

BLOCK = 20_000  # cases after which the state is written
HANG_S = 60.0
MEMORY = 4 << 30  # of address space: what wants more is a bomb that got through
MOST_KEPT = 50  # faults told in full


def read_state(path: Path, group: str, seed: int) -> dict[str, Any]:
    """What was done so far with this group and seed."""
    if path.is_file():
        state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if (state["group"], state["seed"]) == (group, seed):
            return state
        raise SystemExit(f"{path} is of the group {state['group']} and the seed {state['seed']}; name another --state")
    return {"group": group, "seed": seed, "next": 0, "cases": 0, "seconds": 0.0, "outcomes": {}, "faults": []}


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Writes it under another name first."""
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def run_block(group: str, seed: int, start: int, count: int, progress: Any = None) -> tuple[Counter[str], list[Any]]:
    """Runs so many cases in this process.

    Returns:
        Outcomes, each as "target: word", and the faults as (case, text).
    """
    outcomes: Counter[str] = Counter()
    faults: list[Any] = []
    for case in range(start, start + count):
        if progress is not None:
            struct.pack_into("<q", progress, 0, case)
        try:
            name, word = run_case(group, seed, case)
            outcomes[f"{name}: {word}"] += 1
        except Exception:
            outcomes["FAULT"] += 1
            if len(faults) < MOST_KEPT:
                faults.append([case, traceback.format_exc(limit=-6)])
    return outcomes, faults


def child(group: str, seed: int, start: int, stop: int, state_path: Path, progress_path: Path) -> None:
    """The child: blocks of cases, each added to the state."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libjpeg and libpng say something of each damaged file
    with progress_path.open("r+b") as file, mmap.mmap(file.fileno(), 8) as progress:
        while start < stop:
            began = time.monotonic()
            count = min(BLOCK, stop - start)
            outcomes, faults = run_block(group, seed, start, count, progress)
            state = read_state(state_path, group, seed)
            start += count
            add(state, start, count, outcomes, faults, time.monotonic() - began)
            write_state(state_path, state)


def add(
    state: dict[str, Any], next_case: int, count: int, outcomes: Counter[str], faults: list[Any], took: float
) -> None:
    """Adds a block to the state."""
    state["next"], state["cases"], state["seconds"] = next_case, state["cases"] + count, state["seconds"] + took
    for word, times in outcomes.items():
        state["outcomes"][word] = state["outcomes"].get(word, 0) + times
    state["faults"] = (state["faults"] + faults)[:MOST_KEPT]


def supervise(group: str, seed: int, cases: int, state_path: Path, minutes: float) -> dict[str, Any]:
    """Runs until so many cases are done in all, or the time is over.

    Args:
        group: Of targets.GROUPS.
        seed: Of the cases.
        cases: How many there are to be, those of earlier runs counted.
        state_path: Where the state is kept.
        minutes: Longest time.

    Returns:
        The state.
    """
    state_path.parent.mkdir(parents=True, exist_ok=True)
    write_state(state_path, read_state(state_path, group, seed))
    progress_path = state_path.with_suffix(".case")
    end = time.monotonic() + minutes * 60
    while (state := read_state(state_path, group, seed))["next"] < cases and time.monotonic() < end:
        progress_path.write_bytes(struct.pack("<q", state["next"]))
        command = [sys.executable, str(Path(__file__).parent), "--child", str(state["next"]), "--cases", str(cases)]
        command += ["--group", group, "--seed", str(seed), "--state", str(state_path)]
        process = subprocess.Popen(command)
        ending = _watch(process, progress_path, end)
        if ending:
            case = _case(progress_path)
            state = read_state(state_path, group, seed)
            # The block's cases before this one are done again by nobody: they went well, or it would have ended there.
            done = case + 1 - state["next"]
            add(state, case + 1, done, Counter({"FAULT": 1, "in a broken block": done - 1}), [[case, ending]], 0.0)
            write_state(state_path, state)
    progress_path.unlink(missing_ok=True)
    return read_state(state_path, group, seed)


def _case(progress_path: Path) -> int:
    return int(struct.unpack("<q", progress_path.read_bytes())[0])


def _watch(process: subprocess.Popen[bytes], progress_path: Path, end: float) -> str:
    """Waits for the child; how it died, or empty where it ended well or its time was over."""
    last, since = -1, time.monotonic()
    try:
        while process.poll() is None:
            now = time.monotonic()
            if now > end:
                return ""
            case = _case(progress_path)
            if case != last:
                last, since = case, now
            elif now - since > HANG_S:
                return f"no end after {HANG_S:g} s"
            time.sleep(0.2)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return f"the process ended with {process.returncode}" if process.returncode else ""
