"""sage-fusion models build: has TensorRT build the engines of models before a robot needs them."""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from sage_fusion_ros.cli.progress import SCREEN_S, progress_bar
from sage_fusion_ros.engines.engine_cache import cache_root
from sage_fusion_ros.engines.models import find_model
from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.pipeline.fuse import load_fuser
from sage_fusion_ros.pipeline.network import NetworkOptions
from sage_fusion_ros.pipeline.perceive import PerceptionChoice, load_perceiver

ACTION = "build"
LOOKING = ("perception", "detection", "segmentation")


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the arguments of `sage-fusion models build`."""
    parser = actions.add_parser(
        ACTION,
        help="build TensorRT engines beforehand (needs the extra 'gpu' and TensorRT)",
        description="Builds what engine.device tensorrt would build when the node is configured, which takes minutes, "
        "and exits. The engines are kept by the model's hash, the GPU, the size, the precision and the versions; what "
        "is there already is loaded once and left as it is.",
    )
    parser.add_argument("models", nargs="+", metavar="NAME", help="names or folders of models, for any task")
    parser.add_argument("--device", choices=("tensorrt",), default="tensorrt", help="what it is built for")
    parser.add_argument(
        "--size", nargs="+", default=["640x480"], metavar="WxH", help="of the RGB images (default: 640x480)"
    )
    parser.add_argument("--precision", choices=("fp32", "fp16", "bf16", "int8"), default="fp16", help="default: fp16")
    parser.add_argument("--models-path", nargs="+", default=[], metavar="DIR", help="searched before the package's own")


def run(args: argparse.Namespace) -> int:
    """Builds one after the other; 0 on success.

    Raises:
        ModelError: A model can't be had.
        EngineError: TensorRT can't.
        ParameterError: A size is none.
    """
    sizes = [_size(text) for text in args.size]
    tasks = {name: find_model(name, args.models_path, task=None).card.task for name in args.models}
    with progress_bar(total=len(tasks) * len(sizes), unit="engine") as bar:
        for name, task in tasks.items():
            for size in sizes:
                options = NetworkOptions(
                    device=args.device,
                    precision=args.precision,
                    models_path=tuple(args.models_path),
                    warm_up_size=size,
                )
                what = f"{name} {size[1]}x{size[0]} {args.precision}"
                bar.set_description(what)
                before = _engines()
                seconds = _watched(lambda name=name, task=task, options=options: _load(name, task, options), bar)
                how = "built" if _engines() - before else "was there, loaded"
                bar.write(f"{what}: {how} in {seconds:.1f} s")
                bar.update()
    print(f"the engines are in {cache_root()}")
    return 0


def _load(name: str, task: str, options: NetworkOptions) -> None:
    """Loads and warms a model as the node does, and frees it."""
    if task == "fusion":
        load_fuser(name, options).close()
        return
    if task not in LOOKING:
        raise ParameterError(f"model {name} is for the task '{task}', which the node does not run")
    choice = PerceptionChoice(**{"perception_model": "", f"{task}_model": name})
    perceiver = load_perceiver(choice, options)
    if perceiver is not None:
        perceiver.close()


def _watched(work: Callable[[], None], bar: tqdm) -> float:
    """Does the work on a thread, so that the bar's clock goes on; returns the seconds, and raises what it raises.

    TensorRT tells nothing while it builds. Its thread ends with the process, so Ctrl-C works at once.
    """
    raised: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    started = time.monotonic()
    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(SCREEN_S)
        bar.refresh()
    if raised:
        raise raised[0]
    return time.monotonic() - started


def _engines() -> set[Path]:
    return set(cache_root().rglob("*.engine"))


def _size(text: str) -> tuple[int, int]:
    """Height and width of "640x480"."""
    width, cross, height = text.partition("x")
    if not cross or not (width.isdecimal() and height.isdecimal()) or not (int(width) and int(height)):
        raise ParameterError(f"--size is '{text}'; expected WxH, such as 640x480")
    return int(height), int(width)
