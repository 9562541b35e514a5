"""Figures of other methods on the same images, read from JSON files; docs/evaluation.md describes the two forms."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.sources.boxes import canonical

Figures = dict[str, float]


@dataclass(frozen=True)
class Baselines:
    """What others measured.

    Attributes:
        images: Figures by set, file (relative to the set, without suffix), method and metric.
        detectors: Average precision by detector, set, method and class; the key n_<class> is the number of drawn boxes.
        notes: What the files say of themselves.
    """

    images: dict[str, dict[str, dict[str, Figures]]] = field(default_factory=dict)
    detectors: dict[str, dict[str, dict[str, Figures]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def methods(self) -> list[str]:
        """The methods with figures per image, in the order they come in."""
        images = (methods for pairs in self.images.values() for methods in pairs.values())
        return list(dict.fromkeys(method for methods in images for method in methods))

    def detector(self, name: str) -> dict[str, dict[str, Figures]]:
        """The figures of a detector, whose file's name begins with or equals theirs; empty where there are none."""
        fitting = [key for key in self.detectors if name.lower().startswith(key.lower())]
        return self.detectors[max(fitting, key=len)] if fitting else {}


def read_baselines(paths: Sequence[Path]) -> Baselines:
    """Reads files of either form and joins them.

    Raises:
        ParameterError: A file can't be read or has another form; the message says where.
    """
    joined = Baselines()
    for path in paths:
        data = _load(Path(path))
        images, detectors = data.get("images"), {k: v for k, v in data.items() if isinstance(v, dict) and "sets" in v}
        if images is None and not detectors:
            raise ParameterError(
                f"the baselines {path} have neither 'images' (figures by set, file, method and metric) nor a detector "
                "with 'sets' (average precision by set, method and class)"
            )
        if images is not None:
            _read_images(path, images, joined.images)
        for name, entry in detectors.items():
            joined.detectors.setdefault(name, {}).update(_read_detector(f"{path}: {name}", entry["sets"]))
        if isinstance(data.get("note"), str):
            joined.notes.append(data["note"])
    return joined


def _load(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ParameterError(f"the baselines {path} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise ParameterError(f"the baselines {path} are not valid JSON: {error}") from error
    if not isinstance(data, dict):
        raise ParameterError(f"the baselines {path} hold {type(data).__name__}; expected an object")
    return data


def _read_images(path: Path, images: Any, into: dict[str, dict[str, dict[str, Figures]]]) -> None:
    for set_name, files in _entries(f"{path}: images", images):
        for file, methods in _entries(f"{path}: {set_name}", files):
            pair = into.setdefault(set_name, {}).setdefault(file_key(set_name, file), {})
            for method, figures in _entries(f"{path}: {file}", methods):
                pair.setdefault(method, {}).update(_numbers(f"{path}: {file}: {method}", figures))


def _read_detector(where: str, sets: Any) -> dict[str, dict[str, Figures]]:
    """Class names become COCO's."""
    found: dict[str, dict[str, Figures]] = {}
    for set_name, methods in _entries(where, sets):
        for method, cells in _entries(f"{where}: {set_name}", methods):
            figures = _numbers(f"{where}: {set_name}: {method}", cells)
            found.setdefault(set_name, {})[method] = {
                f"n_{canonical(key[2:])}" if key.startswith("n_") else canonical(key): value
                for key, value in figures.items()
            }
    return found


def file_key(set_name: str, file: str) -> str:
    """A file such as "msrs/vi/00008N.png" as the set names it, without suffix: "vi/00008N"."""
    path = PurePosixPath(file).with_suffix("")
    return (path.relative_to(set_name) if path.parts[0] == set_name else path).as_posix()


def _entries(where: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        raise ParameterError(f"{where} holds {type(value).__name__}; expected an object")
    yield from value.items()


def _numbers(where: str, value: Mapping[str, Any]) -> Figures:
    for name, number in _entries(where, value):
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
            raise ParameterError(f"{where}: {name} is {number!r}; expected a number")
    return {name: float(number) for name, number in value.items()}
