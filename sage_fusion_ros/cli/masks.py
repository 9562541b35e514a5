"""sage-fusion masks: finds the masks of a semantic prior ahead of training and keeps them."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from sage_fusion_ros.cli.progress import progress_bar
from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.sources.split import SplitSettings, read_split

if TYPE_CHECKING:
    from sage_fusion_ros.training.priors.sam_settings import SamSettings

INTERRUPTED = 130
CAMERAS = ("rgb", "thermal")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the arguments of `sage-fusion masks`."""
    parser = subparsers.add_parser(
        "masks",
        help="find the masks of a semantic prior ahead of training",
        description=f"{__doc__} It may be interrupted at any time; the same command goes on. Training that is given "
        "the same prior and the same cache takes the masks from there.",
    )
    parser.add_argument(
        "--prior",
        required=True,
        metavar="SPEC",
        help="sam:FOLDER (weights of Segment Anything in transformers' form) or perception[:MODEL]; those that need "
        "no cache (labels:FOLDERNAME, hand:FOLDERNAME) are only tried out",
    )
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR", help="as for sage-fusion train")
    parser.add_argument("--cache", type=Path, required=True, metavar="DIR", help="folder for the masks")
    parser.add_argument("--split", type=Path, metavar="YAML", help="leave out what this training recipe leaves out")
    parser.add_argument(
        "--video-stride", type=int, default=15, metavar="N", help="every n-th frame of videos (default: %(default)s)"
    )
    text = "how SAM is asked, such as points_per_side=64 crop_layers=1"
    parser.add_argument("--sam", nargs="+", default=[], metavar="NAME=VALUE", help=text)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads (0: all)")


def run(args: argparse.Namespace) -> int:
    """Finds what the cache lacks; 0 when every pair has its masks, 130 when interrupted."""
    import torch

    from sage_fusion_ros.training.pairs import load_pairs
    from sage_fusion_ros.training.priors.cache import find_masks
    from sage_fusion_ros.training.priors.choose import load_prior

    if args.threads > 0:
        torch.set_num_threads(args.threads)
    if args.video_stride < 1:
        raise ParameterError(f"--video-stride is {args.video_stride}; expected 1 or more")
    prior = load_prior(args.prior, args.data, read_sam(args.sam), args.device, threads=args.threads)
    split = read_split(args.split) if args.split else SplitSettings()
    pairs = load_pairs(args.data, split, args.video_stride)
    bar: tqdm[Any] | None = None

    def show(done: int, total: int) -> None:
        nonlocal bar
        bar = bar or progress_bar(desc="masks", unit="pair", total=total, initial=done)
        bar.update(done - bar.n)

    try:
        found = find_masks(pairs, prior, args.cache, show)
    except KeyboardInterrupt:
        print(f"interrupted; the same command goes on with the masks that are in {args.cache}")
        return INTERRUPTED
    finally:
        if bar is not None:
            bar.close()
    without = sum(not (masks.packed_rgb or masks.packed_thermal) for masks in found.values())
    rgb, thermal = (sum(len(getattr(masks, f"packed_{camera}")) for masks in found.values()) for camera in CAMERAS)
    where = args.cache if prior.key else "not kept: they are found as quickly as they are read"
    print(f"{len(found)} pairs, {without} of them without masks; {rgb} masks of rgb, {thermal} of thermal ({where})")
    return 0


def read_sam(words: list[str]) -> SamSettings:
    """Settings from words such as "crop_layers=1".

    Raises:
        ParameterError: An unknown name, or a value that is no number or out of range.
    """
    from sage_fusion_ros.training.priors.sam_settings import SamSettings

    kinds = {field.name: int if field.type == "int" else float for field in fields(SamSettings)}
    values = {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in kinds:
            raise ParameterError(f"--sam has '{word}'; expected NAME=VALUE with one of {', '.join(kinds)}")
        try:
            values[name] = kinds[name](value)
        except ValueError as error:
            raise ParameterError(f"--sam: {name} is '{value}'; expected {kinds[name].__name__}") from error
    return SamSettings(**values)
