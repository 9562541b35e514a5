"""Where engines that were built for a GPU are kept: a folder for each thing that an engine depends on.

TensorRT takes minutes to build an engine and milliseconds to load one. An engine built of another model, for another
GPU or image size, in another precision or by another version must never be taken for it, so all of them are in the key.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

KEY_NAME = "key.json"
_TENSORRT_LIBRARIES = ("libnvinfer.so.10", "libnvinfer.so.11", "libnvinfer.so.9", "libnvinfer.so.8", "libnvinfer.so")
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of cuda.h
_UNKNOWN = "unknown"


@dataclass(frozen=True)
class EngineKey:
    """What a built engine depends on.

    Attributes:
        model: sha256 of the model file.
        outputs: Names of the outputs that it computes.
        gpu: Name and compute capability.
        shapes: Shape of each input, by its name.
        precision: What was asked for.
        versions: Of the libraries and the driver, by name.
    """

    model: str
    outputs: tuple[str, ...]
    gpu: str
    shapes: dict[str, tuple[int, ...]]
    precision: str
    versions: dict[str, str] = field(default_factory=dict)

    def folder(self) -> Path:
        """The key's own folder, made if need be; its key.json says in words what it is for."""
        text = json.dumps(asdict(self), sort_keys=True, indent=2)
        folder = cache_root() / f"{self.model[:16]}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / KEY_NAME
        if not path.is_file():
            part = path.with_suffix(f".{os.getpid()}.part")
            part.write_text(text + "\n", encoding="utf-8")
            part.replace(path)
        return folder


def cache_root() -> Path:
    """The folder of all built engines; it may be deleted at any time, and they are built again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sage_fusion_ros" / "tensorrt"


def is_built(folder: Path) -> bool:
    """Whether a key's folder holds an engine."""
    return any(folder.glob("*.engine"))


def gpu_identity(number: int = 0, library: str = "libcuda.so.1") -> tuple[str, str]:
    """Name with compute capability of a GPU, and the CUDA version of its driver, as the driver tells them.

    Args:
        number: Of the GPU.
        library: The driver's.

    Returns:
        Such as ("NVIDIA H200, compute 9.0", "12.8"); "unknown" for both where there is no driver or no such GPU.
    """
    try:
        cuda = ctypes.CDLL(library)
    except OSError:
        return _UNKNOWN, _UNKNOWN
    device, version, major, minor = (ctypes.c_int() for _ in range(4))
    name = ctypes.create_string_buffer(256)
    failed = (
        cuda.cuInit(0)
        or cuda.cuDeviceGet(ctypes.byref(device), number)
        or cuda.cuDeviceGetName(name, len(name), device)
        or cuda.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
        or cuda.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
        or cuda.cuDriverGetVersion(ctypes.byref(version))
    )
    if failed:
        return _UNKNOWN, _UNKNOWN
    driver = f"{version.value // 1000}.{version.value % 1000 // 10}"
    return f"{name.value.decode('utf-8', 'replace')}, compute {major.value}.{minor.value}", driver


def tensorrt_version(libraries: tuple[str, ...] = _TENSORRT_LIBRARIES) -> str:
    """TensorRT's own number, such as "100300", or "unknown" where it can't be asked."""
    for library in libraries:
        try:
            tensorrt = ctypes.CDLL(library)
        except OSError:
            continue
        if hasattr(tensorrt, "getInferLibVersion"):
            return str(tensorrt.getInferLibVersion())
    return _UNKNOWN
