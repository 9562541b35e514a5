"""sage-fusion evaluate: fusion models and other people's results side by side, in figures and in pictures."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sage_fusion_ros.cli.progress import progress_bar
from sage_fusion_ros.evaluation.machine import usable_cores

ALL_DONE, SOME_SKIPPED, NOTHING_DONE = 0, 1, 2
METRICS = "EN SD SF AG MI SCD VIF Qabf SSIM"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declares the arguments of `sage-fusion evaluate`."""
    parser = subparsers.add_parser(
        "evaluate",
        help="compare fusion models in figures and pictures",
        description="Scores fusion models, and folders of fused images that others made, on folders of registered "
        "pairs, beside the maximum and the average of the two images. Prints tables and writes evaluation.json and the "
        "page index.html. Exit code 0: all done; 1: some images skipped, each named; 2: nothing done.",
    )
    data = parser.add_argument_group("what is compared on what")
    data.add_argument("--data", type=Path, nargs="+", default=[], metavar="DIR", help="folders of pairs; each is a set")
    data.add_argument(
        "--models",
        nargs="+",
        default=[],
        metavar="MODEL",
        help="names or folders, or name=folder (default: all shipped)",
    )
    data.add_argument(
        "--results", nargs="+", default=[], metavar="NAME=DIR", help="folders of fused images, named as the RGB images"
    )
    data.add_argument("--split", type=Path, metavar="YAML", help="score what this training recipe keeps for validation")
    data.add_argument(
        "--baselines",
        type=Path,
        nargs="+",
        default=[],
        metavar="JSON",
        help="others' figures; scores the pairs they list",
    )
    data.add_argument("--limit", type=int, default=0, metavar="N", help="at most N scored pairs of each set")
    figures = parser.add_argument_group("what is measured")
    figures.add_argument("--profile", default="standard", help="standard, literature or oracle (default: %(default)s)")
    figures.add_argument("--metrics", nargs="+", default=METRICS.split(), metavar="NAME", help=f"of {METRICS}")
    figures.add_argument(
        "--luma", default="saved", help="of the image as saved, or of the network before recolouring: saved, network"
    )
    figures.add_argument(
        "--detector", type=Path, nargs="+", default=[], metavar="ONNX", help="YOLOX or FastestDet: AP50 where boxes are"
    )
    figures.add_argument("--boxes", default="all", help="boxed pairs that detectors look at: all, scored")
    figures.add_argument(
        "--clips", type=Path, nargs="+", default=[], metavar="DIR", help="folders of videos or of consecutive frames"
    )
    figures.add_argument("--clip-frames", type=int, default=90, metavar="N", help="at most N frames of a clip (0: all)")
    figures.add_argument(
        "--noise", type=float, nargs="*", default=[0.01, 0.02, 0.04], metavar="SIGMA", help="of still scenes, 0..1"
    )
    figures.add_argument("--still-pairs", type=int, default=3, metavar="N", help="still scenes with noise of each set")
    _add_perception(parser)
    work = parser.add_argument_group("output")
    work.add_argument(
        "--output", type=Path, default=Path("evaluation_output"), metavar="DIR", help="(default: %(default)s)"
    )
    work.add_argument(
        "--pictures", type=int, default=12, metavar="N", help="pairs shown on the page (default: %(default)s)"
    )
    work.add_argument(
        "--processes", type=int, default=0, metavar="N", help="at the same time (default: one for each core)"
    )
    return parser


def _add_perception(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("masks and boxes (AP50, AP50:95, mIoU); docs/evaluation.md has the rules")
    group.add_argument(
        "--perception",
        nargs="+",
        default=[],
        metavar="MODEL",
        help="perception models that read every row's images: names or folders, or name=folder",
    )
    group.add_argument(
        "--perception-folds",
        nargs="+",
        default=[],
        metavar="DIR",
        help="folders of fold0 to fold4, of which fold k judges the pairs whose place in the sorted set is k by five",
    )
    group.add_argument(
        "--boxed",
        default="",
        help="boxed pairs that judge perception models: validation, all (default: validation; of folds all)",
    )
    group.add_argument(
        "--mask-pairs",
        type=Path,
        nargs="+",
        default=[],
        metavar="TXT",
        help="lists of pairs whose masks are judged (default: those in config/eval)",
    )
    group.add_argument(
        "--smoke-clip",
        nargs="+",
        default=[],
        metavar="RGB,THERMAL",
        help="two videos: who sees the people that the first --detector sees in thermal alone",
    )
    group.add_argument("--smoke-step", type=int, default=5, metavar="N", help="every n-th frame (default: %(default)s)")
    group.add_argument(
        "--overlays", type=int, default=6, metavar="N", help="pairs shown with mask and boxes (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Evaluates what the arguments name; returns the exit code."""
    _check_packages(boxes=bool(args.detector or args.perception or args.perception_folds))
    from sage_fusion_ros.evaluation.comparison.compare import run_comparison
    from sage_fusion_ros.evaluation.comparison.report import grouped_skips, write_page, write_report
    from sage_fusion_ros.evaluation.comparison.settings import Settings
    from sage_fusion_ros.evaluation.comparison.table import as_text
    from sage_fusion_ros.evaluation.comparison.tables import build_tables, foot_notes

    settings = Settings(
        data=args.data,
        models=args.models,
        results=args.results,
        profile=args.profile,
        metrics=args.metrics,
        luma=args.luma,
        split=args.split,
        baselines=args.baselines,
        detectors=args.detector,
        boxes=args.boxes,
        perception=args.perception,
        perception_folds=args.perception_folds,
        boxed=args.boxed,
        mask_pairs=args.mask_pairs,
        smoke_clips=args.smoke_clip,
        smoke_step=args.smoke_step,
        overlays=args.overlays,
        clips=args.clips,
        clip_frames=args.clip_frames,
        noise=args.noise,
        still_pairs=args.still_pairs,
        pictures=args.pictures,
        limit=args.limit,
        processes=args.processes or usable_cores(),
    )
    bar: tqdm[Any] | None = None

    def show(done: int, total: int) -> None:
        nonlocal bar
        bar = bar or progress_bar(desc="evaluate", unit="job", total=total)
        bar.total = total
        bar.update(done - bar.n)

    try:
        outcome = run_comparison(settings, show)
    finally:
        if bar is not None:
            bar.close()
    report = outcome.report
    for line in grouped_skips(report["skipped"]):
        print(f"skipped {line}", file=sys.stderr)
    if not outcome.done:
        print("nothing could be evaluated", file=sys.stderr)
        return NOTHING_DONE
    tables, notes = build_tables(report), foot_notes(report)
    for table in tables:
        print(as_text(table, bold=sys.stdout.isatty()), end="\n\n")
    for note in (*notes, *report["notes"]):
        print(note)
    write_report(args.output, report)
    page = write_page(args.output, report, tables, notes, outcome.pictures, outcome.overlays)
    print(f"{outcome.done} pairs and clips evaluated, {len(report['skipped'])} skipped; {page}")
    return SOME_SKIPPED if report["skipped"] else ALL_DONE


def _check_packages(boxes: bool) -> None:
    """Raises ModuleNotFoundError for what is missing now, not when the figures or the page come to need it."""
    for package in ("skimage", "sklearn", "jinja2", *(["pycocotools"] if boxes else [])):
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named '{package}'", name=package)
