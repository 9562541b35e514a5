"""Run by torchrun in each process: `sage-fusion train`, once whole and once in two parts, and the group by itself.

Arguments: the folder for what comes out, then those of `sage-fusion`, without --out.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from sage_fusion_ros.cli import train
from sage_fusion_ros.cli.main import main
from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.training.config import TrainSettings
from sage_fusion_ros.training.distributed import Group
from sage_fusion_ros.training.loop import Trainer

train_once, run_whole = train._train, Trainer.run


def refuse() -> None:
    raise ParameterError("process 0 finds nothing")


def try_group(group: Group, folder: Path) -> None:
    """What the processes come to together, a file for each."""
    mine = [torch.full((2, 3), float(group.rank)), torch.tensor(4.0 * group.rank)]
    group.mean_(mine)
    file = folder / "made_once"
    found = group.in_turn(lambda: file.exists() or file.touch() or False)
    try:
        group.share(refuse)
    except ParameterError as error:
        shared_error = str(error)
    result = {
        "rank": group.rank,
        "mean": [value.tolist() for value in mine],
        "any": group.any([group.rank == 1, False]),
        "shared": group.share(lambda: f"from {group.rank}"),
        "shared_error": shared_error,
        "found": found,
    }
    (folder / f"group{group.rank}.json").write_text(json.dumps(result), encoding="utf-8")


def train_and_try(args: argparse.Namespace, settings: TrainSettings, group: Group) -> int:
    """Stands in for what `sage-fusion train` does with a group: it can be joined once in a process's life."""
    folder = args.out
    args.out = folder / "whole"
    assert train_once(args, settings, group) == 0
    args.out = folder / "parts"
    Trainer.run = lambda trainer: run_whole(trainer, until=2)  # type: ignore[method-assign]
    assert train_once(args, settings, group) == 130
    Trainer.run = run_whole  # type: ignore[method-assign]
    args.resume = True
    assert train_once(args, settings, group) == 0
    try_group(group, folder)
    return 0


if __name__ == "__main__":
    train._train = train_and_try
    sys.exit(main([*sys.argv[2:], "--out", sys.argv[1]]))
