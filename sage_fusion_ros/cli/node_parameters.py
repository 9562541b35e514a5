"""The parameters of fusion_node for commands that do its work without ROS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from sage_fusion_ros import safe_yaml
from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.nodes.parameters import FUSION_PARAMETERS
from sage_fusion_ros.nodes.settings import check_together

PATIENT_HOLD_MS = 1000.0
"""pairing.hold_ms where nothing else is set: a recorder's hiccup shall cost no pair, and nobody waits."""


def read_parameters(file: Path | None, words: Sequence[str]) -> dict[str, Any]:
    """The node's parameters: its defaults, over them a parameter file's, over them single ones.

    Args:
        file: A ROS parameter file; every node in it counts whose name ends in fusion_node or is `/**`.
        words: Such as "fusion.model:=sage".

    Raises:
        ParameterError: The file can't be read, or a parameter is unknown, out of range or of no use offline.
    """
    given: dict[str, Any] = {"pairing.hold_ms": PATIENT_HOLD_MS}
    if file is not None:
        given |= _read_file(file)
    for word in words:
        name, separator, value = word.partition(":=")
        if not separator or not name:
            raise ParameterError(f"--set has '{word}'; expected NAME:=VALUE, such as fusion.model:=sage")
        try:
            given[name] = safe_yaml.parse(value) if value else ""
        except yaml.YAMLError as error:
            raise ParameterError(f"--set {name}: '{value}' is no YAML value") from error
    values = FUSION_PARAMETERS.resolve(given)
    check_together(values)
    if values["pairing.method"] != "nearest":
        raise ParameterError("pairing.method has to be 'nearest' offline; message_filters needs a running node")
    return values


def _read_file(file: Path) -> dict[str, Any]:
    try:
        content = safe_yaml.read(file)
    except OSError as error:
        raise ParameterError(f"'{file}' can't be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParameterError(f"'{file}' is no YAML file: {error}") from error
    given: dict[str, Any] = {}
    found = False
    for node, part in content.items() if isinstance(content, dict) else ():
        if isinstance(part, dict) and (str(node) == "/**" or str(node).endswith("fusion_node")):
            found = True
            given |= _flat(part.get("ros__parameters") or {})
    if not found:
        raise ParameterError(f"'{file}' has no parameters for fusion_node: expected /**: or fusion_node: at its top")
    return given


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
