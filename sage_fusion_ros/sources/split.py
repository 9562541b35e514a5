"""Which pairs may be trained on, and which judge. The split is a rule in a recipe's settings, applied here alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path

import yaml

from sage_fusion_ros import safe_yaml
from sage_fusion_ros.errors import ParameterError

_FOLD = 5


@dataclass(frozen=True)
class SplitSettings:
    """What must never be trained on.

    Attributes:
        exclude: Patterns (as in file names, * and ?) against "set/name", for example "m3svd_frames/0111_1716/*".
        every_fifth: Sets of which the 1st, 6th, 11th, ... file in sorted order is kept for validation.
    """

    exclude: tuple[str, ...] = ()
    every_fifth: tuple[str, ...] = ()


def training_names(names: Sequence[str], split: SplitSettings) -> list[str]:
    """The names that may be trained on.

    Args:
        names: "set/name" or "folder/set/name" of all pairs of the sets, complete, in any order. A set that is given in
            parts would shift the count of every fifth file.
        split: The rule.

    Returns:
        Sorted names.
    """
    kept = []
    counts: dict[str, int] = {}
    for name in sorted(names):
        parts = name.split("/")
        group = next((part for part in parts[:-1] if part in split.every_fifth), None)
        if group is not None:
            counts[group] = counts.get(group, -1) + 1
            if counts[group] % _FOLD == 0:
                continue
        tails = ["/".join(parts[start:]) for start in range(len(parts))]
        if not any(fnmatchcase(tail, pattern) for tail in tails for pattern in split.exclude):
            kept.append(name)
    return kept


def validation_names(names: Sequence[str], split: SplitSettings) -> list[str]:
    """The names that must not be trained on: all others; see training_names."""
    return sorted(set(names) - set(training_names(names, split)))


def read_split(path: Path) -> SplitSettings:
    """Reads the section `split` of a recipe's YAML file and nothing else of it.

    Raises:
        ParameterError: The file can't be read, or has no such section, or the section is of another form.
    """
    try:
        data = safe_yaml.read(Path(path))
    except OSError as error:
        raise ParameterError(f"the split {path} can't be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParameterError(f"the split {path} is not valid YAML: {error}") from error
    section = data.get("split") if isinstance(data, dict) else None
    known = [entry.name for entry in fields(SplitSettings)]
    if not isinstance(section, dict) or not section or not section.keys() <= set(known):
        raise ParameterError(f"{path} needs a section 'split' with one or both of {', '.join(known)}; got {section!r}")
    for name, patterns in section.items():
        if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
            raise ParameterError(f"{path}: {name} of the split is {patterns!r}; expected a list of names")
    return SplitSettings(**{name: tuple(patterns) for name, patterns in section.items()})
