"""Which values each tensor takes on real images, and which of them 8 bits shall tell apart."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime.quantization.calibrate import CalibrationMethod, PercentileCalibrater, TensorData, create_calibrator

from sage_fusion_ros.engines.base import Array
from sage_fusion_ros.training.quantisation.graph import Graph

_BINS = 2048
_LEVELS = 255
_CANDIDATES = 60

Histogram = tuple[npt.NDArray[Any], npt.NDArray[Any]]
"""Counts, and the edges of their bins."""


class Ranges:
    """Histograms of every tensor of a graph, filled image by image.

    Args:
        graph: The network.
        scratch: A folder for files in between.
        threads: CPU threads; 0 takes every core.
    """

    def __init__(self, graph: Graph, scratch: Path, threads: int) -> None:
        self._graph = graph
        tapped = str(scratch / "tapped.onnx")
        self._calibrator: PercentileCalibrater = create_calibrator(
            graph.path,
            augmented_model_path=tapped,
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"symmetric": False, "num_bins": _BINS},
        )
        # Its own session would take every core.
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._calibrator.infer_session = onnxruntime.InferenceSession(
            tapped, options, providers=["CPUExecutionProvider"]
        )

    def add(self, feeds: Mapping[str, Array]) -> None:
        """Runs the network once and takes in what its tensors hold."""
        with contextlib.redirect_stdout(io.StringIO()):  # it speaks of its progress there
            self._calibrator.collect_data(_Once(dict(feeds)))

    def at(self, percentile: float, inputs: Mapping[str, tuple[float, float]]) -> Any:
        """The range of each tensor.

        Args:
            percentile: Share of the values inside, 50..100; what lies outside is cut, half of it on each side.
            inputs: Ranges of the network's inputs, which are known. Steps of the images' own 255 levels lose nothing.

        Returns:
            What the quantiser takes.
        """
        collector = self._calibrator.collector
        collector.percentile = percentile
        with contextlib.redirect_stdout(io.StringIO()):
            ranges = self._calibrator.compute_data()
        for name, slope in self._graph.leaky_inputs().items():
            if name in collector.histogram_dict:
                low, high = (float(bound) for bound in ranges[name].range_value)
                low = max(low, leaky_low(collector.histogram_dict[name][:2], slope, high))
                ranges.data[name] = _range(low, high)
        for name, (low, high) in self._graph.carried(inputs).items():
            ranges.data[name] = _range(low, high)
        return ranges


def leaky_low(histogram: Histogram, slope: float, high: float) -> float:
    """Where the range of a tensor that only a leaky ReLU reads had best begin.

    Half of such a tensor's range, or more, is negative, and next to nothing of that is left behind the ReLU. Steps
    that are spent on it are missing above zero.

    Args:
        histogram: Of the tensor.
        slope: Of the ReLU below zero.
        high: The range's end.

    Returns:
        At most 0: what makes the mean squared error behind the ReLU least.
    """
    counts, edges = histogram
    share = counts / max(1, counts.sum())
    values = (edges[1:] + edges[:-1]) / 2
    weight = np.where(values < 0, slope, 1.0)
    lows = np.linspace(0.0, min(0.0, float(edges[0])), _CANDIDATES)
    losses = []
    for low in lows:
        cut = slope * np.maximum(low - values, 0)
        rounding = (weight * (high - low) / _LEVELS) ** 2 / 12
        losses.append((share * (cut**2 + rounding)).sum())
    return float(lows[int(np.argmin(losses))])


def _range(low: float, high: float) -> TensorData:
    return TensorData(lowest=np.float32(low), highest=np.float32(high))


class _Once:
    """One set of inputs, in the form in which the calibrator asks for them."""

    def __init__(self, feeds: dict[str, Array]) -> None:
        self._feeds: dict[str, Array] | None = feeds

    def get_next(self) -> dict[str, Array] | None:
        """The inputs, then None."""
        feeds, self._feeds = self._feeds, None
        return feeds
