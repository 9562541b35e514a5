"""sage-fusion calibrate: finds how the thermal image lies in the RGB image, from paired frames."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from sage_fusion_ros.cli.fuse import write_png
from sage_fusion_ros.cli.progress import progress_bar
from sage_fusion_ros.errors import CalibrationError, ParameterError
from sage_fusion_ros.evaluation.alignment.coarse import SearchRange
from sage_fusion_ros.evaluation.alignment.estimate import Alignment, align
from sage_fusion_ros.evaluation.alignment.frames import Frames, pick_frames
from sage_fusion_ros.evaluation.alignment.picture import before_and_after
from sage_fusion_ros.pipeline.pixel_maps import HomographyMap
from sage_fusion_ros.sources.calibration_file import Calibration, write_calibration
from sage_fusion_ros.sources.open import open_source

_SHOWN = 3  # kept-out frames in the picture


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declares the arguments of `sage-fusion calibrate`."""
    parser = subparsers.add_parser(
        "calibrate",
        help="find how the thermal image lies in the RGB image",
        description="Estimates the homography from thermal to RGB pixels by the edges that both cameras see, added up "
        "over many frames; keeps every fourth frame out and reports the error there; writes a calibration file for "
        "registration.file, and a checkerboard picture of kept-out frames, before and after. Look at it. Exit code 2, "
        "and nothing written, where the frames do not tell.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--data", metavar="SOURCE", help="folder of pairs, folder of videos, bag, or synthetic")
    what.add_argument("--videos", nargs=2, metavar=("RGB", "THERMAL"), help="two videos of the same moments")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="calibration file to write (.yaml)")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="PNG (default: beside the file, same name)")
    parser.add_argument("--frames", type=int, default=60, help="frames to read, evenly spread (default: %(default)s)")
    default = SearchRange()
    parser.add_argument(
        "--max-scale",
        type=float,
        default=default.max_scale,
        help="greatest factor between the fields of view, from 1 to 3 (default: %(default)s)",
    )
    parser.add_argument(
        "--max-rotation",
        type=float,
        default=default.max_rotation,
        metavar="DEGREES",
        help="greatest turn between the cameras, from 0 to 45 (default: %(default)s)",
    )
    parser.add_argument(
        "--max-shift",
        type=float,
        default=default.max_shift,
        metavar="SHARE",
        help="greatest shift, of the image's sides, from 0.02 to 0.4 (default: %(default)s)",
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Estimates, measures and writes; returns the exit code."""
    search = _search(args)
    picture = args.picture or args.output.with_suffix(".png")
    if picture.resolve() == args.output.resolve():
        raise ParameterError(f"--output {args.output} and --picture {picture} are the same file")
    if args.output.is_dir():
        raise ParameterError(f"--output {args.output} is a folder; expected a file, such as cameras.yaml")
    spec = args.data if args.data is not None else ",".join(args.videos)
    source = open_source(spec)
    try:
        with progress_bar(desc="read", unit="pair", total=min(args.frames, len(source))) as bar:
            frames = pick_frames(source, args.frames, lambda _: bar.update())
    finally:
        source.close()
    for name, reason in frames.skipped:
        print(f"skipped {name}: {reason}", file=sys.stderr)
    alignment = align(frames.views, frames.names, search, print)
    pixel_map = _pixel_map(alignment, frames)
    report = _report(alignment, Path(spec.split(",")[0]).name)
    # The picture first: a calibration file stands for a run that went well as a whole.
    shown = [frames.names.index(name) for name in alignment.kept_out[:_SHOWN]]
    write_png(picture, before_and_after([frames.views[i] for i in shown], [frames.names[i] for i in shown], pixel_map))
    write_calibration(args.output, Calibration(homography=pixel_map, report=report))
    held_out = alignment.held_out
    print(
        f"on {len(alignment.kept_out)} kept-out frames: median {held_out.median_px:.2f} px, 90 % under "
        f"{held_out.p90_px:.2f} px (single frames); {held_out.joint_px:.2f} px with their edges added up"
    )
    print(f"wrote {args.output}; now look at {picture}: lines have to go on across the cells")
    return 0


def _search(args: argparse.Namespace) -> SearchRange:
    bounds = {"max_scale": (1, 3), "max_rotation": (0, 45), "max_shift": (0.02, 0.4), "frames": (4, 1000)}
    for name, (low, high) in bounds.items():
        value = getattr(args, name)
        if not low <= value <= high:
            raise ParameterError(f"--{name.replace('_', '-')} is {value}; expected {low} to {high}")
    return SearchRange(args.max_scale, args.max_rotation, args.max_shift)


def _pixel_map(alignment: Alignment, frames: Frames) -> HomographyMap:
    view = frames.views[0]
    sizes = ((view.rgb.shape[1], view.rgb.shape[0]), (view.thermal.shape[1], view.thermal.shape[0]))
    try:
        return HomographyMap(tuple(float(value) for value in alignment.homography.ravel()), *sizes)
    except CalibrationError as error:
        raise CalibrationError(f"what was found is no homography of two cameras: {error}") from error


def _report(alignment: Alignment, source: str) -> dict[str, Any]:
    held_out = alignment.held_out
    return {
        "source": source,
        "frames_used": len(alignment.used),
        "frames_kept_out": len(alignment.kept_out),
        "frames_too_flat": len(alignment.flat),
        "kept_out_median_px": round(held_out.median_px, 3),
        "kept_out_p90_px": round(held_out.p90_px, 3),
        "kept_out_joint_px": round(held_out.joint_px, 3),
    }
