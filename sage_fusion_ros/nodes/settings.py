"""What fusion_node's parameters mean to the pipeline."""

from __future__ import annotations

import os
import re
from typing import Any

from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.pipeline.network import NetworkOptions
from sage_fusion_ros.pipeline.pairing import PairingSettings
from sage_fusion_ros.pipeline.perceive import PerceptionChoice
from sage_fusion_ros.pipeline.thermal import ThermalSettings

RESERVED = ("input", "output", "debug")  # a pair of this name would have the topics of a node without names


def pairing_settings(values: dict[str, Any]) -> PairingSettings:
    """The pairing's part of the parameter values."""
    return PairingSettings(
        max_dt_ns=round(values["pairing.max_dt_ms"] * 1e6),
        thermal_offset_ns=round(values["pairing.thermal_offset_ms"] * 1e6),
        hold_ns=round(values["pairing.hold_ms"] * 1e6),
        drive=values["pairing.drive"],
    )


def thermal_settings(values: dict[str, Any]) -> ThermalSettings:
    """The thermal normalisation's part of the parameter values.

    Raises:
        ValueError: Two values that are each in range contradict each other, such as low above high.
    """
    prefix = "thermal."
    return ThermalSettings(**{name[len(prefix) :]: v for name, v in values.items() if name.startswith(prefix)})


def check_together(values: dict[str, Any]) -> None:
    """Finds values that are each in range and contradict each other.

    Raises:
        ParameterError: There are such values.
    """
    try:
        thermal_settings(values)
        pairing_settings(values)
        pair_names(values)
    except ValueError as error:
        raise ParameterError(f"the parameters contradict each other: {error}") from error


def pipeline_settings(values: dict[str, Any]) -> dict[str, Any]:
    """What of the parameter values a FusionPipeline takes by name, beside its models."""
    return {
        "thermal_tint": values["output.thermal_tint"],
        "score_threshold": values["detection.score_threshold"],
        "iou_threshold": values["detection.iou_threshold"],
    }


def perception_choice(values: dict[str, Any]) -> PerceptionChoice:
    """The perception's part of the parameter values; what belongs to a model that is not named counts for nothing."""

    def part(kind: str) -> dict[str, Any]:
        model = values[f"{kind}.model"]
        return {
            f"{kind}_model": model,
            f"{kind}_classes": tuple(values[f"{kind}.classes"]) if model else (),
            f"{kind}_layout": values[f"{kind}.layout"] if model else "auto",
        }

    return PerceptionChoice(perception_model=values["perception.model"], **part("detection"), **part("segmentation"))


def pair_names(values: dict[str, Any]) -> list[str]:
    """Names of the pairs of cameras; one empty name where there is a single pair without.

    Raises:
        ParameterError: A name comes twice, or can't be a part of a topic's name of its own.
    """
    names = [name for name in values["pairs"] if name] or [""]
    for index, name in enumerate(names):
        if name and (not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or name in RESERVED):
            raise ParameterError(
                f"pairs has the name '{name}'; expected letters, digits and _, a letter first, and none of "
                f"{', '.join(RESERVED)}"
            )
        if name in names[:index]:
            raise ParameterError(f"pairs has the name '{name}' twice")
    return names


def network_options(values: dict[str, Any]) -> NetworkOptions:
    """Where models are looked for, and how they run."""
    prefix = "engine."
    engine = {name[len(prefix) :]: value for name, value in values.items() if name.startswith(prefix)}
    workers = values["rate.workers"]
    if workers > 1 and not engine["threads"]:  # every core for each of them would be threads that wait for each other
        engine["threads"] = max(1, len(os.sched_getaffinity(0)) // workers)
    places = tuple(folder for folder in values["models.path"] if folder)
    return NetworkOptions(**engine, models_path=places, pairs=len(pair_names(values)), workers=workers)
