#!/usr/bin/env python3
"""Writes the table of faults from a run of its tests: what was injected, what is promised, what was seen.

    python tools/fault_table.py build/faults.xml docs/faults.md

The first file is what pytest writes with --junitxml. Exit code 1 where a promise was not kept; nothing is
written then.
"""

from __future__ import annotations

import argparse
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

BEGIN = "<!-- faults: written by `make faults` -->"
KEYS = ("area", "name", "promise", "seen")


def main() -> int:
    """Writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("page", type=Path)
    args = parser.parse_args()
    cases = list(ElementTree.parse(args.run).getroot().iter("testcase"))
    failed = [case.get("name") for case in cases if case.find("failure") is not None or case.find("error") is not None]
    if failed or not cases:
        print(f"not written; these failed: {', '.join(map(str, failed)) or 'there were none'}", file=sys.stderr)
        return 1
    rows = [{p.get("name", ""): p.get("value", "") for p in case.iter("property")} for case in cases]
    table = render([row for row in rows if row.keys() >= set(KEYS)])
    text = args.page.read_text(encoding="utf-8")
    args.page.write_text(text[: text.index(BEGIN)] + f"{BEGIN}\n\n{table}", encoding="utf-8")
    return 0


def render(rows: list[dict[str, str]]) -> str:
    """A heading and a table for each area, in the order of the run."""
    areas = dict.fromkeys(row["area"] for row in rows)
    parts = []
    for area in areas:
        lines = [f"## {area}", "", "| fault | promise | seen |", "|---|---|---|"]
        lines += [
            f"| {cell(row['name'])} | {cell(row['promise'])} | {cell(row['seen'])} |"
            for row in rows
            if row["area"] == area
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def cell(text: str) -> str:
    """Text that Markdown leaves as it is."""
    for sign in "\\`*_<>|[]":
        text = text.replace(sign, f"\\{sign}")
    return text


if __name__ == "__main__":
    sys.exit(main())
