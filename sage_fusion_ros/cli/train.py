"""sage-fusion train: trains a network from random weights on folders of pairs."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sage_fusion_ros.engines.card import sha256_of
from sage_fusion_ros.errors import ParameterError

RECIPES = ("sage", "sage_distilled", "sage_fast", "perception")

if TYPE_CHECKING:
    from torch import nn

    from sage_fusion_ros.training.config import TrainSettings
    from sage_fusion_ros.training.distributed import Group
    from sage_fusion_ros.training.learner import Learner
    from sage_fusion_ros.training.pairs import StoredPair


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the verb."""
    parser = subparsers.add_parser("train", help="train a fusion or the perception network", description=__doc__)
    parser.add_argument("recipe", choices=RECIPES, help="which network, and how")
    parser.add_argument("--config", type=Path, required=True, help="the recipe's settings (config/train/*.yaml)")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of pairs, or of two video folders")
    parser.add_argument("--teacher", type=Path, help="weights of the published SAGE student (sage_distilled)")
    parser.add_argument("--reader", type=Path, help="ONNX file of a YOLOX detector (settings with the term reading)")
    text = "ONNX files of detectors with COCO's classes, for boxes where people drew none (recipe perception)"
    parser.add_argument("--detector", type=Path, nargs="+", default=[], metavar="FILE", help=text)
    sage = parser.add_argument_group("recipe sage, see docs/training.md")
    text = "frozen network for the contrastive term: a model, an ONNX file, or a folder of SAM's weights"
    sage.add_argument("--feature-network", default="", metavar="MODEL", help=text)
    text = "frozen segmentation network for the task term: a model or an ONNX file"
    sage.add_argument("--task-network", default="", metavar="MODEL", help=text)
    sage.add_argument("--prior", default="", metavar="SPEC", help="where masks come from; replaces the settings'")
    sage.add_argument("--masks", type=Path, metavar="DIR", help="where found masks are kept (default: OUT/masks)")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and logs")
    parser.add_argument("--start", type=Path, help="checkpoint of an earlier run whose weights to start from")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument("--steps", type=int, help="replaces the steps of the settings")
    parser.add_argument("--seed", type=int, help="replaces the seed of the settings")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: all)")


def run(args: argparse.Namespace) -> int:
    """Runs it; 0 when it is finished, 130 when interrupted (the checkpoint is saved)."""
    import torch

    from sage_fusion_ros.training.config import read_settings
    from sage_fusion_ros.training.distributed import joined

    if args.threads > 0:
        torch.set_num_threads(args.threads)
    settings = read_settings(args.config, args.recipe, steps=args.steps, seed=args.seed)
    with joined(settings.device) as group:
        return _train(args, settings, group)


def _train(args: argparse.Namespace, settings: TrainSettings, group: Group) -> int:
    from sage_fusion_ros.training.loop import BEST, CHECKPOINT, Trainer
    from sage_fusion_ros.training.prefetch import Prefetched

    if not args.resume and group.share((args.out / CHECKPOINT).exists):
        raise ParameterError(f"{args.out} already holds a run; add --resume to go on with it, or give another folder")
    run = (_sage_run if args.recipe == "sage" else _single_run)(args, settings, group)
    notes: dict[str, Any] = {"pairs": dict(sorted(Counter(pair.name.split("/")[0] for pair in run.pairs).items()))}
    notes |= {f"{name}_sha256": value for name, value in _hashes(args).items()} | run.notes
    if group.size > 1:
        notes["processes"] = group.size
    batches = Prefetched(run.sampler, lambda number: group.following(number, settings.accumulate))
    trainer = Trainer(settings, run.learner, batches, args.out, notes, group, run.validate)
    if args.resume:
        trainer.resume()
    elif args.start is not None:
        trainer.start_from(args.start)
    finished = trainer.run()
    if group.main:
        early = (
            f", ended early as no score was better than step {trainer.best.step}'s" if trainer.out_of_patience else ""
        )
        best = f"; best: {args.out / BEST}" if trainer.best.step else ""
        print(f"step {trainer.step} of {settings.steps}{early}; checkpoint: {args.out / CHECKPOINT}{best}")
    return 0 if finished else 130


@dataclass(frozen=True)
class _Run:
    """What a recipe gives to the trainer."""

    learner: Learner
    sampler: Callable[[int], Any]
    pairs: list[StoredPair]
    notes: dict[str, Any] = field(default_factory=dict)
    validate: Callable[[nn.Module], dict[str, float]] | None = None


def _single_run(args: argparse.Namespace, settings: TrainSettings, group: Group) -> _Run:
    from sage_fusion_ros.training.learner import SingleLearner
    from sage_fusion_ros.training.recipes.build import build_recipe

    if args.feature_network or args.task_network or args.prior or args.masks:
        raise ParameterError(
            f"the recipe '{args.recipe}' takes none of --feature-network, --task-network, --prior and --masks; they "
            "are for 'sage'"
        )
    recipe = build_recipe(settings, args.teacher, args.reader, args.detector)
    build_sampler = _perception_sampler if args.recipe == "perception" else _fusion_sampler
    sampler, pairs = group.in_turn(lambda: build_sampler(args, settings, group.main))
    return _Run(SingleLearner(settings, recipe, group), sampler, pairs)


def _sage_run(args: argparse.Namespace, settings: TrainSettings, group: Group) -> _Run:
    from sage_fusion_ros.training.sage.assemble import SageInputs, build_problem, load_data, validation_of
    from sage_fusion_ros.training.sage.learner import BilevelLearner

    for name in ("teacher", "reader", "detector"):
        if getattr(args, name):
            raise ParameterError(f"the recipe 'sage' trains its own teacher and takes no --{name}; leave it out")
    masks = args.masks or args.out / "masks"
    inputs = SageInputs(args.feature_network, args.task_network, args.prior, masks, args.threads)
    problem = build_problem(settings, inputs, group.device)
    data = group.in_turn(lambda: load_data(settings, args.data, inputs, problem, bar=group.main))
    if group.main:
        print("\n".join(data.lines), file=sys.stderr)
    validate = validation_of(data, problem, settings, group)
    notes = {**problem.notes(), **data.notes}
    return _Run(BilevelLearner(problem, settings, group), data.sampler, data.pairs, notes, validate)


def _hashes(args: argparse.Namespace) -> dict[str, Any]:
    """sha256 of the frozen networks given as files."""
    found: dict[str, Any] = {name: sha256_of(path) for name in ("teacher", "reader") if (path := getattr(args, name))}
    return found | ({"detector": [sha256_of(path) for path in args.detector]} if args.detector else {})


def _fusion_sampler(
    args: argparse.Namespace, settings: TrainSettings, speak: bool
) -> tuple[Callable[[int], Any], list[StoredPair]]:
    from sage_fusion_ros.training.data import BatchSampler
    from sage_fusion_ros.training.pairs import load_pairs
    from sage_fusion_ros.training.whole import WholePairSampler

    pairs = load_pairs(args.data, settings.split, settings.video_stride)
    whole = WholePairSampler(pairs, settings.reader, settings.augment, settings.seed) if args.reader else None
    sampler = BatchSampler(pairs, settings.batch, settings.crop, settings.augment, settings.seed, whole)
    left_out = f" ({len(sampler.too_small)} smaller than the crop left out)" if sampler.too_small else ""
    if speak:
        print(f"{len(pairs)} pairs to train on{left_out}", file=sys.stderr)
    return sampler, pairs


def _perception_sampler(
    args: argparse.Namespace, settings: TrainSettings, speak: bool
) -> tuple[Callable[[int], Any], list[StoredPair]]:
    from sage_fusion_ros.training.perception.assemble import build_sampler

    sampler, pairs = build_sampler(settings, args.data, args.detector, args.out, args.threads)
    if speak:
        print(f"{len(pairs)} pairs to train on", file=sys.stderr)
    return sampler, pairs
