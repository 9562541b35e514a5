"""sage-fusion models: lists the models at hand, makes int8 files and GPU engines of them, imports the published one."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

from sage_fusion_ros.cli import models_build, models_quantise
from sage_fusion_ros.engines.models import FoundModel, survey_models

LICENCE_WIDTH = 44
COLUMNS = ("name", "task", "version", "parameters", "size", "licence", "folder")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declares the arguments of `sage-fusion models`."""
    parser = subparsers.add_parser("models", help="list models, or import the published one", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")
    listing = actions.add_parser(
        "list",
        help="one line for each model folder",
        description="Lists each model folder with its task, version, number of parameters, size on disk and licence "
        "(cut; whole in its card.yaml). One that can't be used is listed with the reason.",
    )
    listing.add_argument(
        "--models-path",
        nargs="+",
        default=[],
        metavar="DIR",
        help="folders searched before the package's own, as the node's parameter models.path",
    )
    sage = actions.add_parser(
        "import-sage",
        help="turn the published SAGE student's checkpoint into a model folder (needs the extra 'train')",
        description="Turns checkpoints.pt of github.com/RollingPlain/SAGE_IVIF (MIT), which you download yourself, "
        "into a model folder that fuse, evaluate, demo and fusion_node take.",
    )
    sage.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="the authors' file")
    sage.add_argument(
        "--output",
        type=Path,
        default=Path("models/sage_official"),
        metavar="DIR",
        help="model folder; an earlier import is replaced, anything else is not (default: %(default)s)",
    )
    models_quantise.add_parser(actions)
    models_build.add_parser(actions)
    return parser


def run(args: argparse.Namespace) -> int:
    """Does what was asked for; 0 on success."""
    if args.action == "import-sage":
        return _import(args.checkpoint, args.output)
    if args.action == models_quantise.ACTION:
        return models_quantise.run(args)
    if args.action == models_build.ACTION:
        return models_build.run(args)
    for line in table(survey_models(args.models_path)):
        print(line)
    return 0


def table(models: list[FoundModel]) -> list[str]:
    """The listing as lines: a header, and one for each model; below it one more where something is wrong."""
    rows = [COLUMNS, *map(_row, models)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = []
    for row, model in zip(rows, [None, *models], strict=True):
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if model and model.problem:
            lines.append(f"    can't be used: {model.problem}")
        if model and model.hidden_by:
            lines.append(f"    its name finds {model.hidden_by}; give its path instead")
    return lines


def _row(model: FoundModel) -> tuple[str, ...]:
    card, size = model.card, f"{model.size_bytes / 1e6:.2f} MB"
    if card is None:
        return (model.folder.name, "?", "?", "?", size, "?", str(model.folder))
    # The first sentence; what follows are the terms of others, and stands in the card.
    licence, _, more = " ".join(card.licence.split()).partition(". ")
    licence = textwrap.shorten(f"{licence} ..." if more else licence, LICENCE_WIDTH, placeholder=" ...")
    parameters = f"{card.parameters:,}" if card.parameters else "?"
    return (model.folder.name, card.task, card.version, parameters, size, licence, str(model.folder))


def _import(checkpoint: Path, folder: Path) -> int:
    from sage_fusion_ros.training.import_sage import import_sage

    card = import_sage(checkpoint, folder)
    worst = card.measured["onnx_against_torch_max_abs"]
    same = card.training["checkpoint_is_the_published_one"]
    print(f"{folder}: {card.parameters} parameters, ONNX differs from torch by at most {worst:.1e}")
    print(f"the checkpoint is {'the published one' if same else 'NOT the published one'}, licence: {card.licence}")
    print(f"use it with --model {folder.resolve()}")
    return 0
