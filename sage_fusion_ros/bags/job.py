"""What one bag's fusion is: what goes in, by which models and settings, and where it goes."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sage_fusion_ros.bags.outputs import OutputSettings
from sage_fusion_ros.bags.registration import RegistrationSettings
from sage_fusion_ros.engines.card import sha256_of
from sage_fusion_ros.engines.models import find_model
from sage_fusion_ros.errors import CalibrationError, SourceError
from sage_fusion_ros.pipeline.network import NetworkOptions
from sage_fusion_ros.pipeline.pairing import PairingSettings
from sage_fusion_ros.pipeline.perceive import PerceptionChoice
from sage_fusion_ros.pipeline.thermal import ThermalSettings

_ENDS = 1 << 20
_LIBRARIES = ("numpy", "opencv-python-headless", "onnxruntime", "onnxruntime-gpu", "openvino", "rosbags")


@dataclass(frozen=True)
class FuseJob:
    """One bag to fuse. It can be sent to another process or machine that sees the same files.

    Attributes:
        bag: The bag: its folder, or one of its files.
        target: The fused bag's folder, which must not exist.
        fusion_model: Name or folder.
        perception: The networks for mask and boxes.
        engine: Where to look for the models, and how to run them.
        pairing: As the node's.
        thermal: As the node's.
        registration: As the node's.
        pipeline: What a FusionPipeline takes by name, beside its models and the registration.
        outputs: What the fused bag holds.
        topics: Image topic by camera; empty where it is to be found.
        storage: "mcap" or "sqlite3".
        file_bytes: Size at which a file of the fused bag ends and the next begins; an interrupted run goes on from the
            last whole one.
    """

    bag: Path
    target: Path
    fusion_model: str
    perception: PerceptionChoice
    engine: NetworkOptions
    pairing: PairingSettings = field(default_factory=PairingSettings)
    thermal: ThermalSettings = field(default_factory=ThermalSettings)
    registration: RegistrationSettings = field(default_factory=RegistrationSettings)
    pipeline: Mapping[str, Any] = field(default_factory=dict)
    outputs: OutputSettings = field(default_factory=OutputSettings)
    topics: Mapping[str, str] = field(default_factory=dict)
    storage: str = "mcap"
    file_bytes: int = 256 << 20

    def identity(self) -> dict[str, Any]:
        """All that decides which bytes come out, as JSON holds it: equal identities give equal bags.

        Raises:
            SourceError: The bag can't be read.
            ModelError: A model is missing or damaged.
            CalibrationError: The calibration file can't be read.
        """
        described = {
            "input": {"name": self.bag.name, "sha256": fingerprint(self.bag)},
            "models": self._models(),
            "perception": {name: _without_folders(value) for name, value in asdict(self.perception).items()},
            "engine": {**asdict(self.engine), "models_path": []},
            "pairing": asdict(self.pairing),
            "thermal": asdict(self.thermal),
            "registration": {**asdict(self.registration), "file": self._calibration()},
            "pipeline": dict(self.pipeline),
            "outputs": asdict(self.outputs),
            "topics": dict(self.topics),
            "storage": self.storage,
            "file_bytes": self.file_bytes,
            "libraries": _versions(),
        }
        # As it comes back from a file: tuples are lists there.
        return dict(json.loads(json.dumps(described)))

    def _calibration(self) -> str:
        """sha256 of the calibration file; empty where none is used."""
        settings = self.registration
        if settings.method == "none" or not settings.file:
            return ""
        try:
            return sha256_of(Path(settings.file).expanduser())
        except OSError as error:
            raise CalibrationError(f"'{settings.file}' can't be read: {error.strerror or error}") from error

    def _models(self) -> dict[str, str]:
        """sha256 of every network file, and of every file of class names, by what it is for."""
        places = self.engine.models_path
        found = {"fusion": find_model(self.fusion_model, places).card.sha256}
        if self.perception.perception_model:
            found["perception"] = find_model(self.perception.perception_model, places, "perception").card.sha256
        choice = self.perception
        for task, model, classes in (
            ("detection", choice.detection_model, choice.detection_classes),
            ("segmentation", choice.segmentation_model, choice.segmentation_classes),
        ):
            if model:
                file = Path(model).expanduser()
                found[task] = sha256_of(file) if file.is_file() else find_model(model, places, None).card.sha256
            if len(classes) == 1 and (names := Path(classes[0]).expanduser()).is_file():
                found[f"{task} classes"] = sha256_of(names)
        return found


def fingerprint(bag: Path) -> str:
    """sha256 over names, sizes and both ends of a bag's files: bags keep their index there, and it is quick to read.

    Raises:
        SourceError: A file can't be read, or there is none.
    """
    digest = hashlib.sha256()
    try:
        files = sorted(path for path in bag.iterdir() if path.is_file()) if bag.is_dir() else [bag]
        for file in files:
            size = file.stat().st_size
            digest.update(f"{file.name}\0{size}\0".encode())
            with file.open("rb") as stream:
                digest.update(stream.read(_ENDS))
                if size > _ENDS:
                    stream.seek(max(_ENDS, size - _ENDS))
                    digest.update(stream.read())
    except FileNotFoundError as error:
        raise SourceError(f"'{bag}' does not exist; expected a rosbag2 folder, .mcap or .db3 file") from error
    except OSError as error:
        raise SourceError(f"'{bag}' can't be read: {error.strerror or error}") from error
    return digest.hexdigest()


def _without_folders(value: Any) -> Any:
    """Where a file lies decides nothing; what is in it is told by its sha256."""
    if isinstance(value, str):
        return Path(value).name
    return [_without_folders(item) for item in value]


def _versions() -> dict[str, str]:
    found = {}
    for library in _LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
