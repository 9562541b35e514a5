"""How a bag's two cameras lie to each other: by a calibration file, and by the CameraInfo in the bag."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import CalibrationError
from sage_fusion_ros.pipeline.camera_info import camera_info_problem, camera_model
from sage_fusion_ros.pipeline.camera_model import CameraModel
from sage_fusion_ros.pipeline.pixel_maps import Extrinsics, PlaneMap
from sage_fusion_ros.pipeline.registration import Registrar
from sage_fusion_ros.sources.bag import BagSource
from sage_fusion_ros.sources.base import Camera
from sage_fusion_ros.sources.calibration_file import Calibration, read_calibration


@dataclass(frozen=True)
class RegistrationSettings:
    """As the node's parameters registration.*.

    Attributes:
        method: "none", "homography" or "calibrated".
        file: Calibration file.
        plane_distance_m: For "calibrated": distance at which the two images agree.
        rectified: Which camera's images are rectified already: "none", "rgb", "thermal" or "both".
        unready: What to do with a pair whose sizes the calibration does not fit, one of UNREADY.
    """

    method: str = "none"
    file: str = ""
    plane_distance_m: float = 20.0
    rectified: str = "none"
    unready: str = "rgb_only"


def make_registrar(settings: RegistrationSettings, source: BagSource) -> Registrar | None:
    """The registrar of a bag; None where thermal is only resized.

    The node may have to wait for a calibration; here it is known before the first pair, or the bag is not fused.

    Raises:
        CalibrationError: The file can't be used, or file and bag together do not say enough.
    """
    if settings.method == "none":
        return None
    calibration = _read(settings)
    if calibration.homography is not None:
        return Registrar(calibration.homography, settings.unready)
    rgb, turn_rgb = _lens("rgb", calibration.rgb, settings, source)
    thermal, turn_thermal = _lens("thermal", calibration.thermal, settings, source)
    if calibration.extrinsics is None:
        raise CalibrationError(
            "registration.method is calibrated: TF is not read from bags, so registration.file has to hold the "
            "extrinsics"
        )
    stand = _turned(calibration.extrinsics, turn_rgb, turn_thermal)
    return Registrar(PlaneMap(rgb, thermal, stand, settings.plane_distance_m), settings.unready)


def _read(settings: RegistrationSettings) -> Calibration:
    if not settings.file:
        raise CalibrationError(f"registration.method is {settings.method}, which needs registration.file for a bag")
    calibration = read_calibration(Path(settings.file))
    if calibration.method != settings.method:
        raise CalibrationError(
            f"registration.method is {settings.method}, and {settings.file} holds the method {calibration.method}; "
            "they have to be the same"
        )
    return calibration


def _lens(
    camera: Camera, from_file: CameraModel | None, settings: RegistrationSettings, source: BagSource
) -> tuple[CameraModel, npt.NDArray[np.float64]]:
    if from_file is not None:
        return from_file, np.eye(3)
    problem = "there is none"
    for _, info in source.camera_infos(camera):
        if problem := camera_info_problem(info):
            continue
        try:
            return camera_model(info, settings.rectified in (camera, "both"))
        except CalibrationError as error:
            problem = str(error)
    raise CalibrationError(
        f"'{source.name}' has no usable CameraInfo beside {source.topic(camera)}: {problem}; put the {camera} "
        "lens into registration.file"
    )


def _turned(stand: Extrinsics, turn_rgb: Any, turn_thermal: Any) -> Extrinsics:
    """The extrinsics between the images' own frames, which rectification may have turned."""
    rotation = turn_rgb @ np.array(stand.rotation).reshape(3, 3) @ turn_thermal.T
    x, y, z = (float(value) for value in turn_rgb @ np.array(stand.translation))
    return Extrinsics(tuple(float(value) for value in rotation.ravel()), (x, y, z))
