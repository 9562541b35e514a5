"""sage-fusion bag fuse: whole bags offline, one after the other, in several processes or on several machines."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sage_fusion_ros.bags.fuse import Fused, fuse_bag
from sage_fusion_ros.bags.job import FuseJob
from sage_fusion_ros.bags.make import FORMATS
from sage_fusion_ros.bags.many import Result, fuse_in_processes
from sage_fusion_ros.bags.outputs import KINDS, OutputSettings
from sage_fusion_ros.bags.registration import RegistrationSettings
from sage_fusion_ros.bags.writer import STORAGES
from sage_fusion_ros.cli.node_parameters import read_parameters
from sage_fusion_ros.cli.progress import progress_bar
from sage_fusion_ros.errors import ParameterError, SageFusionError
from sage_fusion_ros.nodes.settings import (
    network_options,
    pairing_settings,
    perception_choice,
    pipeline_settings,
    thermal_settings,
)
from sage_fusion_ros.pipeline.compressed_codec import Packing

ALL_DONE, SOME_SKIPPED, SOME_FAILED = 0, 1, 2


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declares the arguments of `sage-fusion bag fuse`."""
    parser = subparsers.add_parser(
        "fuse",
        help="fuse whole bags offline",
        description="Fuses every pair of each bag with the node's own steps and parameters, and writes a bag with "
        "what the node would have published, and in it report.json. The same bag, model and settings give the same "
        "bytes. An interrupted run goes on with the same command. Exit code 0: every pair of every bag; 1: some pairs "
        "could not be read; 2: some bags could not be fused. Each is named.",
    )
    parser.add_argument("bags", nargs="+", type=Path, metavar="BAG", help="a rosbag2 folder, .mcap or .db3 file")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder for the fused bags, each under its bag's name"
    )
    node = parser.add_argument_group("as fusion_node")
    node.add_argument("--params-file", type=Path, metavar="YAML", help="a parameter file of fusion_node")
    node.add_argument(
        "--set", action="append", default=[], metavar="NAME:=VALUE", help="a parameter, such as fusion.model:=sage"
    )
    node.add_argument("--rgb-topic", default="", metavar="TOPIC", help="(default: found by itself)")
    node.add_argument("--thermal-topic", default="", metavar="TOPIC", help="(default: found by itself)")
    out = parser.add_argument_group("the fused bags")
    out.add_argument(
        "--outputs", nargs="+", choices=KINDS, default=[], help="(default: fused, mask and detections, as models give)"
    )
    out.add_argument(
        "--images", choices=FORMATS, default="raw", help="compressed: JPEG, the mask as PNG (default: %(default)s)"
    )
    out.add_argument("--node-name", default="/fusion_node", metavar="NAME", help="what ~ is (default: %(default)s)")
    out.add_argument("--storage", choices=STORAGES, default="mcap", help="(default: %(default)s)")
    out.add_argument(
        "--file-mb", type=float, default=256.0, metavar="MB", help="a file ends at this size (default: %(default)s)"
    )
    out.add_argument("--restart", action="store_true", help="throw away what interrupted runs left")
    many = parser.add_argument_group("many bags").add_mutually_exclusive_group()
    many.add_argument("--processes", type=int, default=1, metavar="N", help="bags at a time on this machine")
    many.add_argument(
        "--scheduler", metavar="ADDRESS", help="a Dask scheduler, such as tcp://host:8786 (needs the extra 'cluster')"
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Fuses the bags; returns the exit code."""
    jobs = make_jobs(args)
    print_result = _printer()
    if args.scheduler:
        from sage_fusion_ros.bags.cluster import fuse_on_cluster

        with progress_bar(desc="fuse", unit="bag", total=len(jobs)) as bar:
            results = fuse_on_cluster(jobs, args.scheduler, lambda _: bar.update(), restart=args.restart)
    elif args.processes > 1:
        with progress_bar(desc="fuse", unit="pair", total=0) as bar:
            results = fuse_in_processes(jobs, args.processes, _follow(bar), restart=args.restart)
    else:
        results = [_alone(job, args.restart) for job in jobs]
    for result in results:
        print_result(result)
    if any(result.error for result in results):
        return SOME_FAILED
    return SOME_SKIPPED if any(r.fused and r.fused.report["pairs"]["skipped"] for r in results) else ALL_DONE


def make_jobs(args: argparse.Namespace) -> list[FuseJob]:
    """One job for each bag.

    Raises:
        ParameterError: An argument or a parameter can't be used, or two bags have one name.
    """
    values = read_parameters(args.params_file, args.set)
    if args.processes < 1 or not args.file_mb > 0:
        raise ParameterError("--processes and --file-mb need numbers above 0")
    if args.processes > 1 and not values["engine.threads"]:
        values["engine.threads"] = max(1, (os.cpu_count() or 1) // args.processes)
    if not args.node_name.startswith("/") or args.node_name.endswith("/"):
        raise ParameterError(f"--node-name is '{args.node_name}'; expected a full name such as /fusion_node")
    outputs = OutputSettings(
        kinds=tuple(kind for kind in KINDS if kind in args.outputs),
        images=args.images,
        prefix=args.node_name,
        by_name=values["detection.class_id"] == "name",
        overlay_opacity=values["output.overlay_opacity"],
        score_threshold=values["detection.score_threshold"],
        packing=Packing(values["output.jpeg_quality"], values["output.png_level"]),
    )
    engine = network_options(values)
    engine = replace(engine, models_path=tuple(_absolute(folder, path=True) for folder in engine.models_path))
    topics = {camera: name for camera, name in (("rgb", args.rgb_topic), ("thermal", args.thermal_topic)) if name}
    # Workers on other machines have other working directories.
    for name in ("perception.model", "detection.model", "segmentation.model"):
        values[name] = _absolute(values[name])
    for name in ("detection.classes", "segmentation.classes"):
        values[name] = [_absolute(word) for word in values[name]]
    perception = perception_choice(values)
    registration = RegistrationSettings(
        method=values["registration.method"],
        file=_absolute(values["registration.file"], path=True),
        plane_distance_m=values["registration.plane_distance_m"],
        rectified=values["registration.rectified"],
        unready=values["registration.unready"],
    )
    jobs = [
        FuseJob(
            bag=Path(os.path.abspath(bag)),
            target=Path(os.path.abspath(args.output)) / _target_name(bag),
            fusion_model=_absolute(values["fusion.model"]),
            perception=perception,
            engine=engine,
            pairing=pairing_settings(values),
            thermal=thermal_settings(values),
            registration=registration,
            pipeline=pipeline_settings(values),
            outputs=outputs,
            topics=topics,
            storage=args.storage,
            file_bytes=round(args.file_mb * (1 << 20)),
        )
        for bag in args.bags
    ]
    _refuse_namesakes(jobs)
    return jobs


def _absolute(text: str, *, path: bool = False) -> str:
    """A path from the root; a name, which is no path, as it is. `path`: it can be nothing else."""
    expanded = os.path.expanduser(text)
    is_path = path or "/" in text or text.startswith(("~", ".")) or os.path.isfile(expanded)
    return os.path.abspath(expanded) if text and is_path else text


def _target_name(bag: Path) -> str:
    name = Path(os.path.abspath(bag)).name
    return Path(name).stem if Path(name).suffix in (".mcap", ".db3") else name


def _refuse_namesakes(jobs: Sequence[FuseJob]) -> None:
    seen: dict[Path, FuseJob] = {}
    for job in jobs:
        other = seen.setdefault(job.target, job)
        if other is not job:
            raise ParameterError(f"'{other.bag}' and '{job.bag}' would both become '{job.target}'; fuse one elsewhere")


def _alone(job: FuseJob, restart: bool) -> Result:
    """Fuses a bag in this process."""
    with progress_bar(desc=job.bag.name, unit="pair", total=0) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        try:
            return Result(job, fuse_bag(job, show, restart=restart))
        except SageFusionError as error:
            return Result(job, error=str(error))


def _follow(bar: Any) -> Callable[[FuseJob, int, int], None]:
    """One bar for all bags at work."""
    seen: dict[Path, tuple[int, int]] = {}

    def show(job: FuseJob, done: int, total: int) -> None:
        seen[job.target] = (done, total)
        bar.total = sum(total for _, total in seen.values())
        bar.update(sum(done for done, _ in seen.values()) - bar.n)

    return show


def _printer() -> Callable[[Result], None]:
    def show(result: Result) -> None:
        if result.fused is None:
            print(f"failed {result.job.bag}: {result.error}", file=sys.stderr)
            return
        _print_fused(result.job, result.fused)

    return show


def _print_fused(job: FuseJob, fused: Fused) -> None:
    pairs, frames = fused.report["pairs"], fused.report["frames"]
    before = " (fused before)" if fused.already else ""
    print(f"{job.target}: {pairs['fused']} of {pairs['found']} pairs fused{before}")
    for camera, count in frames.items():
        for reason, number in count["without a pair"].items():
            print(f"  {number} of {count['in']} {camera} images: {reason}")
    for item in fused.report["skipped"][:10]:
        print(f"  skipped pair {item['pair']}: {item['reason']}", file=sys.stderr)
    for item in fused.report["notes"]:
        print(f"  {item['topic']}: {item['reason']}", file=sys.stderr)
