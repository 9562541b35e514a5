"""Chooses the library that runs a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sage_fusion_ros.engines.base import Engine
from sage_fusion_ros.engines.models import ModelFolder, variant
from sage_fusion_ros.engines.onnx_engine import OnnxEngine
from sage_fusion_ros.engines.openvino_engine import OpenVinoEngine
from sage_fusion_ros.engines.options import EngineOptions
from sage_fusion_ros.errors import EngineError

if TYPE_CHECKING:
    from sage_fusion_ros.engines.torch_engine.engine import TorchEngine


def load_engine(model: ModelFolder | Path, options: EngineOptions, warm_up: Callable[[Engine], None]) -> Engine:
    """Loads a network, checks it against its card where it has one, and warms it.

    Args:
        model: A verified model folder, or an ONNX file that has no card; such a file runs as it is where int8 is asked
            for, since it alone knows whether it is of that kind.
        options: How to run it.
        warm_up: Called with the engine while the library records where each node runs. It runs what will be run
            later, best a few times, and raises ModelError where the outputs are not what they should be.

    Raises:
        ModelError: The file is no valid network, does not take and give what its card says, or fails in the warm-up;
            or the model has no file of the precision.
        EngineError: The library or the device can't be had, or nodes of the graph run elsewhere.
    """
    if options.precision == "int8" and not isinstance(model, Path):
        model = variant(model, "int8")
    if options.name == "openvino":
        return OpenVinoEngine(model, options, warm_up=warm_up)
    if options.name == "torch":
        return _torch_engine()(model, options, warm_up=warm_up)
    return OnnxEngine(model, options, warm_up=warm_up)


def _torch_engine() -> type[TorchEngine]:
    """Imports torch, which nothing else at run time needs.

    Raises:
        EngineError: It is not installed.
    """
    try:
        from sage_fusion_ros.engines.torch_engine.engine import TorchEngine
    except ImportError as error:
        raise EngineError(
            f"engine.name is 'torch', which can't be imported ({error}): pip install 'sage_fusion_ros[torch]'"
        ) from error
    return TorchEngine
