"""Which pairs may be trained on. The validation split is a rule in a recipe's settings, applied here alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

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
