"""sage-fusion export: turns a training checkpoint into a model folder, checked against torch."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the verb."""
    parser = subparsers.add_parser("export", help="turn a checkpoint into a model folder", description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="checkpoint.pt of a training run")
    parser.add_argument("--output", type=Path, required=True, help="model folder, for example models/sage_fast")
    average = "checkpoints of runs that started from one another: the mean of all their weights is exported"
    parser.add_argument("--average-with", type=Path, nargs="+", default=[], metavar="CHECKPOINT", help=average)
    size = "height and width that the file shall fix, such as 480x640 (perception only; free without it)"
    parser.add_argument("--size", type=_size, metavar="HxW", help=size)
    text = "YAML with the card's description, licence, training and measured; several are joined"
    parser.add_argument("--notes", type=Path, nargs="+", default=[], metavar="FILE", help=text)


def run(args: argparse.Namespace) -> int:
    """Exports; an error leaves the folder as it was."""
    from sage_fusion_ros.training.export import export_checkpoint

    card = export_checkpoint(args.checkpoint, args.output, args.notes, args.average_with, args.size)
    worst = card.measured["onnx_against_torch_max_abs"]
    print(f"{args.output}: {card.parameters} parameters, ONNX differs from torch by at most {worst:.1e}")
    print(f"sha256 {card.sha256}")
    return 0


def _size(text: str) -> tuple[int, int]:
    try:
        height, width = map(int, text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no size; write height x width, such as 480x640") from None
    return height, width
