"""What memory and a processor's unit can do without any engine; a process of its own that prints one line of JSON.

The CPU's memory by copies in several threads at once, its floating-point unit by numpy's matrix product; a graphics
processor's by torch, with nothing moved from or to it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

COPY_BYTES = 256 << 20
ORDER = {"cpu": 2048, "cuda": 8192}


def main() -> int:
    """Measures one thing: {"bytes_s": ...} or {"operations_s": ...}, or what refused it and why."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("copy", "blas"))
    parser.add_argument("--device", choices=tuple(ORDER), default="cpu")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0)
    args = parser.parse_args()
    try:
        measure = {("copy", "cpu"): _copy, ("blas", "cpu"): _blas, ("copy", "cuda"): _gpu, ("blas", "cuda"): _gpu}
        print(json.dumps(measure[args.what, args.device](args)))
    except (ImportError, RuntimeError, AttributeError) as error:
        print(json.dumps({"refused": type(error).__name__, "reason": str(error).splitlines()[0]}))
        return 2
    return 0


def _copy(args: argparse.Namespace) -> dict[str, float]:
    """Bytes read and written, each thread its own part."""
    import numpy as np

    parts = [np.ones(COPY_BYTES // 8 // args.threads) for _ in range(args.threads)]
    others = [np.empty_like(part) for part in parts]
    with ThreadPoolExecutor(args.threads) as pool:
        best = _fastest(lambda: list(pool.map(np.copyto, others, parts)), args.seconds)
    return {"bytes_s": 2 * sum(part.nbytes for part in parts) / best}


def _blas(args: argparse.Namespace) -> dict[str, float]:
    """The matrix product of numpy; its threads are set from outside, by the environment."""
    import numpy as np

    order = ORDER["cpu"]
    first, second = np.ones((2, order, order), np.float32)
    out = np.empty_like(first)
    return {"operations_s": 2 * order**3 / _fastest(lambda: np.matmul(first, second, out=out), args.seconds)}


def _gpu(args: argparse.Namespace) -> dict[str, float]:
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError(f"torch {torch.__version__} finds no graphics processor")
    order = ORDER["cuda"]
    if args.what == "copy":
        source = torch.ones(COPY_BYTES, dtype=torch.float32, device="cuda")
        target = torch.empty_like(source)
        best = _fastest(lambda: target.copy_(source), args.seconds, torch.cuda.synchronize)
        return {"bytes_s": 2 * source.nbytes / best}
    kinds = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "int8": torch.int8}
    torch.set_float32_matmul_precision("high")  # TF32, which the engines take for fp32 too
    first = torch.ones((order, order), dtype=kinds[args.precision], device="cuda")
    product: Callable[..., Any] = torch._int_mm if args.precision == "int8" else torch.matmul
    best = _fastest(lambda: product(first, first.t()), args.seconds, torch.cuda.synchronize)
    return {"operations_s": 2 * order**3 / best}


def _fastest(work: Callable[[], object], seconds: float, settle: Callable[[], object] = lambda: None) -> float:
    """The shortest time of a call in seconds; `settle` waits until it is really done."""
    work()
    settle()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end or best == float("inf"):
        start = time.perf_counter()
        work()
        settle()
        best = min(best, time.perf_counter() - start)
    return best


if __name__ == "__main__":
    raise SystemExit(main())
