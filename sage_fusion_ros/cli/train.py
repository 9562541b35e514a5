"""sage-fusion train: trains a network from random weights on folders of pairs."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sage_fusion_ros.engines.card import sha256_of
from sage_fusion_ros.errors import ParameterError

if TYPE_CHECKING:
    from sage_fusion_ros.training.config import TrainSettings
    from sage_fusion_ros.training.distributed import Group
    from sage_fusion_ros.training.pairs import StoredPair


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the verb."""
    parser = subparsers.add_parser("train", help="train a fusion or the perception network", description=__doc__)
    parser.add_argument("recipe", choices=["sage", "sage_fast", "perception"], help="which network, and how")
    parser.add_argument("--config", type=Path, required=True, help="the recipe's settings (config/train/*.yaml)")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of pairs, or of two video folders")
    parser.add_argument("--teacher", type=Path, help="weights of the published SAGE student (recipe sage)")
    parser.add_argument("--reader", type=Path, help="ONNX file of a YOLOX detector (settings with the term reading)")
    text = "ONNX files of detectors with COCO's classes, for boxes where people drew none (recipe perception)"
    parser.add_argument("--detector", type=Path, nargs="+", default=[], metavar="FILE", help=text)
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and logs")
    parser.add_argument("--start", type=Path, help="checkpoint of an earlier run whose weights to start from")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument("--steps", type=int, help="replaces the steps of the settings")
    parser.add_argument("--seed", type=int, help="replaces the seed of the settings")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: all)")


def run(args: argparse.Namespace) -> int:
    """Runs it; 0 when the last step was reached, 130 when interrupted (the checkpoint is saved)."""
    import torch

    from sage_fusion_ros.training.config import read_settings
    from sage_fusion_ros.training.distributed import joined

    if args.threads > 0:
        torch.set_num_threads(args.threads)
    settings = read_settings(args.config, args.recipe, steps=args.steps, seed=args.seed)
    with joined(settings.device) as group:
        return _train(args, settings, group)


def _train(args: argparse.Namespace, settings: TrainSettings, group: Group) -> int:
    from sage_fusion_ros.training.learner import SingleLearner
    from sage_fusion_ros.training.loop import CHECKPOINT, Trainer
    from sage_fusion_ros.training.prefetch import Prefetched
    from sage_fusion_ros.training.recipes.build import build_recipe

    if not args.resume and group.share((args.out / CHECKPOINT).exists):
        raise ParameterError(f"{args.out} already holds a run; add --resume to go on with it, or give another folder")
    recipe = build_recipe(settings, args.teacher, args.reader, args.detector)
    build_sampler = _perception_sampler if args.recipe == "perception" else _fusion_sampler
    sampler, pairs = group.in_turn(lambda: build_sampler(args, settings, group.main))
    notes: dict[str, object] = {"pairs": dict(sorted(Counter(pair.name.split("/")[0] for pair in pairs).items()))}
    for name, files in (("teacher", [args.teacher]), ("reader", [args.reader]), ("detector", args.detector)):
        if hashes := [sha256_of(path) for path in files if path is not None]:
            notes[f"{name}_sha256"] = hashes if name == "detector" else hashes[0]
    batches = Prefetched(sampler, lambda number: group.following(number, settings.accumulate))
    learner = SingleLearner(settings, recipe, group)
    trainer = Trainer(settings, learner, batches, args.out, notes, group)
    if args.resume:
        trainer.resume()
    elif args.start is not None:
        trainer.start_from(args.start)
    finished = trainer.run()
    if group.main:
        early = f", ended early: no better score since step {trainer.best.step}" if trainer.out_of_patience else ""
        print(f"step {trainer.step} of {settings.steps}{early}; checkpoint: {args.out / CHECKPOINT}")
    return 0 if finished else 130


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
