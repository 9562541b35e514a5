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

from sage_fusion_ros.pipeline.fuse import Fuser, load_fuser
from sage_fusion_ros.pipeline.fusion_pipeline import FusionPipeline
from sage_fusion_ros.pipeline.image_codec import as_rgb, as_thermal, decode, encode
from sage_fusion_ros.pipeline.thermal import ThermalNormaliser
from sage_fusion_ros.pipeline.types import Frame, FramePair

WARM_UP = 5


def time_network(fuser: Fuser, height: int, width: int, seconds: float) -> list[float]:
    """Durations in milliseconds of the network alone, on noise of the stated size, for about so many seconds."""
    rng = np.random.default_rng(0)
    feeds = {name: rng.random((1, 1, height, width), np.float32) for name in ("rgb_luma", "thermal")}
    return _repeat(lambda: fuser.engine.run(feeds), seconds)


def time_pairs(fuser: Fuser, height: int, width: int, seconds: float) -> list[float]:
    """Durations in milliseconds of what a node does to a pair, without ROS: decode, pipeline, encode."""
    rng = np.random.default_rng(0)
    rgb = encode(rng.integers(0, 256, (height, width, 3), np.uint8))
    thermal = encode(rng.integers(0, 256, (height, width), np.uint8))
    pipeline = FusionPipeline(fuser, ThermalNormaliser())

    def one_pair() -> Any:
        frames = (Frame(0, "", as_rgb(decode(rgb))), Frame(0, "", as_thermal(decode(thermal))))
        return encode(pipeline.process(FramePair(*frames)).fused)

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
    parser.add_argument("--what", choices=("network", "pairs"), default="network")
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--spinning", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=5.0)
    args = parser.parse_args(argv)
    width, height = (int(side) for side in args.size.split("x"))
    cv2.setNumThreads(1)
    fuser = load_fuser(
        args.model,
        device=args.device,
        threads=args.threads,
        spinning=args.spinning,
        warm_up_size=(height, width),
    )
    measure = {"network": time_network, "pairs": time_pairs}[args.what]
    durations = measure(fuser, height, width, args.seconds)
    p10, p50, p90 = np.percentile(durations, (10, 50, 90))
    result = SimpleNamespace(p10_ms=p10, p50_ms=p50, p90_ms=p90, rate_hz=1e3 / np.mean(durations), count=len(durations))
    print(json.dumps(vars(result) | {"provider": fuser.engine.info.provider}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
