"""sage-fusion models quantise: makes a model's file of 8-bit integers, calibrated and judged on real pairs."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np

from sage_fusion_ros.cli.progress import progress_bar
from sage_fusion_ros.engines.card import ModelCard
from sage_fusion_ros.engines.models import find_model
from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.pipeline.fuse import load_fuser
from sage_fusion_ros.pipeline.network import NetworkOptions
from sage_fusion_ros.sources.samples import Sample, draw_samples
from sage_fusion_ros.sources.split import SplitSettings, read_split

ACTION = "quantise"


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the arguments of `sage-fusion models quantise`."""
    parser = actions.add_parser(
        ACTION,
        help="make a model's int8 file (needs the extra 'train')",
        description="Makes the file that engine.precision int8 runs: static 8-bit integers, calibrated on pairs that "
        "may be trained on and judged on pairs that may not. It goes beside the model's own file, and the card says "
        "how it was made and how near it comes to fp32; where that is not near enough, nothing is written.",
    )
    parser.add_argument("model", metavar="MODEL", help="name or folder of a model for fusion or perception")
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR", help="folders of pairs, complete")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write a copy of the model here, not beside it")
    parser.add_argument("--models-path", nargs="+", default=[], metavar="DIR", help="searched before the package's own")
    parser.add_argument(
        "--split",
        type=Path,
        metavar="YAML",
        help="settings of a training run, whose split is taken (default: the one in the model's card; every fifth pair "
        "is kept out where it has none)",
    )
    parser.add_argument(
        "--pairs", type=_count, default=24, metavar="N", help="to calibrate with (default: %(default)s)"
    )
    parser.add_argument(
        "--judged-pairs", type=_count, default=48, metavar="N", help="to judge with, at most (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the draw (default: %(default)s)")
    fit = parser.add_argument_group("the fit")
    fit.add_argument(
        "--percentiles",
        type=float,
        nargs="+",
        default=[99.9, 99.99, 99.999],
        metavar="P",
        help="shares of a tensor's values that its range holds; the best one is taken (default: %(default)s)",
    )
    fit.add_argument(
        "--keep",
        nargs="+",
        default=["last"],
        metavar="LAYER",
        help="convolutions that stay in fp32: none, first, last, ends, or names (default: last)",
    )
    fit.add_argument(
        "--no-equalise",
        action="store_true",
        help="leave each tensor's channels as unlike in size as they are; sometimes that comes nearer",
    )
    fit.add_argument(
        "--weight-bits",
        type=int,
        choices=(7, 8),
        default=7,
        help="8 comes nearer to fp32, but is wrong on processors without integer dot products (default: %(default)s)",
    )
    fit.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads (default: every core)")
    near = parser.add_argument_group("how near to fp32 it must come")
    near.add_argument("--least-psnr", type=float, default=39.0, metavar="DB", help="fusion (default: %(default)s dB)")
    near.add_argument(
        "--least-mask", type=float, default=0.97, metavar="SHARE", help="of pixels alike (default: %(default)s)"
    )
    near.add_argument(
        "--least-boxes", type=float, default=0.9, metavar="SHARE", help="of boxes alike (default: %(default)s)"
    )
    parser.add_argument(
        "--fusion", default="sage_fast", metavar="MODEL", help="fuses what perception sees (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Makes it; 0 on success. An error leaves the model as it was."""
    from sage_fusion_ros.evaluation.precision_loss import fusion_loss, perception_loss
    from sage_fusion_ros.training.quantisation.folder import FILE, PRECISION, check_output
    from sage_fusion_ros.training.quantisation.quantise import QuantisationSettings, check_task, quantise, steps

    model = find_model(args.model, args.models_path, task=None)
    check_task(model)
    check_output(args.output)
    perception = model.card.task == "perception"
    settings = QuantisationSettings(
        percentiles=tuple(args.percentiles),
        keep=tuple(args.keep),
        equalise=not args.no_equalise,
        weight_bits=args.weight_bits,
        least=_least(args, model.card),
        seed=args.seed,
        threads=args.threads,
    )
    split = read_split(args.split) if args.split else _split_of(model.card)
    drawn = draw_samples(args.data, split, args.pairs, args.judged_pairs, args.seed)
    if perception:
        drawn = _fuse(args, *drawn)
    calibration, judged = drawn
    with progress_bar(desc=f"int8 of {model.card.name}", unit="image", total=steps(settings, *map(len, drawn))) as bar:
        card = quantise(
            model,
            args.output,
            calibration,
            judged,
            partial(perception_loss if perception else fusion_loss, threads=args.threads),
            settings,
            {"command": _command(args), **({"fused_by": args.fusion} if perception else {})},
            bar.update,
        )
    made = card.variants[PRECISION].made
    print(f"{(args.output or model.path.parent) / FILE}: {', '.join(_texts(made['against_fp32']))} against fp32")
    print(f"calibrated on {_pairs(made['calibrated_on'])}, judged on {_pairs(made['judged_on'])}")
    print(f"percentile {made['percentile']}, in fp32 as before: {', '.join(made['kept_in_fp32']) or 'nothing'}")
    return 0


def _least(args: argparse.Namespace, card: ModelCard) -> dict[str, float]:
    if card.task == "fusion":
        return {"psnr_db": args.least_psnr}
    masks = {"mask_agreement": args.least_mask} if card.mask_classes else {}
    return masks | ({"box_agreement": args.least_boxes} if card.detection_classes else {})


def _split_of(card: ModelCard) -> SplitSettings | None:
    """The split that the model was trained with; None where the card does not say."""
    settings = card.training.get("settings")
    section = settings.get("split") if isinstance(settings, dict) else None
    if not isinstance(section, dict):
        return None
    try:
        return SplitSettings(**{name: tuple(map(str, patterns)) for name, patterns in section.items()})
    except TypeError as error:
        raise ParameterError(
            f"the split in the card of model {card.name} can't be read; give one with --split"
        ) from error


def _fuse(args: argparse.Namespace, *drawn: list[Sample]) -> tuple[list[Sample], list[Sample]]:
    """The same pairs, with the fused image in the place of the RGB image."""
    fuser = load_fuser(args.fusion, NetworkOptions(device="cpu", threads=args.threads, models_path=args.models_path))
    calibration, judged = (
        [Sample(each.name, np.asarray(fuser.fuse(each.rgb, each.thermal), np.uint8), each.thermal) for each in samples]
        for samples in drawn
    )
    fuser.close()
    return calibration, judged


def _command(args: argparse.Namespace) -> str:
    """The command without this machine's paths."""
    words = ["sage-fusion models", ACTION, Path(args.model).name, "--data", *(path.name for path in args.data)]
    words += ["--pairs", args.pairs, "--seed", args.seed, "--percentiles", *args.percentiles, "--keep", *args.keep]
    words += ["--weight-bits", args.weight_bits, *(["--no-equalise"] if args.no_equalise else [])]
    return " ".join(map(str, words))


def _texts(figures: dict[str, float]) -> list[str]:
    return [f"{name} {value:g}" for name, value in figures.items()]


def _pairs(entry: dict[str, dict[str, int]]) -> str:
    return ", ".join(f"{count} pairs of {name}" for name, count in entry["pairs"].items())


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"'{text}' is no count; expected 1 or more")
    return int(text)
