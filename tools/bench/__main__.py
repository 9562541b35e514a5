"""Measures models, engines, precisions and image sizes, the node and the machine's own limits, in one report.

    python tools/bench --official checkpoints.pt

Writes bench.json and index.html, and prints the tables. Interrupted, it leaves the report of what it has; the same
command then goes on. Exit code 2 where it could not be made, 130 after an interruption.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matrix import GPU, MACHINE, PARTS, Block, Matrix
from page import report
from record import Record, read
from runner import Runner
from summary import fastest

from sage_fusion_ros.cli.processes import Signals
from sage_fusion_ros.cli.progress import progress_bar
from sage_fusion_ros.engines.card import read_card, sha256_of
from sage_fusion_ros.engines.models import find_model
from sage_fusion_ros.engines.options import DEVICES, ENGINES, PRECISIONS
from sage_fusion_ros.errors import ModelError, ParameterError, SageFusionError
from sage_fusion_ros.evaluation.machine import (
    graphics_processors,
    memory_mb,
    processor_name,
    processor_units,
    usable_cores,
    versions,
)

SIZES = ("640x480", "640x512", "1024x768", "1280x1024")
LIBRARIES = ("openvino", "torch", "onnx", "tensorrt")
NO_GPU = "no NVIDIA graphics processor is at hand (nvidia-smi names none)"


def main() -> int:
    """Runs it."""
    args = arguments().parse_args()
    try:
        if args.report:
            data = read(args.output)
            print(report(args.output, data))
            return 0
        return bench(args)
    except SageFusionError as error:
        print(f"the bench could not be made: {error}", file=sys.stderr)
        return 2


def arguments() -> argparse.ArgumentParser:
    """What it takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("bench_output"), help="folder for the report and the logs")
    parser.add_argument("--models", nargs="+", default=["sage", "sage_fast"], help="fusion models: names or folders")
    parser.add_argument("--perception", default="perception", help="perception model; '' for none")
    parser.add_argument("--official", type=Path, metavar="PATH", help="checkpoints.pt of SAGE's authors, or its folder")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    devices = [device for device in DEVICES if device != "auto"]
    parser.add_argument("--devices", nargs="+", choices=devices, help="default: the CPU, and a GPU where there is one")
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), metavar="WxH", help="the first one is the node's")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads inside an operator; 0: every core")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="all measurements alternate for so many rounds")
    parser.add_argument("--cameras", type=int, default=4, help="the most pairs of cameras at once")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts of the bench")
    parser.add_argument("--quick", action="store_true", help="one short round at the first size, to see that it works")
    parser.add_argument("--fresh", action="store_true", help="forget what the folder holds of an earlier bench")
    parser.add_argument("--report", action="store_true", help="measure nothing; write the report of what is there")
    return parser


def bench(args: argparse.Namespace) -> int:
    """Measures and reports."""
    graphics = graphics_processors()
    if args.quick:
        args.rounds, args.seconds, args.sizes, args.cameras = 1, 0.3, args.sizes[:1], 2
    matrix = matrix_of(args, bool(graphics))
    args.output.mkdir(parents=True, exist_ok=True)
    record = Record(args.output, state_of(args, matrix, graphics), args.fresh)
    record.data["matrix"] = asdict(matrix)
    record.data["complete"] = False
    record.data.pop("operations", None)
    if args.devices is None and not graphics:
        record.data["absent"]["cuda, tensorrt"] = NO_GPU
    record.save()
    with Signals() as signals:
        try:
            measure_all(args, matrix, record, signals)
            record.data["complete"] = True
        except KeyboardInterrupt:
            print("interrupted; the report holds what there is", file=sys.stderr)
    print("\n" + report(args.output, record.data))
    record.save()
    print(f"\n{args.output / 'index.html'} and {args.output / 'bench.json'}")
    return 0 if record.data["complete"] else 130


def measure_all(args: argparse.Namespace, matrix: Matrix, record: Record, signals: Signals) -> None:
    """Every block that is not finished, in its order; the networks choose how the pairs run after them.

    Raises:
        KeyboardInterrupt: A signal came.
    """
    probes, operations = made_probes(args.output / "probes", matrix, record)
    runner = Runner(args.seconds, args.output, signals, operations)
    rounds = range(1, matrix.rounds + 1)

    networks = [block for number in rounds for block in matrix.networks_first(number, probes)]
    with progress_bar(total=_cells(networks), desc="measured", unit="cell") as bar:
        for block in networks:
            measure_block(block, runner, record, signals, bar)
        configs = list(dict.fromkeys([matrix.usual, fastest(record.data, matrix)]))
        pairs = [block for number in rounds for block in matrix.pairs_after(number, configs)]
        bar.total += _cells(pairs)
        for block in pairs:
            measure_block(block, runner, record, signals, bar)


def _cells(blocks: list[Block]) -> int:
    return sum(len(block.cells) for block in blocks)


def measure_block(block: Block, runner: Runner, record: Record, signals: Signals, bar: Any) -> None:
    """The cells of a block, unless it is finished."""
    if record.finished(block):
        bar.update(len(block.cells))
        return
    record.begin(block)
    bar.set_description(f"round {block.round}, {block.name}")
    for cell in block.cells:
        if signals.received:
            raise KeyboardInterrupt
        if not record.absent(cell):
            record.add(block, cell, runner.run(cell))
        bar.update()
    record.end(block)


def made_probes(folder: Path, matrix: Matrix, record: Record) -> tuple[list[tuple[str, Path]], dict[str, float]]:
    """The networks that find out what the units can do, and their operations by file; none where onnx is missing."""
    if MACHINE not in matrix.parts:
        return [], {}
    try:
        from operations import count
        from probes import write_probes
    except ImportError as error:
        record.data["absent"]["what the engines reach at most"] = f"{error}; pip install 'sage_fusion_ros[train]'"
        return [], {}
    probes = write_probes(folder)
    return probes, {str(path): count(path, lambda _, declared: tuple(declared)).total for _, path in probes}


def matrix_of(args: argparse.Namespace, graphics: bool) -> Matrix:
    """What is asked for, checked.

    Raises:
        ParameterError: A number or a size is none.
        ModelError: A model is missing or for another task, or the checkpoint is not the official student's.
    """
    if min(args.rounds, args.cameras) < 1 or args.seconds <= 0 or args.threads < 0:
        raise ParameterError("--rounds, --cameras and --seconds need numbers above 0, --threads 0 or more")
    for size in args.sizes:
        sides = size.split("x")
        if len(sides) != 2 or not all(side.isdigit() and int(side) >= 32 for side in sides):
            raise ParameterError(f"--sizes has '{size}'; expected WIDTHxHEIGHT in pixels, each 32 or more")
    for model in args.models:
        find_model(model, task="fusion")
    if args.perception:
        find_model(args.perception, task="perception")
    official = official_folder(args.official, args.output / "official") if args.official else ""
    return Matrix(
        models=tuple(args.models),
        perception=args.perception,
        official=official,
        checkpoint=str(args.official) if args.official and args.official.is_file() else "",
        engines=tuple(args.engines),
        precisions=tuple(args.precisions),
        devices=tuple(args.devices or ("cpu", *(GPU if graphics else ()))),
        sizes=tuple(args.sizes),
        threads=args.threads or usable_cores(),
        cores=usable_cores(),
        rounds=args.rounds,
        cameras=args.cameras,
        parts=tuple(part for part in PARTS if part in args.only),
    )


def official_folder(given: Path, imported: Path) -> str:
    """The model folder of the official student; a checkpoint is imported, once.

    Raises:
        ModelError: It is no such checkpoint or folder.
        ParameterError: The extra that imports checkpoints is not installed.
    """
    if not given.is_file():
        find_model(given.resolve(), task="fusion")
        return str(given.resolve())
    try:
        if read_card(imported).training.get("checkpoint_sha256") == sha256_of(given):
            return str(imported.resolve())
    except ModelError:
        pass
    try:
        from sage_fusion_ros.training.import_sage import import_sage
    except ImportError as error:
        raise ParameterError(f"--official {given} needs {error.name}: pip install 'sage_fusion_ros[train]'") from error
    import_sage(given, imported)
    return str(imported.resolve())


def state_of(args: argparse.Namespace, matrix: Matrix, graphics: list[str]) -> dict[str, Any]:
    """What the figures hold for: where one of these differs, they can't stand beside each other."""
    weights = {}
    for name in matrix.networks:
        card = find_model(name, task=None).card
        weights[name] = card.sha256
        weights |= {f"{name}, {precision}": each.sha256 for precision, each in card.variants.items()}
    return {
        "machine": {
            "processor": processor_name(),
            "cores": matrix.cores,
            "units": processor_units(),
            "memory_mb": memory_mb(),
            "graphics": graphics,
        },
        "versions": versions(LIBRARIES),
        "weights": weights,
        "threads": matrix.threads,
        "seconds": args.seconds,
        "quick": args.quick,
    }


if __name__ == "__main__":
    sys.exit(main())
