"""Which file of a results folder belongs to which pair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.evaluation.comparison.sets import Item
from sage_fusion_ros.sources.images import SUFFIXES


def match_results(name: str, folder: Path, items: Sequence[Item], roots: Mapping[str, Path]) -> dict[str, Path]:
    """Matches files to pairs by their path without suffix: set/name, then name, then the file's name alone.

    A name that fits several pairs is passed over, so that no image is held against another set's pair.

    Args:
        name: What the folder is called.
        folder: The folder; one that lies inside a set's folder belongs to that set.
        items: The pairs.
        roots: The folder of each set.

    Returns:
        Files by the pair's key.

    Raises:
        ParameterError: The folder is missing, or nothing in it belongs to a pair.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ParameterError(f"the results {name} are to be in '{folder}', which is no folder")
    found = {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
    }
    own = next((key for key, root in roots.items() if root.resolve() in folder.resolve().parents), None)
    items = [item for item in items if own in (None, item.set_name)]
    counts = Counter(name for item in items for name in dict.fromkeys((item.name, _short(item))))
    files = {}
    for item in items:
        names = [item.key, *(name for name in (item.name, _short(item)) if counts[name] == 1)]
        if match := next((name for name in names if name in found), None):
            files[item.key] = found[match]
    if not files:
        several = next((name for name in found if counts[name] > 1), None)
        raise ParameterError(
            f"no file of the results {name} in '{folder}' belongs to a pair: "
            + (
                f"'{several}' fits several of them, so put the files into folders named as the sets are"
                if several
                else "expected files named as the RGB images are"
            )
        )
    return files


def _short(item: Item) -> str:
    return PurePosixPath(item.name).name
