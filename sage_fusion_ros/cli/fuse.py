"""sage-fusion fuse: fuses image files offline, with the same steps as the node."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.cli.progress import progress_bar
from sage_fusion_ros.errors import ImageFormatError, ParameterError, SageFusionError, SourceError
from sage_fusion_ros.pipeline.colour import COLOURS
from sage_fusion_ros.pipeline.fuse import Fuser, load_fuser
from sage_fusion_ros.pipeline.fusion_pipeline import resize_to
from sage_fusion_ros.pipeline.network import NetworkOptions
from sage_fusion_ros.pipeline.thermal import ThermalNormaliser
from sage_fusion_ros.pipeline.tint import tint_warm
from sage_fusion_ros.sources.images import SUFFIXES, read_rgb, read_thermal
from sage_fusion_ros.sources.layouts import PairPath, find_pairs

ALL_DONE, SOME_SKIPPED, NOTHING_DONE = 0, 1, 2


@dataclass
class Work:
    """Pairs to fuse, and what was found without being one, as (name, reason)."""

    pairs: list[PairPath]
    skipped: list[tuple[str, str]] = field(default_factory=list)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declares the arguments of `sage-fusion fuse`."""
    parser = subparsers.add_parser(
        "fuse",
        help="fuse image files or folders offline",
        description="Fuses an RGB and a thermal image, two folders of them (matched by file name without suffix), or "
        "one folder in a known layout (rgb/ + thermal/, LLVIP, M3FD, MSRS, RoadScene). Writes PNG files under the RGB "
        "files' names. Exit code 0: all fused; 1: some skipped, each named; 2: nothing fused.",
    )
    parser.add_argument("rgb", type=Path, metavar="A", help="RGB file or folder, or a folder that holds both kinds")
    parser.add_argument("thermal", type=Path, nargs="?", metavar="B", help="thermal file or folder")
    parser.add_argument("--model", default="sage_fast", help="name or folder of a fusion model (default: %(default)s)")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the fused images")
    parser.add_argument("--device", default="auto", choices=("auto", "cuda", "tensorrt", "cpu"))
    parser.add_argument(
        "--colour",
        default="standard",
        choices=tuple(COLOURS),
        help="how the RGB image's colours are carried over; 'published' as SAGE's own code does, to compare with its "
        "pictures (default: %(default)s)",
    )
    parser.add_argument(
        "--thermal-tint",
        type=float,
        default=0.0,
        metavar="0..1",
        help="how strongly warm things are coloured, brightness unchanged (default: %(default)s, not at all)",
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Fuses what the arguments name; returns the exit code."""
    if not 0 <= args.thermal_tint <= 1:
        raise ParameterError(f"--thermal-tint is {args.thermal_tint}; expected 0 to 1")
    work = find_work(args.rgb, args.thermal)
    targets = plan_targets(work, args.output)
    skipped, done = list(work.skipped), 0
    if work.pairs:
        fuser = load_fuser(args.model, NetworkOptions(device=args.device), colour=args.colour)
        try:
            jobs = list(zip(work.pairs, targets, strict=True))
            for pair, target in progress_bar(iterable=jobs, desc="fuse", unit="pair"):
                try:
                    write_png(target, fuse_files(fuser, pair.rgb, pair.thermal, args.thermal_tint))
                    done += 1
                except (SourceError, ImageFormatError) as error:
                    skipped.append((pair.name, str(error)))
        finally:
            fuser.close()
    for name, reason in skipped:
        print(f"skipped {name}: {reason}", file=sys.stderr)
    print(f"{done} fused into {args.output}, {len(skipped)} skipped")
    if not done:
        return NOTHING_DONE
    return SOME_SKIPPED if skipped else ALL_DONE


def find_work(rgb: Path, thermal: Path | None) -> Work:
    """Pairs of two files, two folders, or one folder in a known layout.

    Raises:
        SourceError: A path is missing, a file stands against a folder, or no pair is found.
    """
    for path in filter(None, (rgb, thermal)):
        if not path.exists():
            raise SourceError(f"{path} does not exist")
    if thermal is None:
        if rgb.is_file():
            raise SourceError(f"{rgb} is one file; name the thermal file too")
        listing = find_pairs(rgb)
        return Work(listing.pairs, list(listing.skipped))
    if rgb.is_dir() != thermal.is_dir():
        raise SourceError(f"{rgb} and {thermal} have to be two files or two folders")
    if rgb.is_file():
        return Work([PairPath(rgb.stem, rgb, thermal)])
    return match_folders(rgb, thermal)


def match_folders(rgb: Path, thermal: Path) -> Work:
    """Pairs of images with the same relative path without suffix; what has no partner is skipped by name.

    Raises:
        SourceError: No file has a partner.
    """
    work = Work([])
    by_stem: dict[str, dict[str, Path]] = {}
    for camera, folder in (("rgb", rgb), ("thermal", thermal)):
        for path, stem in _images(folder):
            if camera in (cameras := by_stem.setdefault(stem, {})):
                work.skipped.append((str(path), f"{cameras[camera]} has the same name without suffix"))
            else:
                cameras[camera] = path
    for stem, cameras in sorted(by_stem.items()):
        if len(cameras) == 2:
            work.pairs.append(PairPath(stem, cameras["rgb"], cameras["thermal"]))
        else:
            other = "thermal" if "rgb" in cameras else "RGB"
            work.skipped.append((str(*cameras.values()), f"no {other} image of that name"))
    if not work.pairs:
        raise SourceError(f"no image in {rgb} has a partner of the same name in {thermal}")
    return work


def _images(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith("."):
            yield path, path.relative_to(folder).with_suffix("").as_posix()


def plan_targets(work: Work, output: Path) -> list[Path]:
    """The file each pair will be written to.

    Raises:
        ParameterError: One of them is an input, by name, by link, or because the output folder holds the inputs.
    """
    targets = [output / f"{pair.name}.png" for pair in work.pairs]
    inputs = {_identity(path): path for pair in work.pairs for path in (pair.rgb, pair.thermal)}
    for target in targets:
        if target.exists() and (path := inputs.get(_identity(target))):
            raise ParameterError(f"--output {output} would overwrite the input {path}; name another folder")
    return targets


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def fuse_files(fuser: Fuser, rgb_file: Path, thermal_file: Path, thermal_tint: float = 0.0) -> npt.NDArray[np.uint8]:
    """Reads, normalises, resizes to the RGB image, fuses and, where asked for, tints one pair.

    Returns:
        uint8 HxWx3 RGB in the RGB file's size.

    Raises:
        SourceError: A file can't be read.
        ImageFormatError: The pair can't be fused.
    """
    rgb = read_rgb(rgb_file)
    thermal = ThermalNormaliser()(read_thermal(thermal_file))
    thermal = resize_to(thermal, *rgb.shape[:2])
    return tint_warm(fuser.fuse(rgb, thermal), thermal, thermal_tint)


def write_png(path: Path, rgb: npt.NDArray[np.uint8]) -> None:
    """Writes a PNG under a temporary name and renames it, so that a file of this name is always whole.

    Raises:
        SageFusionError: The folder can't be written to.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    _, data = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(data.tobytes())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise SageFusionError(f"{path} can't be written: {error.strerror}") from error
