"""Fuzzes what reads images, model cards and calibration: valid input, taken apart and made hostile.

    python tools/fuzz --cases 10000000
    python tools/fuzz --group files --cases 200000
    python tools/fuzz --only 1234567          # one case again, with what it says
    python tools/fuzz --coverage --cases 20000

A case follows from the seed and its number. A run that was ended goes on where it stopped (--state). Exit code 1 where
a fault was found.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from driver import child, run_block, supervise
from targets import GROUPS, TARGETS, run_case


def main() -> int:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--group", choices=sorted(GROUPS), default="images", help="what is fuzzed (%(default)s)")
    parser.add_argument("--cases", type=int, default=10_000_000, help="up to which case (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=1e6, help="longest time of this run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--state", type=Path, help="file of what was done (default: fuzz_output/<group>.json)")
    parser.add_argument("--only", type=int, metavar="CASE", help="run one case in this process")
    parser.add_argument("--coverage", action="store_true", help="say which lines the cases reach (needs coverage)")
    parser.add_argument("--inside", action="store_true", help="run in this process, from the first case on")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    state_path = args.state or Path("fuzz_output") / f"{args.group}.json"
    if args.only is not None:
        print(*run_case(args.group, args.seed, args.only))
        return 0
    if args.child is not None:
        child(args.group, args.seed, args.child, args.cases, state_path, state_path.with_suffix(".case"))
        return 0
    if args.inside:
        return run_inside(args.group, args.seed, args.cases)
    if args.coverage:
        return report_coverage(args.group, args.seed, args.cases)
    return report(supervise(args.group, args.seed, args.cases, state_path, args.minutes))


def report(state: dict[str, Any]) -> int:
    """Prints what a run has found; see main for the exit code."""
    rate = state["cases"] / state["seconds"] if state["seconds"] else 0.0
    print(f"{state['cases']} cases of {state['group']}, seed {state['seed']}, {rate:.0f} a second")
    for word, count in sorted(state["outcomes"].items()):
        print(f"{count:>10}  {word}")
    for case, text in state["faults"]:
        print(f"case {case}: {text}")
    print(f"{state['outcomes'].get('FAULT', 0)} faults")
    return int(bool(state["faults"]))


def report_coverage(group: str, seed: int, cases: int) -> int:
    """Runs cases under coverage.py and prints the share of lines and branches reached in each file of the group."""
    files = sorted({f"*/sage_fusion_ros/{file}" for name in GROUPS[group] for file in TARGETS[name].covers})
    with tempfile.TemporaryDirectory() as folder:
        data = f"--data-file={folder}/coverage"
        tool = [sys.executable, "-m", "coverage"]
        words = ["--inside", "--group", group, "--seed", str(seed), "--cases", str(cases)]
        measured = [*tool, "run", "--branch", data, f"--include={','.join(files)}", str(Path(__file__).parent), *words]
        ended = subprocess.run(measured, stderr=subprocess.DEVNULL, check=False).returncode
        subprocess.run([*tool, "report", data, "--show-missing"], check=True)
    return ended


def run_inside(group: str, seed: int, cases: int) -> int:
    """Runs cases in this process; see main for the exit code."""
    outcomes, faults = run_block(group, seed, 0, cases)
    return report(
        {"group": group, "seed": seed, "cases": cases, "seconds": 0.0, "outcomes": dict(outcomes), "faults": faults}
    )


if __name__ == "__main__":
    sys.exit(main())
