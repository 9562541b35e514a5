"""ONNX Runtime with inputs and outputs bound to memory of the device.

Without it every call allocates device memory for its inputs and leaves to the library when to copy. Here an input has
its place on the device for as long as its size stays, is written there, and outputs are fetched after the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sage_fusion_ros.engines.base import Array

MEMORY = "cuda"  # ONNX Runtime's word, for TensorRT too


class BoundSession:
    """A session behind the same call as its own `run`. One thread at a time.

    Args:
        ort: The module onnxruntime.
        session: The session, on a GPU.
    """

    def __init__(self, ort: Any, session: Any) -> None:
        self._ort = ort
        self._session = session
        self._place = (MEMORY, 0)
        self._binding = session.io_binding()
        self._inputs: dict[str, Any] = {}

    def run(self, names: Sequence[str], feeds: dict[str, Array]) -> list[Array]:
        """Uploads, runs and downloads.

        Args:
            names: Of the outputs wanted.
            feeds: Arrays by input name.

        Returns:
            The outputs, in that order, in memory of their own.
        """
        for name, array in feeds.items():
            array = np.ascontiguousarray(array)
            place = self._inputs.get(name)
            if place is None or tuple(place.shape()) != array.shape:
                place = self._ort.OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype, *self._place)
                self._inputs[name] = place
                self._binding.bind_ortvalue_input(name, place)
            place.update_inplace(array)
        self._binding.clear_binding_outputs()
        for name in names:
            # The size of an output may depend on what is seen, so its memory is taken anew, from the library's arena.
            self._binding.bind_output(name, *self._place)
        self._session.run_with_iobinding(self._binding)
        outputs: list[Array] = self._binding.copy_outputs_to_cpu()
        return outputs
