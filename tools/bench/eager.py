"""The official student in torch, as its authors run it: eager, as published, batch norms and all.

A process of its own that prints one line of JSON, as the bare loop does.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from sage_fusion_ros.errors import SageFusionError
from sage_fusion_ros.evaluation.bare_loop import figures, repeat


def main() -> int:
    """Measures, or says what refused and why."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--since", type=int, help="when this process was started, by time.monotonic_ns()")
    args = parser.parse_args()
    try:
        import torch

        from sage_fusion_ros.networks.sage import load_published_student

        network = load_published_student(args.checkpoint)
    except (ImportError, SageFusionError) as error:
        print(json.dumps({"refused": type(error).__name__, "reason": str(error)}))
        return 2
    torch.set_num_threads(args.threads)
    width, height = (int(side) for side in args.size.split("x"))
    luma, thermal = torch.rand((2, 1, 1, height, width), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        network(luma, thermal)
        first_ns = time.monotonic_ns()
        result = figures(repeat(lambda: network(luma, thermal), args.seconds))
    if args.since is not None:
        result["first_s"] = (first_ns - args.since) / 1e9
    print(json.dumps({**result, "library": f"torch {torch.__version__}", "device": "cpu", "precision": "fp32"}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
