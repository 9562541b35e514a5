"""A model called in a bare loop, with and without the image codec around it: what every node is measured against.

Run as a process of its own (`python -m sage_fusion_ros.evaluation.bare_loop`), because the idle threads of a second
inference session in the same process spin and spoil the time of the first.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import cv2
import numpy as np

from sage_fusion_ros.engines.base import Array, Engine, EngineInfo, Port
from sage_fusion_ros.engines.card import ModelCard
from sage_fusion_ros.engines.load import load_engine
from sage_fusion_ros.engines.models import find_model
from sage_fusion_ros.engines.options import EngineOptions
from sage_fusion_ros.errors import SageFusionError
from sage_fusion_ros.evaluation.machine import peak_memory_mb
from sage_fusion_ros.pipeline.fuse import Fuser, load_fuser
from sage_fusion_ros.pipeline.fusion_pipeline import FusionPipeline, Wants
from sage_fusion_ros.pipeline.image_codec import as_rgb, as_thermal, decode, encode
from sage_fusion_ros.pipeline.network import NetworkOptions, input_size
from sage_fusion_ros.pipeline.perceive import Perceiver, PerceptionChoice, load_perceiver
from sage_fusion_ros.pipeline.thermal import ThermalNormaliser
from sage_fusion_ros.pipeline.types import Frame, FramePair

WARM_UP = 5
BARRIER_POLL_S = 0.002

Work = Callable[[], Any]


def input_shape(declared: Sequence[int | None], card: ModelCard | None, size: tuple[int, int]) -> tuple[int, ...]:
    """Shape of a network's input at a camera's image size.

    Args:
        declared: Lengths by axis as the file says them; None where it leaves one open.
        card: The model's, if it has one: fusion models see the whole image, others what their card scales it to.
        size: Height and width of the camera's image.
    """
    if len(declared) != 4:
        return tuple(side or 1 for side in declared)
    if card and card.task != "fusion":
        sides = input_size(card.input_side, card.size_multiple, declared[2:], *size)
    else:
        multiple = card.size_multiple if card else 1
        sides = [given or -(-side // multiple) * multiple for given, side in zip(declared[2:], size, strict=True)]
    return (declared[0] or 1, declared[1] or 1, *sides)


def network_work(model: str, options: EngineOptions, size: tuple[int, int]) -> tuple[Work, EngineInfo]:
    """A call of a network alone, whatever its task.

    Args:
        model: Name or folder of a model, or an ONNX file.
        options: How to run it.
        size: Height and width of the camera's image; the network is shown what its card makes of that.

    Returns:
        The call, on noise, and where the network runs.
    """
    found = Path(model) if model.endswith(".onnx") else find_model(model, task=None)
    card = None if isinstance(found, Path) else found.card
    rng = np.random.default_rng(0)

    def feed(port: Port) -> Array:
        return rng.random(input_shape(port.shape, card, size), np.float32)

    def once(engine: Engine) -> None:
        engine.run({port.name: feed(port) for port in engine.inputs})

    engine = load_engine(found, options, once)
    feeds = {port.name: feed(port) for port in engine.inputs}
    return lambda: engine.run(feeds), engine.info


def pair_work(fuser: Fuser, perceiver: Perceiver | None, height: int, width: int) -> Work:
    """What a node does to a pair, without ROS: decode, pipeline, encode.

    With a perceiver that is all three outputs: fused image, mask and boxes.
    """
    rng = np.random.default_rng(0)
    rgb = encode(rng.integers(0, 256, (height, width, 3), np.uint8))
    thermal = encode(rng.integers(0, 256, (height, width), np.uint8))
    pipeline = FusionPipeline(fuser, ThermalNormaliser(), perceiver=perceiver)
    wants = Wants(mask=perceiver is not None, detections=perceiver is not None)

    def one_pair() -> Any:
        frames = (Frame(0, "", as_rgb(decode(rgb))), Frame(0, "", as_thermal(decode(thermal))))
        result = pipeline.process(FramePair(*frames), wants)
        return [encode(image) for image in (result.fused, result.mask) if image is not None]

    return one_pair


def repeat(work: Work, seconds: float, barrier: Path | None = None, log: TextIO | None = None) -> list[float]:
    """Durations in milliseconds of a call, again and again for so long.

    Args:
        work: The call.
        seconds: How long.
        barrier: A folder shared with others: each leaves a file "ready-<process>" there once it is warm, and all begin
            when a file "go" appears.
        log: Gets a line when a call has ended: time.time_ns().
    """
    for _ in range(WARM_UP):
        work()
    if barrier is not None:
        (barrier / f"ready-{os.getpid()}").touch()
        while not (barrier / "go").exists():
            time.sleep(BARRIER_POLL_S)
    durations: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not durations:
        start = time.perf_counter()
        work()
        durations.append((time.perf_counter() - start) * 1e3)
        if log is not None:
            print(time.time_ns(), file=log, flush=True)
    return durations


def figures(durations: list[float], workers: int = 1) -> dict[str, float]:
    """Milliseconds p10, p50 and p90, calls a second, their number, and the most memory the process had, in MB.

    Args:
        durations: In milliseconds.
        workers: Threads that called side by side.
    """
    p10, p50, p90 = np.percentile(durations, (10, 50, 90))
    return {
        "p10_ms": p10,
        "p50_ms": p50,
        "p90_ms": p90,
        "rate_hz": workers * 1e3 / float(np.mean(durations)),
        "count": len(durations),
        "memory_mb": peak_memory_mb(),
    }


def _measure(args: argparse.Namespace, log: TextIO | None) -> dict[str, Any]:
    width, height = (int(side) for side in args.size.split("x"))
    how: dict[str, Any] = {
        "name": args.engine,
        "device": args.device,
        "precision": args.precision,
        "threads": args.threads,
        "spinning": args.spinning,
    }
    if args.what == "network":
        work, info = network_work(args.model, EngineOptions(**how), (height, width))
    else:
        options = NetworkOptions(**how, warm_up_size=(height, width), workers=args.workers)
        fuser = load_fuser(args.model, options)
        perceiver = load_perceiver(PerceptionChoice(args.perception), options)
        work, info = pair_work(fuser, perceiver, height, width), fuser.engine.info
    work()
    first_ns = time.monotonic_ns()
    if args.workers > 1:
        shares = [(fuser.sharing(), perceiver and perceiver.sharing()) for _ in range(args.workers)]
        each = [pair_work(*share, height, width) for share in shares]
        with ThreadPoolExecutor(args.workers) as threads:
            found = threads.map(lambda work: repeat(work, args.seconds, log=log), each)
            result = figures([duration for durations in found for duration in durations], args.workers)
    else:
        result = figures(repeat(work, args.seconds, args.barrier, log))
    if args.since is not None:
        result["first_s"] = (first_ns - args.since) / 1e9
    return {**result, **asdict(info)}


def main(argv: list[str] | None = None) -> int:
    """Measures one model and prints one line of JSON: `figures`, and where it ran; or what refused it, and why."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="name or folder; of a network alone also an ONNX file")
    parser.add_argument("--perception", default="", help="pairs: a perception model that looks at the fused image")
    parser.add_argument("--what", choices=("network", "pairs"), default="network")
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1, help="pairs: as many side by side")
    parser.add_argument("--spinning", action="store_true")
    parser.add_argument("--engine", default="onnxruntime")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--barrier", type=Path, help="folder in which several of these wait for each other")
    parser.add_argument("--log", type=Path, help="file that gets the time at which each call ended, in nanoseconds")
    parser.add_argument("--since", type=int, help="when this process was started, by time.monotonic_ns()")
    args = parser.parse_args(argv)
    if args.workers < 1 or (args.workers > 1 and (args.what != "pairs" or args.barrier)):
        parser.error("--workers is 1 or more, and more than one is for --what pairs without --barrier")
    cv2.setNumThreads(1)
    try:
        with open(args.log, "w", encoding="ascii") if args.log else nullcontext() as log:
            result = _measure(args, log)
    except SageFusionError as error:
        print(json.dumps({"refused": type(error).__name__, "reason": str(error)}))
        return 2
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
