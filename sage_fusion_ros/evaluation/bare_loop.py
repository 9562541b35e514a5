"""A model called in a bare loop, with and without the image codec around it: what every node is measured against.

Run as a process of its own (`python -m sage_fusion_ros.evaluation.bare_loop`), because the idle threads of a second
inference session in the same process spin and spoil the time of the first.
"""

from __future__ import annotations

import argparse
import json
import time
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from sage_fusion_ros.engines.base import Engine
from sage_fusion_ros.engines.load import load_engine
from sage_fusion_ros.engines.models import find_model
from sage_fusion_ros.engines.options import EngineOptions
from sage_fusion_ros.pipeline.fuse import Fuser, load_fuser
from sage_fusion_ros.pipeline.fusion_pipeline import FusionPipeline, Wants
from sage_fusion_ros.pipeline.image_codec import as_rgb, as_thermal, decode, encode
from sage_fusion_ros.pipeline.network import NetworkOptions
from sage_fusion_ros.pipeline.perceive import Perceiver, PerceptionChoice, load_perceiver
from sage_fusion_ros.pipeline.thermal import ThermalNormaliser
from sage_fusion_ros.pipeline.types import Frame, FramePair

WARM_UP = 5


def time_network(
    model: str, device: str, threads: int, spinning: bool, size: tuple[int, int], seconds: float
) -> tuple[list[float], Engine]:
    """Durations in milliseconds of a network alone, whatever its task, on noise of the stated height and width."""
    rng = np.random.default_rng(0)

    def once(engine: Engine) -> None:
        engine.run({port.name: rng.random((1, port.shape[1] or 1, *size), np.float32) for port in engine.inputs})

    options = EngineOptions(device=device, threads=threads, spinning=spinning)
    engine = load_engine(find_model(model, task=None), options, once)
    feeds = {port.name: rng.random((1, port.shape[1] or 1, *size), np.float32) for port in engine.inputs}
    return _repeat(lambda: engine.run(feeds), seconds), engine


def time_pairs(fuser: Fuser, perceiver: Perceiver | None, height: int, width: int, seconds: float) -> list[float]:
    """Durations in milliseconds of what a node does to a pair, without ROS: decode, pipeline, encode.

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

    return _repeat(one_pair, seconds)


def _repeat(work: Any, seconds: float) -> list[float]:
    for _ in range(WARM_UP):
        work()
    durations = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        work()
        durations.append((time.perf_counter() - start) * 1e3)
    return durations


def main(argv: list[str] | None = None) -> int:
    """Measures one model and prints one line of JSON: milliseconds p10, p50 and p90, and calls a second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--perception", default="", help="pairs: a perception model that looks at the fused image")
    parser.add_argument("--what", choices=("network", "pairs"), default="network")
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--spinning", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=5.0)
    args = parser.parse_args(argv)
    width, height = (int(side) for side in args.size.split("x"))
    cv2.setNumThreads(1)
    if args.what == "network":
        durations, engine = time_network(
            args.model, args.device, args.threads, args.spinning, (height, width), args.seconds
        )
        provider = engine.info.provider
    else:
        options = NetworkOptions(
            device=args.device, threads=args.threads, spinning=args.spinning, warm_up_size=(height, width)
        )
        fuser = load_fuser(args.model, options)
        perceiver = load_perceiver(PerceptionChoice(args.perception), options)
        durations = time_pairs(fuser, perceiver, height, width, args.seconds)
        provider = fuser.engine.info.provider
    p10, p50, p90 = np.percentile(durations, (10, 50, 90))
    result = SimpleNamespace(p10_ms=p10, p50_ms=p50, p90_ms=p90, rate_hz=1e3 / np.mean(durations), count=len(durations))
    print(json.dumps(vars(result) | {"provider": provider}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
