"""A network as OpenVINO has compiled it: inputs read where they lie, outputs written where they stay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sage_fusion_ros.engines.base import Array

_LONGEST_REASON = 500


class CompiledNetwork:
    """A network compiled for inputs of known shapes.

    Attributes:
        layers: Kind and precision, in OpenVINO's words, of every layer of the graph that runs.

    Args:
        ov: The library.
        compiled: The network.
        names: Of its outputs, in their order. Where several tensors became one, OpenVINO may call it by another's name.
    """

    def __init__(self, ov: Any, compiled: Any, names: Sequence[str]) -> None:
        self._ov = ov
        self._compiled = compiled
        self._request = compiled.create_infer_request()
        self._outputs = list(zip(names, compiled.outputs, strict=True))
        layers = compiled.get_runtime_model().get_ops()
        self.layers = [(_fact(layer, "layerType"), _fact(layer, "runtimePrecision")) for layer in layers]
        # Where an output is an input as it came, OpenVINO reads that input from the memory meant for the output.
        sources = [layer.input_value(0).node for layer in layers if _fact(layer, "layerType") == "Output"]
        given_back = any(_fact(source, "layerType") == "Input" for source in sources)
        self._in_place = [port.partial_shape.is_static and not given_back for port in compiled.outputs]

    def run(self, arrays: Sequence[Array]) -> dict[str, Array]:
        """Outputs by name, in memory of their own."""
        for i, array in enumerate(arrays):
            in_place = array.flags.c_contiguous and array.flags.writeable
            self._request.set_input_tensor(i, self._ov.Tensor(array, shared_memory=in_place))
        results: dict[str, Array] = {}
        for i, (name, port) in enumerate(self._outputs):
            if self._in_place[i]:
                results[name] = np.empty(tuple(port.shape), port.element_type.to_dtype())
                self._request.set_output_tensor(i, self._ov.Tensor(results[name], shared_memory=True))
        try:
            self._request.infer()
        except Exception as error:  # openvino's errors have no common public base
            raise RuntimeError(reason(error)) from error
        for i, (name, _) in enumerate(self._outputs):
            if not self._in_place[i]:  # for one, because its length depends on what is seen
                results[name] = self._request.get_output_tensor(i).data.copy()
        return results


def _fact(layer: Any, key: str) -> str:
    """What OpenVINO says of a layer of the graph that runs."""
    return str(layer.get_rt_info()[key].astype(str))


def reason(error: Exception) -> str:
    """What OpenVINO says went wrong, without where in its code it says so."""
    lines = [line.strip() for line in str(error).splitlines()]
    noise = ("Exception from ", "Check '", "FrontEnd API failed")
    said = [line for line in lines if line and not line.startswith(noise)]
    return " ".join(said or lines)[:_LONGEST_REASON]
