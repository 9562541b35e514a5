"""What a run ran on: the processor and its memory, and the versions of what took part."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

PACKAGES = {
    "sage_fusion_ros": ("sage_fusion_ros",),
    "rclpy": ("rclpy", "ros-rclpy"),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "openvino": ("openvino",),
    "numpy": ("numpy",),
    "opencv": ("opencv-python-headless", "opencv-python", "opencv-contrib-python"),
}
# What an inference library chooses its code by, of x86 and of ARM, as the kernel names it.
UNITS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16", "amx_fp16")
UNITS += ("asimddp", "i8mm", "bf16", "sve", "sve2", "fphp")


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Model name of the processor as the kernel gives it, else what Python knows of it."""
    try:
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model") and value.strip():
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores this process may run on, which is fewer than the machine has inside a limited container."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor_units(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    """Which of UNITS the processor has; empty where the system does not tell."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    flags = {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split(":", 1)[1].split()}
    return [unit for unit in UNITS if unit in flags]


def memory_mb() -> int:
    """Main memory of the machine in MB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1_000_000


def peak_memory_mb(pid: int | str = "self") -> float:
    """The most main memory a process has had so far, in MB; of another one 0 where the system does not tell.

    Not getrusage's figure, where the kernel gives its own: a child inherits that from the process it was forked from.
    """
    try:
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return own / 1e6 if pid == "self" else 0.0


def graphics_processors() -> list[str]:
    """Names and memory of NVIDIA's graphics processors, as their driver gives them; empty where there is none."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        run = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in run.stdout.splitlines() if line.strip()]


def versions(more: Sequence[str] = ()) -> dict[str, str]:
    """Versions by name; what is not installed as a Python distribution is left out.

    Args:
        more: Further distributions that took part.
    """
    found = {"python": platform.python_version()}
    for name, distributions in {**PACKAGES, **{name: (name,) for name in more}}.items():
        for distribution in distributions:
            try:
                found[name] = metadata.version(distribution)
                break
            except metadata.PackageNotFoundError:
                continue
    if os.environ.get("ROS_DISTRO"):
        found["ROS"] = os.environ["ROS_DISTRO"]
    found["system"] = platform.platform(terse=True)
    return found
