"""Files that map our class names to somebody else's: read, and held against both lists of names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from sage_fusion_ros import safe_yaml
from sage_fusion_ros.errors import ParameterError


class ClassMap:
    """A YAML mapping of class names to the names of another table.

    Args:
        path: The file.
        known: Every name of the other table, and the number it stands for.

    Raises:
        ParameterError: The file can't be read, is no mapping of names, or names what the other table does not have.
    """

    def __init__(self, path: Path, known: Mapping[str, int]) -> None:
        self._path = path
        try:
            names = safe_yaml.read(path)
        except OSError as error:
            raise ParameterError(f"the label file {path} can't be read ({error.strerror})") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ParameterError(f"the label file {path} is not valid YAML: {error}") from error
        if not isinstance(names, dict) or not all(isinstance(name, str) for pair in names.items() for name in pair):
            raise ParameterError(f"the label file {path} holds no mapping of names, such as 'person: PEDESTRIAN'")
        unknown = sorted(f"{ours}: {theirs}" for ours, theirs in names.items() if theirs not in known)
        if unknown:
            raise ParameterError(
                f"the label file {path} has {', '.join(f'{text!r}' for text in unknown)}, which is no label there; "
                f"the known ones are {', '.join(known)}"
            )
        self._numbers = {ours: known[theirs] for ours, theirs in names.items()}

    def numbers(self, classes: Iterable[str]) -> list[int]:
        """The other table's number of each class.

        Raises:
            ParameterError: A class is not in the file; the message names it, the file and what the file knows.
        """
        classes = list(classes)
        missing = [name for name in classes if name not in self._numbers]
        if missing:
            raise ParameterError(
                f"the class {', '.join(f'{name!r}' for name in missing)} of the model is not in the label file "
                f"{self._path}; it knows {', '.join(self._numbers)}: add it to a copy and name that by parameter"
            )
        return [self._numbers[name] for name in classes]
