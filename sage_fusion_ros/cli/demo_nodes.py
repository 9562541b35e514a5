"""What a run of the demo consists of: its parameters, its files, and the command of each node."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sage_fusion_ros.resources import fast_dds_profile

NODES = "sage_fusion_ros.nodes"
IMAGES_KEPT = 24
MASKS_KEPT = 120
"""Enough to score by: neighbours differ little, and the truth of each has to be drawn again for the report."""
HEARD = ("fused", "mask", "mask/label_info", "detections", "detections/label_info")
"""Outputs that recorder_node listens to."""
PERCEPTION_DEFAULT = "perception"
"""fusion_node's own default of perception.model."""


@dataclass(frozen=True)
class RunPlan:
    """What to run.

    Attributes:
        replay: Parameters of replay_node.
        fusion: Parameters of fusion_node.
        fusion_extra: Further ones as the user wrote them, "name:=value".
        pairs: Pairs that will be sent.
        rate_hz: Pairs per second.
        startup_s: Longest time fusion_node may take to become active.
        debug: Whether the debug topics are recorded too.
        images: Fused images kept.
        perception: Whether masks and detections are recorded, which makes fusion_node compute them.
        masks: Masks kept, beside those of the fused images kept.
        contents: Whether the recorder looks at what comes; see there.
        cameras: Pairs of cameras that fusion_node serves. With several, each gets what the replay sends, and all their
            results go to the topics of one, where the recorder hears them.
    """

    replay: Mapping[str, Any]
    fusion: Mapping[str, Any]
    fusion_extra: Sequence[str]
    pairs: int
    rate_hz: float
    startup_s: float
    debug: bool = True
    images: int = IMAGES_KEPT
    perception: bool = False
    masks: int = MASKS_KEPT
    contents: bool = True
    cameras: int = 1

    def settings(self) -> dict[str, Any]:
        """What the nodes are started with, for the report."""
        extra = dict(text.split(":=", 1) for text in self.fusion_extra)
        return {**self.fusion, **extra, **{f"replay: {name}": value for name, value in self.replay.items()}}


@dataclass(frozen=True)
class RunPaths:
    """Where a run's files are."""

    folder: Path

    @property
    def images(self) -> Path:
        """Fused images."""
        return self.folder / "fused"

    @property
    def masks(self) -> Path:
        """Masks, as images of class ids."""
        return self.folder / "masks"

    @property
    def logs(self) -> Path:
        """What the processes print, and the two event files."""
        return self.folder / "logs"

    @property
    def recording(self) -> Path:
        """The recorder's events."""
        return self.logs / "recording.jsonl"

    @property
    def replay_log(self) -> Path:
        """The replay's events."""
        return self.logs / "replay.jsonl"


def child_environment(paths: RunPaths) -> dict[str, str]:
    """Environment of the nodes: what the user has set stays; the rest keeps the run to itself."""
    environment = dict(os.environ)
    environment.update(fast_dds_profile(environment))
    # Above the usual few, below the numbers whose ports meet those the system hands out.
    environment.setdefault("ROS_DOMAIN_ID", str(20 + secrets.randbelow(80)))
    if environment.get("ROS_DISTRO") == "humble":
        environment.setdefault("ROS_LOCALHOST_ONLY", "1")
    else:
        environment.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    environment.setdefault("ROS_LOG_DIR", str(paths.logs.resolve() / "ros"))
    environment["RCUTILS_COLORIZED_OUTPUT"] = "0"
    environment["PYTHONUNBUFFERED"] = "1"
    return environment


def fusion_command(plan: RunPlan) -> list[str]:
    """fusion_node on the topics of replay_node."""
    pairs = [f"pair_{i}" for i in range(plan.cameras)] if plan.cameras > 1 else []
    remaps = []
    for root in [f"~/{pair}" for pair in pairs] or ["~"]:
        for camera in ("rgb", "thermal"):
            remaps += ["-r", f"{root}/input/{camera}:=/replay_node/{camera}/image_raw"]
            remaps += ["-r", f"{root}/input/{camera}_camera_info:=/replay_node/{camera}/camera_info"]
        for output in HEARD if pairs else ():
            remaps += ["-r", f"{root}/output/{output}:=/fusion_node/output/{output}"]
    extra = [argument for text in plan.fusion_extra for argument in ("-p", text)]
    return [*_node("fusion_node", {**plan.fusion, **({"pairs": pairs} if pairs else {})}), *extra, *remaps]


def replay_command(plan: RunPlan, paths: RunPaths) -> list[str]:
    """replay_node, which waits for its subscribers and writes what it sends."""
    return _node("replay_node", {**plan.replay, "log_path": str(paths.replay_log.resolve())})


def recorder_command(plan: RunPlan, paths: RunPaths) -> list[str]:
    """recorder_node with its images spread over the run."""
    return _node(
        "recorder_node",
        {
            "log_path": str(paths.recording.resolve()),
            "images.path": str(paths.images.resolve()),
            "images.count": plan.images,
            "images.period_s": float(plan.pairs / plan.rate_hz / max(plan.images, 1)),
            "masks.path": str(paths.masks.resolve()),
            "masks.count": plan.masks,
            "masks.period_s": float(plan.pairs / plan.rate_hz / max(plan.masks, 1)),
            "perception": plan.perception,
            "debug": plan.debug,
            "contents": plan.contents,
        },
    )


def _node(name: str, parameters: Mapping[str, Any]) -> list[str]:
    command = [sys.executable, "-m", f"{NODES}.{name}", "--ros-args"]
    for key, value in parameters.items():
        command += ["-p", f"{key}:={_yaml(value)}"]
    return command


def _yaml(value: Any) -> str:
    """A parameter's value as the command line takes it; a JSON string is a YAML string whatever is in it."""
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
