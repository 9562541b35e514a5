"""What the torch engine reaches on a GPU, and whether it sees there what ONNX Runtime sees on the CPU.

Usage: python tools/gpu_bench.py [--plan]. It begins with the checks: figures of a wrong result are worth nothing.
`make bench` compares engines with each other; this looks into one: the GPU alone, with upload and download, and with
two pairs under way at a time.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from sage_fusion_ros.cli.progress import progress_bar
from sage_fusion_ros.engines.engine_cache import gpu_identity
from sage_fusion_ros.engines.torch_engine.engine import TorchEngine
from sage_fusion_ros.engines.torch_engine.pair import TorchPair
from sage_fusion_ros.engines.torch_engine.program import exact_convolutions
from sage_fusion_ros.pipeline.fuse import load_fuser
from sage_fusion_ros.pipeline.fusion_pipeline import FusionPipeline, Wants
from sage_fusion_ros.pipeline.network import NetworkOptions
from sage_fusion_ros.pipeline.perceive import PerceptionChoice, load_perceiver
from sage_fusion_ros.pipeline.thermal import ThermalNormaliser
from sage_fusion_ros.pipeline.types import Frame, FramePair, FusionResult
from sage_fusion_ros.sources.open import open_source

ALL = Wants(mask=True, detections=True)
OUTPUTS = {"fused alone": Wants(), "all three": ALL}
HALVES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
LOOSE = {"fp32": (1, 1e-3, 0.5), "fp16": (3, 5e-3, 2.0), "bf16": (8, 5e-2, 4.0)}
"""What may differ from fp32 on the CPU: levels of the fused image, share of the mask, pixels of a box."""
GOALS = {("sage_fast", "fused alone"): 2000.0, ("sage_fast", "all three"): 800.0}
"""Pairs a second at 640x480, batch 1, upload and download included."""
FLOOR_GOAL = ("sage", 0.6)
PLAN = """1. the machine: matrix products in each precision, copies on the GPU, upload and download of pinned memory
2. the results, in each precision, held against ONNX Runtime in fp32 on the CPU: fused image, mask, boxes
3. each network on the GPU alone, launched step by step and as a recorded graph, and its floor (multiplications and
   additions, or bytes of its input, output and weights, over what the machine reaches)
4. pairs a second, upload and download included: one after the other, and two under way at a time
It is done when {goals}, at 640x480 and batch 1."""


def main(argv: list[str] | None = None) -> int:
    """Checks and measures; 0 when all results are right, 1 when one is not, 2 where there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", action="store_true", help="say what will be measured, and end")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: to try the script itself")
    parser.add_argument("--models", nargs="+", default=["sage_fast", "sage"], help="fusion models")
    parser.add_argument("--perception", default="perception", help="the model that looks at the fused image")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "fp16", "bf16"], choices=tuple(HALVES))
    parser.add_argument("--size", default="640x480", metavar="WxH")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="all of them alternate for so many rounds")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write all figures as JSON")
    args = parser.parse_args(argv)
    goals = [f"{model} gives {goal:.0f} pairs a second with {outputs}" for (model, outputs), goal in GOALS.items()]
    print(PLAN.format(goals=", ".join([*goals, f"the floor of {FLOOR_GOAL[0]} is {FLOOR_GOAL[1]} of its time"])))
    if args.plan:
        return 0
    if args.device == "cuda" and not torch.cuda.is_available():
        print(f"no GPU: torch {torch.__version__} finds none, so nothing was measured", file=sys.stderr)
        return 2
    width, height = (int(side) for side in args.size.split("x"))
    pairs = street(width, height)
    report: dict[str, Any] = {"machine": machine(args), "results": {}, "networks": {}, "pairs": {}}
    ways = {(m, p): load(args, m, p, (height, width)) for m in args.models for p in args.precisions}
    report["results"] = {
        f"{model} {precision}": compare(way, reference, pairs, precision)
        for model in args.models
        for reference in [load(args, model, "fp32", (height, width), "onnxruntime", "cpu")]
        for precision, way in ((p, ways[model, p]) for p in args.precisions)
    }
    measure(args, ways, pairs, report)
    show(report)
    if args.output:
        args.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0 if all(each["right"] for each in report["results"].values()) else 1


def load(
    args: argparse.Namespace, model: str, precision: str, size: tuple[int, int], name: str = "torch", device: str = ""
) -> FusionPipeline:
    """A whole pipeline."""
    options = NetworkOptions(name=name, device=device or args.device, precision=precision, warm_up_size=size)
    perceiver = load_perceiver(PerceptionChoice(args.perception), options)
    return FusionPipeline(load_fuser(model, options), ThermalNormaliser(), perceiver=perceiver)


def street(width: int, height: int) -> list[FramePair]:
    """Some pairs of the synthetic street."""
    source = open_source("synthetic", size=(width, height))
    pairs = []
    for index in (40, 90, 140, 190):
        found = source.read(index)
        thermal = np.clip((found.thermal.astype(np.float32) - 26315) / 6000 * 255, 0, 255).astype(np.uint8)
        pairs.append(FramePair(Frame(0, "", found.rgb), Frame(0, "", thermal)))
    source.close()
    return pairs


def compare(ours: FusionPipeline, theirs: FusionPipeline, pairs: list[FramePair], precision: str) -> dict[str, Any]:
    """How far two pipelines' results are apart, at most."""
    levels, masks, boxes, missing = 0, 0.0, 0.0, 0
    for pair in pairs:
        found, wanted = ours.process(pair, ALL), theirs.process(pair, ALL)
        levels = max(levels, int(np.abs(found.fused.astype(int) - wanted.fused).max()))
        masks = max(masks, float((found.mask != wanted.mask).mean()))
        apart, alone = boxes_apart(found, wanted)
        boxes, missing = max(boxes, apart), missing + alone
    most = LOOSE[precision]
    right = levels <= most[0] and masks <= most[1] and boxes <= most[2] and (missing == 0 or precision != "fp32")
    return {"levels": levels, "mask_share": masks, "box_pixels": boxes, "boxes_alone": missing, "right": right}


def boxes_apart(found: FusionResult, wanted: FusionResult) -> tuple[float, int]:
    """Greatest distance of a corner to that of the box most like it, and how many boxes have none within 10 pixels."""
    assert found.detections is not None
    assert wanted.detections is not None
    ours, theirs = found.detections.xyxy, wanted.detections.xyxy
    if not len(ours) or not len(theirs):
        return 0.0, len(ours) + len(theirs)
    far = np.abs(ours[:, None] - theirs[None]).max(axis=2)
    near = [each for each in (*far.min(axis=0), *far.min(axis=1)) if each <= 10]
    return float(max(near, default=0.0)), len(ours) + len(theirs) - len(near)


def machine(args: argparse.Namespace) -> dict[str, Any]:
    """What the GPU reaches: operations a second by precision, and bytes a second on it, to it and from it."""
    device = torch.device(args.device)
    side, block = (8192, 1 << 30) if device.type == "cuda" else (256, 1 << 20)
    found: dict[str, Any] = {"gpu": gpu_identity()[0], "torch": torch.__version__, "cuda": torch.version.cuda}
    for name in args.precisions:
        a = torch.randn(side, side, device=device).to(HALVES[name])
        found[name] = 2 * side**3 / device_seconds(lambda a=a: a @ a, device)
    there = torch.empty(block, dtype=torch.uint8, device=device)
    here = torch.empty(block, dtype=torch.uint8, pin_memory=device.type == "cuda")
    found["memory"] = 2 * block / device_seconds(lambda: there.clone(), device)
    found["upload"] = block / device_seconds(lambda: there.copy_(here, non_blocking=True), device)
    found["download"] = block / device_seconds(lambda: here.copy_(there, non_blocking=True), device)
    return found


def device_seconds(work: Callable[[], Any], device: torch.device, count: int = 20) -> float:
    """Seconds of a call on the device, the mean of several after some that do not count."""
    if device.type == "cpu":
        work()
        start = time.perf_counter()
        work()
        return time.perf_counter() - start
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for i in range(count + 5):
        if i == 5:
            first.record()
        work()
    last.record()
    torch.cuda.synchronize()
    return first.elapsed_time(last) / 1e3 / count


def network_seconds(engine: TorchEngine, shape: tuple[int, ...]) -> dict[str, float]:
    """Of a network on the device alone, arrays there already: launched step by step, and as a recorded graph."""
    images = [torch.rand(shape, device=engine.device) for _ in engine.inputs]
    work = engine.stage([port.name for port in engine.outputs], images)
    with torch.inference_mode(), exact_convolutions():
        found = {"steps": device_seconds(lambda: work(*images), engine.device)}
        if engine.device.type == "cuda":
            recording = torch.cuda.CUDAGraph()
            with torch.cuda.graph(recording):
                work(*images)
            found["recorded"] = device_seconds(recording.replay, engine.device)
    return found


def measure(
    args: argparse.Namespace,
    ways: dict[tuple[str, str], FusionPipeline],
    pairs: list[FramePair],
    report: dict[str, Any],
) -> None:
    """Networks alone, then pairs a second, all ways in turn in each round."""
    sys.path.insert(0, str(Path(__file__).parent / "bench"))
    from floors import count_model

    for (model, precision), way in ways.items():
        card, engine = way.fuser.card, way.fuser.engine
        shape = (1, 1, *(-(-side // card.size_multiple) * card.size_multiple for side in pairs[0].thermal.image.shape))
        counted = count_model(way.fuser.engine.path, card, args.size)
        moved = counted.input_output_bytes + sum(counted.weights.values()) * HALVES[precision].itemsize
        peaks = report["machine"]
        floor = max(sum(counted.by_unit.values()) / peaks[precision], moved / peaks["memory"])
        seconds = network_seconds(engine, shape)
        report["networks"][f"{model} {precision}"] = seconds | {"floor": floor, "share": floor / min(seconds.values())}
    kinds = [(*key, outputs, turns) for key in ways for outputs in OUTPUTS for turns in (1, 2)]
    with progress_bar(total=args.rounds * len(kinds), unit="measurement") as bar:
        for _ in range(args.rounds):
            for model, precision, outputs, turns in kinds:
                bar.set_description(f"{model} {precision}, {outputs}")
                rate = pairs_a_second(ways[model, precision], pairs, OUTPUTS[outputs], turns, args.seconds)
                key = f"{model} {precision}, {outputs}, {'two at a time' if turns == 2 else 'one by one'}"
                report["pairs"].setdefault(key, []).append(rate)
                bar.update()


def pairs_a_second(way: FusionPipeline, pairs: list[FramePair], wants: Wants, turns: int, seconds: float) -> float:
    """Pairs a second from arrays to arrays; with two turns the next pair is on its way before one is waited for."""
    perceiver = way.perceiver
    network = perceiver.alone if perceiver else None
    looking = None
    if network is not None:
        looking = network.looking(*pairs[0].thermal.image.shape, mask=wants.mask, detections=wants.detections)
    engine = network.network.engine if network is not None else None
    joined = [TorchPair(way.fuser.engine, engine, way.fuser.card.size_multiple) for _ in range(turns)]
    waiting: list[Callable[[], Any]] = []
    done = started = 0
    begin = 0.0
    while not begin or time.perf_counter() - begin < seconds or not done:
        if started == 4 * turns and not begin:  # everything is recorded and warm
            begin, done = time.perf_counter(), 0
        pair = pairs[started % len(pairs)]
        waiting.append(
            joined[started % turns].start(pair.rgb.image, pair.thermal.image, looking=looking)  # type: ignore[arg-type]
        )
        started += 1
        if len(waiting) == turns:
            waiting.pop(0)()
            done += 1
    rate = done / (time.perf_counter() - begin)
    for wait in waiting:
        wait()
    return rate


def show(report: dict[str, Any]) -> None:
    """Everything as text, and how much of the goals was reached."""
    for part in ("machine", "results", "networks"):
        print(f"\n{part}")
        for name, value in report[part].items():
            print(f"  {name:18} {words(value)}")
    print("\npairs a second")
    for name, rates in report["pairs"].items():
        print(f"  {name:48} {median(rates):8.1f} ({min(rates):.1f} to {max(rates):.1f})")
    for (model, outputs), goal in GOALS.items():
        rates = [median(v) for k, v in report["pairs"].items() if k.startswith(f"{model} ") and outputs in k]
        if rates:
            print(f"{model}, {outputs}: {max(rates):.0f} of {goal:.0f} pairs a second")
    shares = [v["share"] for k, v in report["networks"].items() if k.startswith(f"{FLOOR_GOAL[0]} ")]
    if shares:
        print(f"{FLOOR_GOAL[0]}: its floor is {max(shares):.2f} of its time; {FLOOR_GOAL[1]} was asked for")


def words(value: Any) -> str:
    """A value, or several with their names."""
    if isinstance(value, dict):
        return "  ".join(f"{name} {words(each)}" for name, each in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    raise SystemExit(main())
