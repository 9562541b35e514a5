"""Everything of one pair of cameras: what is read, what is published, and the thread between. Models are shared."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node

from sage_fusion_ros.nodes import diagnostics
from sage_fusion_ros.nodes.autoware_outputs import AutowareMaps
from sage_fusion_ros.nodes.camera_input import CameraInputs
from sage_fusion_ros.nodes.degraded_parameters import degraded_settings
from sage_fusion_ros.nodes.models import Models
from sage_fusion_ros.nodes.outputs import Outputs
from sage_fusion_ros.nodes.qos import profile
from sage_fusion_ros.nodes.registration import Registration
from sage_fusion_ros.nodes.settings import pairing_settings, pipeline_settings, thermal_settings
from sage_fusion_ros.nodes.stock_pairing import StockPairing
from sage_fusion_ros.nodes.watch import Watch
from sage_fusion_ros.pipeline.fusion_pipeline import FusionPipeline
from sage_fusion_ros.pipeline.pairing import CAMERAS, Pairing
from sage_fusion_ros.pipeline.thermal import ThermalNormaliser
from sage_fusion_ros.pipeline.worker import FusionWorker

SILENCE_S = 5.0  # so long after activation a camera that has never sent is told in the log


class PairServer:
    """Serves one pair from configure to cleanup. Calls of its methods must not overlap, those of `statuses` may.

    Attributes:
        name: The pair's name, under which its topics lie; empty for the only pair of a node.
        size: Height and width of the last pair fused; None before the first, and while nothing is read.

    Args:
        node: The node whose topics, log and clock these are.
        name: See above.
        values: The node's parameters.

    Raises:
        CalibrationError: The pair's calibration can't be used.
        ParameterError: The pairing's method is not installed.
    """

    def __init__(self, node: Node, name: str, values: Mapping[str, Any]) -> None:
        self.name = name
        self._node = node
        self._root = f"~/{name}" if name else "~"
        self._label = f"{node.get_name()}: {name}" if name else node.get_name()
        self._log = node.get_logger().get_child(name) if name else node.get_logger()
        make_pairing(values)  # fails here, and not in start
        self._registration = Registration(node, values, name, self._log)
        self._normaliser = ThermalNormaliser(thermal_settings(values))
        self._models: Models | None = None
        self._pipelines: list[FusionPipeline] = []
        self._outputs: Outputs | None = None
        self._worker: FusionWorker | None = None
        self._watch: Watch | None = None
        self._inputs: CameraInputs | None = None
        self._active_since = 0.0

    @property
    def size(self) -> tuple[int, int] | None:
        """See the class: not what a message claims, but what could be fused."""
        worker = self._worker
        return None if worker is None else worker.size

    def advertise(self, messages: dict[str, ModuleType], maps: AutowareMaps | None, values: Mapping[str, Any]) -> None:
        """Makes the publishers.

        Args:
            messages: The optional message modules that are installed, by package.
            maps: What our classes are to Autoware; None where its messages are not installed.
            values: The node's parameters.
        """
        qos = profile(values["qos.output.reliability"], values["qos.output.depth"])
        self._outputs = Outputs(self._node, qos, messages, maps, self._root)

    def serve(self, models: Models, values: Mapping[str, Any]) -> None:
        """Takes over models and parameters; the worker uses them from its next pair on.

        Old models are freed when it lets go of them, which may be in the middle of a pair.
        """
        assert self._outputs is not None
        self._outputs.configure(models.classes, dict(values))
        self._normaliser.settings = thermal_settings(values)
        self._registration.adjust(values)
        if models is not self._models:
            self._models = models
            self._pipelines = [self._pipeline(models) for _ in range(values["rate.workers"])]
        for name, value in pipeline_settings(values).items():
            for pipeline in self._pipelines:  # made anew, they would join their models on their device anew
                setattr(pipeline, name, value)
        if (worker := self._worker) is not None:
            worker.pipelines = tuple(self._pipelines)
            with worker.lock:
                worker.pairing.settings = pairing_settings(values)
                worker.adjust(degraded_settings(values))
                worker.limiter.max_hz = values["rate.max_hz"]

    def _pipeline(self, models: Models) -> FusionPipeline:
        """One worker's."""
        fuser, perceiver = models.sharing()
        registrar = self._registration.registrar
        return FusionPipeline(fuser, self._normaliser, registrar=registrar, perceiver=perceiver)

    def start(self, values: Mapping[str, Any]) -> None:
        """Starts the worker and subscribes.

        Raises:
            ParameterError: An override is no QoS.
        """
        self._worker = FusionWorker(
            make_pairing(values),
            self._pipelines,
            self._outputs,
            values["rate.max_hz"],
            degraded_settings(values),
        )
        self._watch = Watch(self._node, self._worker, self._label, self._log)
        self._worker.start()
        qos = profile(values["qos.input.reliability"], values["qos.input.depth"])
        transports = {camera: values[f"image_transport.{camera}"] for camera in CAMERAS}
        self._inputs = CameraInputs(self._node, transports, qos, self._watch.offer, self.name)
        self._outputs.inputs = self._inputs.cameras
        self._active_since = time.monotonic()
        self._log.info(f"active: fusing {' with '.join(self.topics())}")

    def topics(self) -> list[str]:
        """Full names of the image topics that are read."""
        return [] if self._inputs is None else [camera.topic for camera in self._inputs.cameras.values()]

    def refresh_registration(self) -> None:
        """Looks whether CameraInfo or TF have something new."""
        if (inputs := self._inputs) is not None:
            self._registration.refresh(inputs.cameras)

    def stop(self) -> None:
        """Ends the subscriptions and the worker; may be called twice."""
        if self._inputs is not None:
            self._inputs.close()
            self._inputs = None
        if self._worker is not None:
            self._worker.stop()
            self._worker = self._watch = None

    def close(self) -> None:
        """Stops, and frees the publishers."""
        self.stop()
        if self._outputs is not None:
            self._outputs.close()
            self._outputs = None
        self._registration.close()

    def statuses(self, values: Mapping[str, Any]) -> list[DiagnosticStatus]:
        """What /diagnostics says of the pair; what its cameras and subscribers suffer from is logged once."""
        inputs, worker, outputs, watch = self._inputs, self._worker, self._outputs, self._watch
        statuses = []
        active_s = time.monotonic() - self._active_since
        if inputs is not None and outputs is not None:
            for camera in inputs.cameras.values():
                camera.tell_connection(active_s < SILENCE_S)
            for mismatches in outputs.mismatches:
                mismatches.tell()
        if inputs is not None:
            stale_ms = values["diagnostics.stale_ms"]
            statuses += [diagnostics.input_status(self._label, each, stale_ms) for each in inputs.cameras.values()]
        if worker is not None and outputs is not None:
            statuses.append(diagnostics.pairing_status(self._label, worker, active_s))
            statuses.append(diagnostics.timing_status(self._label, worker, outputs.latency_ms))
            statuses.append(diagnostics.outputs_status(self._label, outputs))
        if watch is not None and inputs is not None:
            statuses += watch.statuses(values, inputs.cameras)
        return [*statuses, self._registration.status(self._label)]


def make_pairing(values: Mapping[str, Any]) -> Pairing | StockPairing:
    """The pairing that the parameters name.

    Raises:
        ParameterError: It is not installed.
    """
    method = {"nearest": Pairing, "message_filters": StockPairing}[values["pairing.method"]]
    return method(pairing_settings(values))
