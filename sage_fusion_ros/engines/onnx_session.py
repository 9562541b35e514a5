"""How a session of ONNX Runtime is made: threads, providers, sizes that are fixed, and where built engines lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sage_fusion_ros.engines.card import sha256_of
from sage_fusion_ros.engines.engine_cache import EngineKey, gpu_identity, tensorrt_version
from sage_fusion_ros.engines.options import EngineOptions
from sage_fusion_ros.engines.partial_graph import only_outputs
from sage_fusion_ros.errors import EngineError, ModelError

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}

Shapes = dict[str, tuple[int, ...]]


class Sessions:
    """Makes sessions of one file.

    Args:
        ort: The module onnxruntime.
        path: The file.
        options: How it is run.
    """

    def __init__(self, ort: Any, path: Path, options: EngineOptions) -> None:
        self._ort = ort
        self._path = path
        self._options = options

    def open(
        self,
        device: str,
        *,
        outputs: tuple[str, ...] = (),
        declared: dict[str, tuple[Any, ...]] | None = None,
        shapes: Shapes | None = None,
        profile: Path | None = None,
    ) -> Any:
        """Makes one.

        Args:
            device: "cpu", "cuda" or "tensorrt".
            outputs: Cuts the graph down to these; none: the whole graph.
            declared: Shape of each input as the file has it, with a word for a length that it leaves open.
            shapes: Shape of each input from now on; what the file leaves open is fixed to it.
            profile: Begin of the file that takes down where each node runs, until end_profiling().

        Raises:
            ModelError: The file is no network.
            EngineError: The device failed to start.
        """
        options = self._ort.SessionOptions()
        options.intra_op_num_threads = self._options.threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if self._options.spinning else "0")
        options.log_severity_level = 3
        # Smaller and smaller pieces of work: where another process takes a core, the threads wait less for each other.
        options.add_session_config_entry("session.dynamic_block_base", "4")
        if profile is not None:
            # The profile of a warm-up is the only record of where each node ran.
            options.enable_profiling = True
            options.profile_file_prefix = str(profile)
        network: str | bytes = str(self._path)
        if outputs:
            network = only_outputs(self._path.read_bytes(), outputs)
            # Weights in a file of their own are looked for beside the network.
            options.add_session_config_entry(
                "session.model_external_initializers_file_folder_path", str(self._path.parent)
            )
        if shapes:
            # TensorRT builds an engine for sizes that are known; for open ones it would build anew as they widen.
            for word, length in fixed_lengths(declared or {}, shapes).items():
                options.add_free_dimension_override_by_name(word, length)
        providers: list[Any] = [PROVIDERS["cpu"]]
        if device == "cuda":
            providers.insert(0, PROVIDERS["cuda"])
        elif device == "tensorrt":
            providers[:0] = [(PROVIDERS["tensorrt"], self._tensorrt(outputs, shapes or {})), PROVIDERS["cuda"]]
        try:
            return self._ort.InferenceSession(network, options, providers=providers)
        except Exception as error:  # onnxruntime's errors have no common public base
            if device == "cpu":
                raise ModelError(f"model file {self._path} can't be loaded as a network: {error}") from error
            raise EngineError(f"engine.device is '{device}', which failed to start: {error}") from error

    def key(self, outputs: tuple[str, ...], shapes: Shapes) -> EngineKey:
        """What an engine that TensorRT builds of it depends on."""
        gpu, driver = gpu_identity()
        versions = {"onnxruntime": self._ort.__version__, "tensorrt": tensorrt_version(), "cuda_of_driver": driver}
        sha256 = sha256_of(self._path)
        return EngineKey(sha256, tuple(sorted(outputs)), gpu, shapes, self._options.precision, versions)

    def _tensorrt(self, outputs: tuple[str, ...], shapes: Shapes) -> dict[str, Any]:
        cache = str(self.key(outputs, shapes).folder())
        return {
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": cache,
            "trt_timing_cache_enable": True,
            "trt_timing_cache_path": cache,
            "trt_fp16_enable": self._options.precision == "fp16",
            "trt_bf16_enable": self._options.precision == "bf16",
            "trt_int8_enable": self._options.precision == "int8",
        }


def fixed_lengths(declared: dict[str, tuple[Any, ...]], shapes: Shapes) -> dict[str, int]:
    """The length that each word for an open one stands for.

    Args:
        declared: Shapes by input; open lengths are words, or None where the file has no word for them.
        shapes: What they are.
    """
    lengths: dict[str, int] = {}
    for name, shape in shapes.items():
        for word, length in zip(declared.get(name, ()), shape, strict=False):
            if isinstance(word, str):
                lengths[word] = length
    return lengths
