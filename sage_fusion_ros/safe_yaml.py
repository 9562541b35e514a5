"""YAML from files that somebody else wrote: data alone, of bounded size, without what small files can blow up.

PyYAML's SafeLoader makes no objects, but follows aliases (nine lines of them become a billion entries when they are
merged or printed), nests as deep as the file likes until Python's stack ends, takes the last of two equal keys in
silence, and answers damaged values with errors of many kinds.
"""

from __future__ import annotations

import errno
import stat
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 1 << 20  # of a file; the longest of the package's own has 5 KB
MAX_DEPTH = 40  # of lists and mappings inside each other


class _Loader(yaml.SafeLoader):
    """SafeLoader without aliases, deep nesting and keys given twice."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not read; write the values out")
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise yaml.YAMLError(f"it nests deeper than {MAX_DEPTH} levels")
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in keys:
                    raise yaml.YAMLError(f"the field '{key.value[:80]}' is given twice")
                keys.add(key.value)
        return super().construct_mapping(node, deep)


def parse(text: str) -> Any:
    """The data of a YAML text.

    Raises:
        yaml.YAMLError: It is no YAML, larger than MAX_BYTES letters, deeper than MAX_DEPTH, has aliases or a key given
            twice, or a value that is not what its tag says.
    """
    if len(text) > MAX_BYTES:
        raise yaml.YAMLError(f"it has more than {MAX_BYTES} letters")
    try:
        return yaml.load(text, _Loader)  # a safe loader
    except yaml.YAMLError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        # What PyYAML raises for values such as 2024-99-99, !!int '' and !!bool maybe.
        raise yaml.YAMLError(f"a value in it can't be read ({type(error).__name__}: {str(error)[:200]})") from error


def read(path: Path, max_bytes: int = MAX_BYTES) -> Any:
    """The data of a YAML file.

    Raises:
        OSError: It is missing, no regular file, or can't be read.
        UnicodeDecodeError: It is no UTF-8.
        yaml.YAMLError: It is larger than max_bytes, or see parse.
    """
    return parse(read_bytes(path, max_bytes).decode("utf-8"))


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """The content of a file, which is never taken in whole before its size is known.

    Raises:
        OSError: See read.
        yaml.YAMLError: It is larger than max_bytes.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe would block, a device never end
        raise OSError(errno.EINVAL, "no regular file", str(path))
    with path.open("rb") as stream:
        raw = stream.read(max_bytes + 1)
    if len(raw) > max_bytes:
        raise yaml.YAMLError(f"it has more than {max_bytes} bytes")
    return raw
