"""Calibration files: how the two cameras lie to each other, as YAML with a format name and a version."""

from __future__ import annotations

import contextlib
import os
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sage_fusion_ros import safe_yaml
from sage_fusion_ros.errors import CalibrationError
from sage_fusion_ros.pipeline.camera_model import CameraModel
from sage_fusion_ros.pipeline.pixel_maps import Extrinsics, HomographyMap, Size

FORMAT, VERSION = "sage_fusion_calibration", 1
MAX_BYTES = 1 << 18
_FIELDS = {
    "homography": ({"rgb_size", "thermal_size", "homography"}, {"report"}),
    "calibrated": (set(), {"rgb", "thermal", "extrinsics", "report"}),
}
_CAMERA = ({"width", "height", "k"}, {"distortion_model", "d"})


@dataclass(frozen=True)
class Calibration:
    """What a file says. A homography, or as much of lenses and extrinsics as it holds.

    Attributes:
        homography: Of a file with `method: homography`.
        rgb: The RGB camera's lens, of a file with `method: calibrated`; None: CameraInfo has it.
        thermal: Likewise.
        extrinsics: None: TF has them.
        report: How it was made and how good it is (free form).
    """

    homography: HomographyMap | None = None
    rgb: CameraModel | None = None
    thermal: CameraModel | None = None
    extrinsics: Extrinsics | None = None
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def method(self) -> str:
        """Which of the two it is, "homography" or "calibrated"."""
        return "homography" if self.homography is not None else "calibrated"


def read_calibration(path: Path) -> Calibration:
    """Reads and checks a calibration file.

    Args:
        path: The file; a relative path counts from the working directory, a leading ~ is the home folder.

    Raises:
        CalibrationError: It is missing, too large, no YAML, of another format or a newer version, or has missing,
            unknown or wrong fields. The message names the file and the field.
    """
    path = Path(path).expanduser().absolute()
    try:
        raw = safe_yaml.read_bytes(path, MAX_BYTES)
    except yaml.YAMLError as error:
        raise CalibrationError(f"calibration file {path}: {error}; it is something else") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CalibrationError(
            f"calibration file {path} can't be read ({reason}); give an absolute path, or one from the working "
            "directory; sage-fusion calibrate writes such files"
        ) from error
    try:
        return parse_calibration(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise CalibrationError(f"calibration file {path} is no text: {error}") from error
    except CalibrationError as error:
        raise CalibrationError(f"calibration file {path}: {error}") from error


def parse_calibration(text: str) -> Calibration:
    """Checks the text of a calibration file.

    Raises:
        CalibrationError: See read_calibration.
    """
    try:
        data = safe_yaml.parse(text)
    except yaml.YAMLError as error:
        raise CalibrationError(f"not valid YAML: {str(error)[:300]}") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise CalibrationError(f"it does not begin with 'format: {FORMAT}'")
    version = data.get("version")
    if type(version) is not int or version < 1:
        raise CalibrationError(f"version is {reprlib.repr(version)}; expected a whole number from 1")
    if version > VERSION:
        raise CalibrationError(f"version {version} was written by a newer sage_fusion_ros; this one reads {VERSION}")
    method = data.get("method")
    if not isinstance(method, str) or method not in _FIELDS:
        raise CalibrationError(f"method is {reprlib.repr(method)}; expected {' or '.join(_FIELDS)}")
    rest = {key: value for key, value in data.items() if key not in ("format", "version", "method")}
    _check_keys(rest, *_FIELDS[method], "the file")
    report = rest.get("report", {})
    if not isinstance(report, dict):
        raise CalibrationError(f"report is {reprlib.repr(report)}; expected a mapping")
    if method == "homography":
        rows = rest["homography"]
        if not isinstance(rows, list) or len(rows) != 3:
            raise CalibrationError(f"homography is {reprlib.repr(rows)}; expected three rows of three numbers")
        matrix = tuple(number for row in rows for number in _numbers(row, "a row of homography", 3))
        sizes = (_size(rest["rgb_size"], "rgb_size"), _size(rest["thermal_size"], "thermal_size"))
        return Calibration(homography=HomographyMap(matrix, *sizes), report=report)
    return Calibration(
        rgb=_camera(rest["rgb"], "rgb") if "rgb" in rest else None,
        thermal=_camera(rest["thermal"], "thermal") if "thermal" in rest else None,
        extrinsics=_extrinsics(rest["extrinsics"]) if "extrinsics" in rest else None,
        report=report,
    )


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Writes a calibration file under a temporary name and renames it; the inverse of read_calibration.

    Raises:
        CalibrationError: The file can't be written; what was there before is as it was.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_text(calibration_text(calibration), encoding="utf-8")
            partial.replace(path)
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
    except OSError as error:
        raise CalibrationError(f"{path} can't be written: {error.strerror or error}") from error


def calibration_text(calibration: Calibration) -> str:
    """The text of a calibration file; parse_calibration gives the same calibration back, bit for bit."""
    data: dict[str, Any] = {"format": FORMAT, "version": VERSION, "method": calibration.method}
    if (homography := calibration.homography) is not None:
        rows = [list(homography.matrix[start : start + 3]) for start in (0, 3, 6)]
        data |= {"rgb_size": list(homography.rgb_size), "thermal_size": list(homography.thermal_size)}
        data["homography"] = rows
    for name, camera in (("rgb", calibration.rgb), ("thermal", calibration.thermal)):
        if camera is not None:
            data[name] = {
                "width": camera.width,
                "height": camera.height,
                "k": list(camera.matrix),
                "distortion_model": camera.distortion_model,
                "d": list(camera.distortion),
            }
    if (extrinsics := calibration.extrinsics) is not None:
        data["extrinsics"] = {
            "rotation": [list(extrinsics.rotation[start : start + 3]) for start in (0, 3, 6)],
            "translation": list(extrinsics.translation),
        }
    if calibration.report:
        data["report"] = calibration.report
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)


def _check_keys(data: Mapping[Any, Any], needed: set[str], optional: set[str], what: str) -> None:
    unknown = sorted(reprlib.repr(key) for key in data.keys() - needed - optional)
    missing = sorted(needed - data.keys())
    if unknown:
        raise CalibrationError(f"{what} has the unknown field {unknown[0]}; known are {sorted(needed | optional)}")
    if missing:
        raise CalibrationError(f"{what} lacks the field '{missing[0]}'")


def _numbers(value: Any, what: str, *counts: int) -> tuple[float, ...]:
    if not isinstance(value, list) or (counts and len(value) not in counts):
        expected = f"{' or '.join(map(str, counts))} numbers" if counts else "numbers"
        raise CalibrationError(f"{what} is {reprlib.repr(value)}; expected a list of {expected}")
    for number in value:
        if type(number) not in (int, float) or abs(number) > 1e300:
            raise CalibrationError(f"{what} holds {reprlib.repr(number)}; expected numbers")
    return tuple(float(number) for number in value)


def _size(value: Any, what: str) -> Size:
    if not isinstance(value, list) or len(value) != 2 or any(type(side) is not int for side in value):
        raise CalibrationError(f"{what} is {reprlib.repr(value)}; expected [width, height] in pixels")
    return value[0], value[1]


def _camera(value: Any, what: str) -> CameraModel:
    if not isinstance(value, dict):
        raise CalibrationError(f"{what} is {reprlib.repr(value)}; expected width, height, k and d")
    _check_keys(value, *_CAMERA, what)
    width, height = _size([value["width"], value["height"]], f"the size of {what}")
    model = value.get("distortion_model", "plumb_bob")
    if not isinstance(model, str):
        raise CalibrationError(f"distortion_model of {what} is {reprlib.repr(model)}; expected a name")
    try:
        coefficients = _numbers(value.get("d", []), f"d of {what}")
        return CameraModel(width, height, _numbers(value["k"], f"k of {what}", 9), model, coefficients)
    except CalibrationError as error:
        raise CalibrationError(f"{what}: {error}") from error


def _extrinsics(value: Any) -> Extrinsics:
    if not isinstance(value, dict):
        raise CalibrationError(f"extrinsics is {reprlib.repr(value)}; expected translation and rotation")
    _check_keys(value, {"translation"}, {"rotation", "quaternion"}, "extrinsics")
    x, y, z = _numbers(value["translation"], "translation", 3)
    if ("rotation" in value) == ("quaternion" in value):
        raise CalibrationError("extrinsics need one of rotation (three rows) and quaternion (x, y, z, w)")
    if "quaternion" in value:
        return Extrinsics.from_quaternion(_numbers(value["quaternion"], "quaternion", 4), (x, y, z))
    rows = value["rotation"]
    if not isinstance(rows, list) or len(rows) != 3:
        raise CalibrationError(f"rotation is {reprlib.repr(rows)}; expected three rows of three numbers")
    return Extrinsics(tuple(n for row in rows for n in _numbers(row, "a row of rotation", 3)), (x, y, z))
