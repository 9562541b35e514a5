"""ONNX Runtime engine: TensorRT, CUDA or CPU, and the proof of where the graph really ran."""

from __future__ import annotations

import json
import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from sage_fusion_ros.engines.base import Array, Engine, EngineInfo, Port
from sage_fusion_ros.engines.checks import output_order, run_warm_up
from sage_fusion_ros.engines.external_data import check_external_files
from sage_fusion_ros.engines.models import ModelFolder
from sage_fusion_ros.engines.onnx_binding import BoundSession
from sage_fusion_ros.engines.onnx_session import PROVIDERS, Sessions
from sage_fusion_ros.engines.options import EngineOptions
from sage_fusion_ros.errors import EngineError

# By device. TensorRT builds its engines in half precision by itself; the other two run the file as it is.
PRECISIONS = {"cpu": ("fp32", "int8"), "cuda": ("fp32", "int8"), "tensorrt": ("fp32", "fp16", "bf16", "int8")}
# Where the words of ONNX Runtime differ from numpy's.
NUMPY_NAMES = {"float": "float32", "double": "float64"}
# Shape arithmetic stays on the host by design even when every heavy node runs on the GPU.
HOST_OPS = {"Shape", "Gather", "Concat", "Unsqueeze", "Squeeze", "Slice", "Cast", "Constant", "Range", "Size", "Floor"}
HEAVY_OPS = ("Conv", "Gemm", "MatMul")  # parts of their names: FusedConv, QLinearConv
PRECISION_NAMES = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16", "uint8": "int8", "int8": "int8"}
SMALL_BYTES = 4096  # whatever a node does with so little is arithmetic on sizes, or as cheap

logger = logging.getLogger(__name__)


def _onnxruntime() -> Any:
    """Imports onnxruntime, refusing the two installations that look right and are not.

    Raises:
        EngineError: It is missing, or onnxruntime and onnxruntime-gpu are both installed (CUDA is then lost silently).
    """
    installed = {name: version for name in ("onnxruntime", "onnxruntime-gpu") if (version := _version(name))}
    if len(installed) == 2:
        raise EngineError(
            "onnxruntime and onnxruntime-gpu are both installed, which overwrite each other and lose CUDA: "
            "pip uninstall both, then install one of sage_fusion_ros[cpu] and sage_fusion_ros[gpu]"
        )
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError(
            f"onnxruntime can't be imported ({error}): pip install 'sage_fusion_ros[cpu]' or 'sage_fusion_ros[gpu]'"
        ) from error
    return onnxruntime


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


class OnnxEngine:
    """A network in ONNX Runtime, checked against its card where it has one, and warm.

    Attributes:
        info: Where it runs.
        inputs: What the file takes, in its order.
        outputs: What it gives, likewise.

    Args:
        model: A verified model folder, or an ONNX file that has no card.
        options: How to run it.
        warm_up: As load_engine's.

    Raises:
        ModelError: The file is no valid network, does not take and give what its card says, or fails in the warm-up.
        EngineError: The device can't be had, or nodes of the graph run elsewhere.
    """

    def __init__(
        self,
        model: ModelFolder | Path,
        options: EngineOptions,
        *,
        warm_up: Callable[[Engine], None],
    ) -> None:
        self._ort = _onnxruntime()
        self._path = model if isinstance(model, Path) else model.path
        self._card = None if isinstance(model, Path) else model.card
        self._warm_up = warm_up
        self._options = options
        self._session: Any = None
        self._sessions = Sessions(self._ort, self._path, options)
        self._ready: dict[tuple[Any, ...], Any] = {}  # by the outputs that are computed, and for TensorRT by sizes
        self._profiled: Any = None
        self._profile: Path | None = None
        self.inputs: tuple[Port, ...] = ()
        self.outputs: tuple[Port, ...] = ()
        self._output_names: tuple[str, ...] = ()
        wanted = options.device
        if wanted == "auto":
            wanted = "cuda" if PROVIDERS["cuda"] in self._ort.get_available_providers() else "cpu"
        try:
            self.info = self._start(wanted)
        except EngineError as error:
            self.close()
            if wanted == "cpu" or not (options.device == "auto" or options.allow_cpu):
                raise
            logger.warning("%s; the CPU is used", error)
            self.info = self._start("cpu", note=str(error))

    def run(self, feeds: dict[str, Array], outputs: Sequence[str] | None = None) -> list[Array]:
        """Runs the network once.

        Args:
            feeds: Arrays by input name, of the types and shapes that `inputs` says.
            outputs: Names of the outputs wanted; what only the others need is not computed. None: all of them.

        Returns:
            What was asked for, in that order; all of them in the card's order, or the file's where there is no card.
        """
        names = list(self._output_names if outputs is None else outputs)
        results: list[Array] = self._session_for(names, feeds).run(names, feeds)
        return results

    def close(self) -> None:
        """Frees the sessions."""
        self._session = None
        self._ready.clear()

    def _session_for(self, names: Sequence[str], feeds: dict[str, Array]) -> Any:
        """A session that computes only these outputs, for TensorRT of these sizes; made when it is asked for first."""
        part = tuple(sorted(set(names))) if len(set(names)) < len(self.outputs) else ()
        shapes = {name: tuple(array.shape) for name, array in feeds.items()} if self._device == "tensorrt" else {}
        key = (part, *shapes.items())
        if key not in self._ready:
            session = self._session
            if part or shapes:
                declared = {each.name: tuple(each.shape) for each in session.get_inputs()}
                profile, self._profile = (self._profile, None) if shapes else (None, self._profile)
                session = self._sessions.open(
                    self._device, outputs=part, declared=declared, shapes=shapes, profile=profile
                )
                self._profiled = self._profiled if profile is None else session
            bound = PROVIDERS["cuda"] in session.get_providers()
            self._ready[key] = BoundSession(self._ort, session) if bound else session
        return self._ready[key]

    def _start(self, device: str, note: str = "") -> EngineInfo:
        provider = PROVIDERS[device]
        available = self._ort.get_available_providers()
        if provider not in available:
            raise EngineError(
                f"engine.device is '{device}', but this onnxruntime {self._ort.__version__} has only "
                f"{', '.join(available)}: install sage_fusion_ros[gpu] in place of [cpu], or set engine.allow_cpu"
            )
        self._options.check_precision(device, PRECISIONS[device])
        if device != "cpu" and hasattr(self._ort, "preload_dlls"):
            self._ort.preload_dlls()
        self._ort.set_default_logger_severity(3)
        self._device = device
        self._ready.clear()
        check_external_files(self._path)
        with tempfile.TemporaryDirectory(prefix="sage_fusion_profile_") as folder:
            profile = Path(folder) / "placement"
            # What TensorRT builds depends on sizes, which the warm-up shows first; before, the file is only looked at.
            late = device == "tensorrt"
            self._session = self._sessions.open("cpu" if late else device, profile=None if late else profile)
            self._profiled, self._profile = (None, profile) if late else (self._session, None)
            self.inputs = tuple(map(_port, self._session.get_inputs()))
            self.outputs = tuple(map(_port, self._session.get_outputs()))
            self._output_names = output_order(self._path, self._card, self.inputs, self.outputs)
            run_warm_up(self, self._path, self._warm_up)
            operators = _executed_operators(Path(self._profiled.end_profiling())) if self._profiled else []
            self._profiled = self._profile = None
        placement = Counter(node.provider for node in operators)
        info = EngineInfo(
            library=f"onnxruntime {self._ort.__version__}",
            device=device,
            provider=placement.most_common(1)[0][0] if placement else provider,
            placement=dict(placement),
            note=note,
            precision=_heavy_precision(operators) or self._options.precision,
        )
        if device != "cpu":
            on_host = {n.operator for n in operators if n.provider == PROVIDERS["cpu"] and n.size > SMALL_BYTES}
            astray = sorted(on_host - HOST_OPS)
            if astray or placement[provider] == 0:
                raise EngineError(
                    f"engine.device is '{device}', but the graph ran as {dict(placement)}"
                    + (f", with {', '.join(astray)} on the CPU" if astray else "")
                    + ": check the driver and the CUDA libraries of onnxruntime-gpu, or set engine.allow_cpu"
                )
        # ONNX Runtime's threads go on taking notes for a session that was profiled, also after end_profiling(): 8 bytes
        # for each loop that they share, 12 kB a second in a busy node. So the sessions that serve are others.
        self._ready.clear()
        if not late:
            self._session = None  # first, so that the two are not held at once
            self._session = self._sessions.open(device)
        run_warm_up(self, self._path, self._warm_up)
        return info


def _port(declared: Any) -> Port:
    """A port from ONNX Runtime's "tensor(float)" and its shape of numbers, names and None."""
    word = str(declared.type).removeprefix("tensor(").removesuffix(")")
    shape = tuple(side if isinstance(side, int) else None for side in declared.shape)
    return Port(declared.name, NUMPY_NAMES.get(word, word), shape)


class _Node(NamedTuple):
    """A node as the profile tells of it: what it takes and gives in bytes, and the type of its first input."""

    operator: str
    provider: str
    size: int
    dtype: str


def _executed_operators(profile: Path) -> list[_Node]:
    """Every node in an ONNX Runtime profile, once."""
    nodes = {}
    for event in json.loads(profile.read_text(encoding="utf-8")):
        details = event.get("args", {})
        if event.get("cat") == "Node" and "provider" in details:
            size = sum(int(details.get(key, SMALL_BYTES + 1)) for key in ("activation_size", "output_size"))
            dtype = next((word for typed in details.get("input_type_shape", [])[:1] for word in typed), "")
            node = _Node(details.get("op_name", "?"), details["provider"], size, dtype)
            nodes[details.get("node_index", event["name"])] = node
    return list(nodes.values())


def _heavy_precision(nodes: list[_Node]) -> str:
    """What most convolutions and matrix products computed in; empty where there are none, as inside TensorRT."""
    heavy = Counter(PRECISION_NAMES.get(n.dtype, n.dtype) for n in nodes if any(w in n.operator for w in HEAVY_OPS))
    return heavy.most_common(1)[0][0] if heavy else ""
