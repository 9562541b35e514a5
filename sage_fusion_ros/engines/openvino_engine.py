"""OpenVINO engine: a second library for the CPU, which compiles a network for the size of the images that come.

With the sizes known, OpenVINO picks kernels and lays out memory once. So every size has a network of its own, made when
it is seen first (the warm-up pays for that of the camera) and kept while no more than a few others were seen.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sage_fusion_ros.engines.base import Array, Engine, EngineInfo, Port
from sage_fusion_ros.engines.checks import output_order, run_warm_up
from sage_fusion_ros.engines.external_data import check_external_files
from sage_fusion_ros.engines.models import ModelFolder
from sage_fusion_ros.engines.openvino_network import CompiledNetwork, reason
from sage_fusion_ros.engines.options import EngineOptions
from sage_fusion_ros.engines.partial_graph import port_names
from sage_fusion_ros.errors import EngineError, ModelError

# Sizes whose networks are kept, a batch of another length being another size; each holds its own copy of the weights
# and of all that lies between the layers.
MAX_SIZES = 8
# What INFERENCE_PRECISION_HINT calls it, what the processor must be able to do for it, by our word.
HINTS = {"fp32": "f32", "fp16": "f16", "bf16": "bf16", "int8": "f32"}  # int8: what the file leaves unquantised
CAPABILITIES = {"fp32": "FP32", "fp16": "FP16", "bf16": "BF16", "int8": "INT8"}
PRECISION_NAMES = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "u8": "int8", "i8": "int8"}
HEAVY_LAYERS = ("Convolution", "GroupConvolution", "Deconvolution", "FullyConnected", "MatMul")
NO_WORK = ("Const", "Input", "Output")  # in the graph that runs, what only holds data

logger = logging.getLogger(__name__)

Shapes = tuple[tuple[int, ...], ...]


def _openvino() -> Any:
    """Imports openvino.

    Raises:
        EngineError: It is not installed.
    """
    try:
        import openvino
        import openvino.frontend
    except ImportError as error:
        raise EngineError(
            f"engine.name is 'openvino', which can't be imported ({error}): pip install 'sage_fusion_ros[openvino]'"
        ) from error
    return openvino


@functools.cache
def _core() -> Any:
    """The process's only Core, which stays to its end.

    OpenVINO's CPU plugin gives a thread that makes a Core a stack for signal handlers, and frees it with the Core. Let
    go of by another thread, as an old model is by the worker, it would leave the first thread with a stack that is not
    there: the next signal, such as Ctrl-C, then kills the process (seen with 2026.4).
    """
    return _openvino().Core()


class OpenVinoEngine:
    """A network in OpenVINO on the CPU, checked against its card where it has one, and warm.

    Calls from several threads wait for each other.

    Attributes:
        info: Where it runs, and in which precision.
        inputs: What the file takes, in its order.
        outputs: What it gives, likewise.

    Args:
        model: A verified model folder, or an ONNX file that has no card.
        options: How to run it; `spinning` has no meaning here.
        warm_up: As load_engine's.

    Raises:
        ModelError: The file is no valid network, does not take and give what its card says, or fails in the warm-up.
        EngineError: OpenVINO is not installed, or the device or the precision can't be had.
    """

    def __init__(
        self,
        model: ModelFolder | Path,
        options: EngineOptions,
        *,
        warm_up: Callable[[Engine], None],
    ) -> None:
        self._ov = _openvino()
        self._core = _core()
        self._path = model if isinstance(model, Path) else model.path
        self._options = options
        note = self._check_device()
        self._lock = threading.Lock()
        self._prepared: OrderedDict[Shapes, dict[frozenset[str], CompiledNetwork]] = OrderedDict()
        self._network = self._read()
        # Tensors that an Identity joins share all their names in OpenVINO, so the file is asked.
        takes, gives = port_names(self._path.read_bytes())
        self.inputs = tuple(_port(*each) for each in zip(takes, self._network.inputs, strict=True))
        self.outputs = tuple(_port(*each) for each in zip(gives, self._network.outputs, strict=True))
        card = None if isinstance(model, Path) else model.card
        self._output_names = output_order(self._path, card, self.inputs, self.outputs)
        self.info = EngineInfo(f"openvino {self._ov.__version__.split('-')[0]}", "cpu", "CPU", {}, note)
        run_warm_up(self, self._path, warm_up)
        self.info = self._describe(note)

    def run(self, feeds: dict[str, Array], outputs: Sequence[str] | None = None) -> list[Array]:
        """Runs the network once.

        The inputs are read where they lie. The outputs are written into new arrays, which are the caller's for good.

        Args:
            feeds: Arrays by input name, of the types and shapes that `inputs` says.
            outputs: Names of the outputs wanted; what only the others need is not computed. None: all of them.

        Returns:
            What was asked for, in that order; all of them in the card's order, or the file's where there is no card.

        Raises:
            ValueError: The feeds are not what the network takes, or it has no such output.
            RuntimeError: OpenVINO can't run the network on inputs of these shapes.
        """
        names = self._output_names if outputs is None else tuple(outputs)
        if unknown := sorted(set(names).difference(self._output_names)):
            raise ValueError(f"the network gives {', '.join(self._output_names)}; it has no {', '.join(unknown)}")
        arrays = self._in_order(feeds)
        with self._lock:
            prepared = self._prepare(tuple(array.shape for array in arrays), frozenset(names))
            results = prepared.run(arrays)
        return [results[name] for name in names]

    def close(self) -> None:
        """Frees the networks."""
        self._prepared.clear()
        self._network = None

    def _check_device(self) -> str:
        """Why the CPU is not what was asked for, or empty."""
        note = ""
        if self._options.device not in ("auto", "cpu"):
            note = f"engine.device is '{self._options.device}', but the engine openvino runs on the CPU"
            if not self._options.allow_cpu:
                raise EngineError(f"{note}: set engine.name to onnxruntime, or set engine.allow_cpu")
            logger.warning("%s; the CPU is used", note)
        capabilities = _capabilities(self._core)
        possible = tuple(name for name, word in CAPABILITIES.items() if word in capabilities)
        self._options.check_precision("cpu", possible)
        return note

    def _read(self) -> Any:
        check_external_files(self._path)
        try:
            # By its name: asked for any format, OpenVINO would try those of six other frameworks on a damaged file.
            frontend = self._ov.frontend.FrontEndManager().load_by_framework("onnx")
            return frontend.convert(frontend.load(str(self._path)))
        except Exception as error:  # openvino's errors have no common public base
            raise ModelError(f"model file {self._path} can't be loaded as a network: {reason(error)}") from error

    def _in_order(self, feeds: dict[str, Array]) -> list[Array]:
        """The feeds in the order of the inputs.

        OpenVINO would take another size for a fixed one and reshape the network, convert other types in silence, and
        reuse what an input that is not given was the last time.
        """
        arrays = [feeds[port.name] for port in self.inputs if port.name in feeds]
        if not len(feeds) == len(arrays) == len(self.inputs) or not all(map(_fits, self.inputs, arrays)):
            takes = ", ".join(map(str, self.inputs))
            given = ", ".join(str(Port(name, str(array.dtype), array.shape)) for name, array in feeds.items())
            raise ValueError(f"the network takes {takes}; it was given {given or 'nothing'}")
        return arrays

    def _prepare(self, shapes: Shapes, names: frozenset[str]) -> CompiledNetwork:
        """The network that takes these shapes and gives these outputs; made when it is asked for first."""
        known = self._prepared.get(shapes, {})
        if names not in known:
            known[names] = self._compile(shapes, names)
        self._prepared[shapes] = known
        self._prepared.move_to_end(shapes)
        while len(self._prepared) > MAX_SIZES:
            self._prepared.popitem(last=False)
        return known[names]

    def _compile(self, shapes: Shapes, names: frozenset[str]) -> CompiledNetwork:
        config = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": HINTS[self._options.precision],
            # Several nodes on one machine, one for each pair of cameras, would pin their threads to the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        if self._options.threads:
            config["INFERENCE_NUM_THREADS"] = self._options.threads
        try:
            network = self._network.clone()
            for port, output in zip(self.outputs, list(network.outputs), strict=True):
                if port.name not in names:
                    network.remove_result(output.node)
            network.reshape(dict(enumerate(shapes)))
            compiled = self._core.compile_model(network, "CPU", config)
            return CompiledNetwork(self._ov, compiled, [port.name for port in self.outputs if port.name in names])
        except Exception as error:  # openvino's errors have no common public base
            raise RuntimeError(reason(error)) from error

    def _describe(self, note: str) -> EngineInfo:
        """What the networks of the warm-up turned out to be."""
        networks = [network for parts in self._prepared.values() for network in parts.values()]
        layers = [(kind, PRECISION_NAMES.get(word, word)) for network in networks for kind, word in network.layers]
        placement = Counter(f"CPU {precision}" for kind, precision in layers if kind not in NO_WORK)
        heavy = Counter(precision for kind, precision in layers if kind in HEAVY_LAYERS)
        return EngineInfo(
            library=self.info.library,
            device="cpu",
            provider="CPU",
            placement=dict(placement),
            note=note,
            precision=heavy.most_common(1)[0][0] if heavy else self._options.precision,
        )


def _capabilities(core: Any) -> tuple[str, ...]:
    """What the processor can compute in, in OpenVINO's words."""
    return tuple(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def _port(name: str, declared: Any) -> Port:
    """A port from its name and OpenVINO's own."""
    try:
        dtype = str(declared.element_type.to_dtype())
    except Exception:  # a type that numpy has not
        dtype = declared.element_type.get_type_name()
    shape = declared.partial_shape
    sides = [] if shape.rank.is_dynamic else [side.get_length() if side.is_static else None for side in shape]
    return Port(name, dtype, tuple(sides))


def _fits(port: Port, array: Array) -> bool:
    """Whether an array is what a port takes."""
    sides_fit = len(array.shape) == len(port.shape) and all(
        wanted in (None, side) for wanted, side in zip(port.shape, array.shape, strict=True)
    )
    return sides_fit and str(array.dtype) == port.dtype
