"""What the tests of sage-fusion evaluate --perception share: how it is run and read, and label maps."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from evaluation_data import HOT, SIZE

from sage_fusion_ros.cli import evaluate

QUICK = ("--processes", 1, "--pictures", 0, "--still-pairs", 0, "--metrics", "EN", "--overlays", 0)
NAMES = list("abcdefg")
"""Pairs, of which a and f are kept for validation."""


def run(*words: object) -> int:
    """The command's exit code."""
    parser = argparse.ArgumentParser()
    evaluate.add_parser(parser.add_subparsers())
    return evaluate.run(parser.parse_args(["evaluate", *map(str, words)]))


def report(folder: Path) -> dict[str, Any]:
    """All that it found."""
    return json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))


def perception(folder: Path) -> dict[str, Any]:
    """What it found of masks and boxes."""
    return report(folder)["perception"]


def cell(part: dict[str, Any], reader: str, row: str) -> dict[str, Any]:
    """The figures of persons over all sets."""
    (line,) = [line for line in part["lines"] if (line["reader"], line["row"]) == (reader, row)]
    return line["cells"]["all sets"]["person"]


def write_labels(root: Path, names: list[str]) -> None:
    """Road, but for the warm square, a person, and a strip of which nothing is known."""
    left, top, right, bottom = HOT
    labels = np.zeros(SIZE, np.uint8)
    labels[top:bottom, left:right] = 11
    labels[:16] = 255
    (root / "seg_cityscapes19").mkdir()
    for name in names:
        assert cv2.imwrite(str(root / "seg_cityscapes19" / f"{name}.png"), labels)


def listed(folder: Path, *names: str) -> Path:
    """A list of pairs for --mask-pairs."""
    path = folder / "pairs.txt"
    path.write_text("# by day\n" + "".join(f"{name}  # seen\n" for name in names))
    return path
