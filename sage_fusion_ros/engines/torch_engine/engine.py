"""The torch engine: an ONNX network on the CPU or on a GPU, in full or half precision."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sage_fusion_ros.engines.base import Array, Engine, EngineInfo, Port
from sage_fusion_ros.engines.checks import output_order, run_warm_up
from sage_fusion_ros.engines.device_pair import DevicePair
from sage_fusion_ros.engines.external_data import check_external_files
from sage_fusion_ros.engines.models import ModelFolder
from sage_fusion_ros.engines.options import EngineOptions
from sage_fusion_ros.engines.torch_engine.graph import OnnxGraph
from sage_fusion_ros.engines.torch_engine.program import Program, Tensors, cpu_threads, make_program
from sage_fusion_ros.engines.torch_engine.sized import SizedGraph
from sage_fusion_ros.errors import EngineError, ModelError

# By device. fp16 has no use on CPUs, which have it in few products; int8 files have operators of their own.
PRECISIONS = {"cpu": ("fp32", "bf16"), "cuda": ("fp32", "fp16", "bf16")}
HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}
_KEPT = 8  # programs, one for each size and choice of outputs; a camera has one size, and a test a few

logger = logging.getLogger(__name__)


class TorchEngine:
    """A network in torch, checked against its card where it has one, and warm.

    Attributes:
        info: Where it runs.
        inputs: What the file takes, in its order.
        outputs: What it gives, likewise.
        path: The file.
        device: Where its weights are.
        threads: Inside an operator, on the CPU.

    Args:
        model: A verified model folder, or an ONNX file that has no card.
        options: How to run it.
        warm_up: As load_engine's.

    Raises:
        ModelError: The file is no valid network, needs an operator that is not known here, does not take and give
            what its card says, or fails in the warm-up.
        EngineError: The device or the precision can't be had.
    """

    def __init__(self, model: ModelFolder | Path, options: EngineOptions, *, warm_up: Callable[[Engine], None]) -> None:
        self.path = model if isinstance(model, Path) else model.path
        self._programs: OrderedDict[object, Program] = OrderedDict()
        self._graph: OnnxGraph | None = None
        self._joined: tuple[Engine | None, DevicePair] | None = None
        self.threads = options.threads
        self.device, note = _device(options)
        options.check_precision(self.device.type, PRECISIONS[self.device.type])
        self._half = HALVES.get(options.precision)
        check_external_files(self.path)
        names = [port.name for port in OnnxGraph(self.path, ()).gives]
        graph = OnnxGraph(self.path, names).eval().requires_grad_(False)
        self.inputs, self.outputs = graph.inputs, graph.gives
        card = None if isinstance(model, Path) else model.card
        self._order = output_order(self.path, card, self.inputs, self.outputs)
        try:
            self._graph = graph.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        except RuntimeError as error:  # out of memory
            raise EngineError(f"model file {self.path} finds no place on {self.device}: {error}") from error
        provider = _provider(self.device, options.precision)
        library = f"torch {torch.__version__}"
        self.info = EngineInfo(library, self.device.type, provider, {provider: 0}, note, options.precision)
        try:
            run_warm_up(self, self.path, warm_up)
        except Exception:
            self.close()
            raise

    def run(self, feeds: dict[str, Array], outputs: Sequence[str] | None = None) -> list[Array]:
        """Runs the network once.

        Args:
            feeds: Arrays by input name, of the types and shapes that `inputs` says.
            outputs: Names of the outputs wanted; what only the others need is not computed. None: all of them.

        Returns:
            What was asked for, in that order; all of them in the card's order, or the file's where there is no card.
            No later call writes over it.

        Raises:
            ModelError: The network does not take such arrays.
        """
        names = tuple(self._order if outputs is None else outputs)
        arrays = [self._checked(port, feeds) for port in self.inputs]
        key = (names, *((each.shape, each.dtype) for each in arrays))
        program = self._programs.get(key)
        if program is None:
            program = self._programs[key] = self._make(names, arrays)
            if len(self._programs) > _KEPT:
                self._programs.popitem(last=False)
        self._programs.move_to_end(key)
        return program.start(arrays).result()

    def stage(self, names: Sequence[str], images: Sequence[Tensor]) -> Callable[..., Tensors]:
        """The network as a function of tensors on its device, for others to build on.

        Args:
            names: Of the outputs wanted.
            images: Such as it will be shown, in the order of `inputs`.

        Returns:
            Takes tensors of these sizes, gives the outputs in the types that the file declares.

        Raises:
            ModelError: It has no such output, or takes no images of these sizes.
        """
        assert self._graph is not None
        declared = {port.name: port.dtype for port in self.outputs}
        if unknown := sorted(set(names) - declared.keys()):
            raise ModelError(f"the network gives {', '.join(declared)}; it has no output {', '.join(unknown)}")
        with torch.inference_mode(), cpu_threads(self.threads):
            sized = SizedGraph(self._graph, names, [_spread(image) for image in images], self._half)
        self.info.placement[self.info.provider] = max(sized.steps, self.info.placement[self.info.provider])
        types = [torch.from_numpy(np.empty(0, declared[name])).dtype for name in sized.outputs]

        def work(*given: Tensor) -> Tensors:
            results = sized(*(_spread(image) for image in given))
            return tuple(result.to(dtype) for result, dtype in zip(results, types, strict=True))

        return work

    def joined(self, perception: Engine | None, size_multiple: int) -> DevicePair | None:
        """See device_pair.join."""
        from sage_fusion_ros.engines.torch_engine.pair import TorchPair  # which is built on this module

        if perception is not None and not (isinstance(perception, TorchEngine) and perception.device == self.device):
            return None
        if self._joined is None or self._joined[0] is not perception:
            self._joined = (perception, TorchPair(self, perception, size_multiple))
        return self._joined[1]

    def close(self) -> None:
        """Frees the network and its device memory."""
        self._programs.clear()
        self._graph = None
        self._joined = None

    def _make(self, names: tuple[str, ...], arrays: list[Array]) -> Program:
        work = self.stage(names, [torch.from_numpy(each.copy()).to(self.device) for each in arrays])
        return make_program([lambda given, _: work(*given)], arrays, self.device, self.threads)

    def _checked(self, port: Port, feeds: dict[str, Array]) -> Array:
        """The array for an input, if it is one that the file declares."""
        array = feeds.get(port.name)
        if array is not None and array.dtype == port.dtype and _fits(array.shape, port.shape):
            return array
        found = "nothing" if array is None else f"{array.dtype} {'x'.join(map(str, array.shape))}"
        raise ModelError(f"model file {self.path} takes {port}; it was given {found}")


def _fits(shape: tuple[int, ...], declared: tuple[int | None, ...]) -> bool:
    return len(shape) == len(declared) and all(
        side in (None, given) for side, given in zip(declared, shape, strict=True)
    )


def _spread(image: Tensor) -> Tensor:
    """With the channels of a pixel side by side, as the convolutions of GPUs and newer CPUs want them."""
    return image.contiguous(memory_format=torch.channels_last) if image.ndim == 4 else image


def _device(options: EngineOptions) -> tuple[torch.device, str]:
    """Where to run, and why it differs from what was asked for.

    Raises:
        EngineError: It can't be had.
    """
    cpu = torch.device("cpu")
    if options.device == "cpu" or (options.device == "auto" and not torch.cuda.is_available()):
        return cpu, ""
    if options.device == "tensorrt":
        problem = "engine.device is 'tensorrt', which torch has not: set it to cuda, or engine.name to onnxruntime"
    elif reason := _cuda_problem():
        problem = (
            f"engine.device is '{options.device}', but torch {torch.__version__} {reason}: check the driver, install "
            "a build of torch for CUDA, or set engine.allow_cpu"
        )
    else:
        return torch.device("cuda", torch.cuda.current_device()), ""
    if not (options.allow_cpu or options.device == "auto"):
        raise EngineError(problem)
    logger.warning("%s; the CPU is used", problem)
    return cpu, problem


def _cuda_problem() -> str:
    """Why CUDA can't be used, or empty; a GPU that torch sees may be too old or too new for its build."""
    if not torch.cuda.is_available():
        return "finds no GPU"
    try:
        torch.ones(2, device="cuda").sum().item()
    except RuntimeError as error:
        return f"can't compute on the GPU ({error})"
    return ""


def _provider(device: torch.device, precision: str) -> str:
    if device.type == "cpu":
        return f"torch, CPU, {precision}"
    return f"torch, {torch.cuda.get_device_name(device)}, {precision}, CUDA graphs"
