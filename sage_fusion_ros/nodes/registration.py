"""What a node knows of how its two cameras lie to each other: a file, CameraInfo and TF, as they come."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node

from sage_fusion_ros.errors import CalibrationError
from sage_fusion_ros.nodes import diagnostics
from sage_fusion_ros.nodes.camera_input import CameraInput
from sage_fusion_ros.nodes.extrinsics import TfExtrinsics
from sage_fusion_ros.pipeline.camera_info import camera_model, image_size
from sage_fusion_ros.pipeline.camera_model import CameraModel
from sage_fusion_ros.pipeline.pixel_maps import Extrinsics, PlaneMap
from sage_fusion_ros.pipeline.registration import Registrar
from sage_fusion_ros.sources.calibration_file import Calibration, read_calibration

PERIOD_S = 0.5  # how often CameraInfo and TF are looked at while method is calibrated


class Registration:
    """The registration of one pair of cameras, from configure to cleanup.

    Args:
        node: Whose TF it uses.
        values: Its parameters; {pair} in the file's name stands for the pair's.
        pair: The pair's name, or empty.
        log: Where it says what it waits for.

    Raises:
        CalibrationError: The file can't be used, or is not given though the method needs it.
    """

    def __init__(self, node: Node, values: Mapping[str, Any], pair: str, log: Any) -> None:
        self.method: str = values["registration.method"]
        self.file = str(values["registration.file"]).replace("{pair}", pair)
        self.registrar: Registrar | None = None
        self._node = node
        self._log = log
        self._rectified: str = values["registration.rectified"]
        self._distance_m = float(values["registration.plane_distance_m"])
        self._calibration = self._read()
        self._tf: TfExtrinsics | None = None
        self._from_tf: Extrinsics | None = None
        self._known: tuple[Any, ...] = ()
        self._told = ""
        if self.method != "none":
            pixel_map = self._calibration.homography
            self.registrar = Registrar(pixel_map, values["registration.unready"], "" if pixel_map else "not yet looked")

    def adjust(self, values: Mapping[str, Any]) -> None:
        """Takes over what may change while running."""
        self._distance_m = float(values["registration.plane_distance_m"])
        if self.registrar is not None:
            self.registrar.unready = values["registration.unready"]

    def refresh(self, cameras: Mapping[str, CameraInput]) -> None:
        """Looks whether CameraInfo or TF have something new; called again and again, by one thread at a time."""
        if self.method != "calibrated" or self.registrar is None:
            return
        try:
            rgb, turn_rgb = self._lens("rgb", self._calibration.rgb, cameras["rgb"])
            thermal, turn_thermal = self._lens("thermal", self._calibration.thermal, cameras["thermal"])
            stand = _rotated(self._extrinsics(cameras), turn_rgb, turn_thermal)
            known = (rgb, thermal, stand, self._distance_m)
            if known != self._known:
                self.registrar.use(PlaneMap(*known))
                self._known, self._told = known, ""
                self._log.info(f"registration: calibrated, the scene at {self._distance_m:g} m")
        except CalibrationError as error:
            self._known = ()
            self.registrar.use(None, str(error))
            if str(error) != self._told:
                self._told = str(error)
                self._log.warning(f"registration waits: {error}")

    def close(self) -> None:
        """Stops listening to TF."""
        if self._tf is not None:
            self._tf.close()
            self._tf = None

    def status(self, node_name: str) -> DiagnosticStatus:
        """What /diagnostics says of it."""
        registrar = self.registrar
        if registrar is None:
            text = "none: thermal is resized to the RGB image"
            return diagnostics.status(node_name, "registration", diagnostics.OK, text, {"method": self.method})
        values: dict[str, Any] = {"method": self.method, "file": self.file or "none"}
        if self.method == "calibrated":
            values["plane_distance_m"] = self._distance_m
        error = self._calibration.report.get("kept_out_median_px")
        if isinstance(error, float):
            values["kept_out_median_px"] = error
        if registrar.share is not None:
            values["thermal_covers"] = registrar.share
        if problem := registrar.problem:
            values["unready"] = registrar.unready
            return diagnostics.status(node_name, "registration", diagnostics.WARN, f"not registered: {problem}", values)
        return diagnostics.status(node_name, "registration", diagnostics.OK, self.method, values)

    def _read(self) -> Calibration:
        if self.method == "none" or (self.method == "calibrated" and not self.file):
            return Calibration()
        if not self.file:
            raise CalibrationError("registration.method is homography, which needs registration.file")
        calibration = read_calibration(Path(self.file))
        if calibration.method != self.method:
            raise CalibrationError(
                f"registration.method is {self.method}, and {self.file} holds the method {calibration.method}; they "
                "have to be the same"
            )
        return calibration

    def _lens(self, name: str, from_file: CameraModel | None, camera: CameraInput) -> tuple[CameraModel, Any]:
        if from_file is not None:
            return from_file, np.eye(3)
        info = camera.camera_info
        if info is None:
            reason = camera.health.info_error or "none has come yet"
            raise CalibrationError(f"no usable CameraInfo on {camera.info_topic}: {reason}")
        size = camera.health.size
        if all(size) and size != image_size(info):
            raise CalibrationError(
                f"CameraInfo on {camera.info_topic} is for {image_size(info)[0]}x{image_size(info)[1]}, and the images "
                f"are {size[0]}x{size[1]}: remap it to the CameraInfo of the same image"
            )
        try:
            return camera_model(info, self._rectified in (name, "both"))
        except CalibrationError as error:
            raise CalibrationError(f"CameraInfo on {camera.info_topic}: {error}") from error

    def _extrinsics(self, cameras: Mapping[str, CameraInput]) -> Extrinsics:
        if self._calibration.extrinsics is not None:
            return self._calibration.extrinsics
        if self._from_tf is None:
            self._tf = self._tf or TfExtrinsics(self._node)
            infos = {name: camera.camera_info for name, camera in cameras.items()}
            missing = next((cameras[name].info_topic for name, info in infos.items() if info is None), None)
            if missing:
                raise CalibrationError(f"no CameraInfo on {missing}, whose frame_id TF is to be asked for")
            self._from_tf = self._tf.look_up(*(infos[name].header.frame_id for name in ("rgb", "thermal")))
            self.close()
        return self._from_tf


def _rotated(stand: Extrinsics, turn_rgb: Any, turn_thermal: Any) -> Extrinsics:
    """The extrinsics between the images' own frames, which rectification may have turned."""
    rotation = turn_rgb @ np.array(stand.rotation).reshape(3, 3) @ turn_thermal.T
    x, y, z = (float(value) for value in turn_rgb @ np.array(stand.translation))
    return Extrinsics(tuple(float(value) for value in rotation.ravel()), (x, y, z))
