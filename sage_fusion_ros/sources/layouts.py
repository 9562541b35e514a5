"""Finds the pairs in a folder, in the layouts that public thermal + RGB sets come in."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.sources.images import SUFFIXES

# (RGB folder, thermal folder), lower case. The first that is there wins.
_LAYOUTS = (
    ("rgb", "thermal"),
    ("visible", "infrared"),
    ("vis", "ir"),
    ("vi", "ir"),
    ("crop_lr_visible", "cropinfrared"),
    ("crop_hr_visible", "cropinfrared"),
    ("rgb", "ir"),
    ("visible", "thermal"),
)
_DEPTH = 2


@dataclass(frozen=True)
class PairPath:
    """Two files that show the same moment.

    Attributes:
        name: Relative path without suffix, for example 'train/010001'.
        rgb: The colour file.
        thermal: The thermal file.
    """

    name: str
    rgb: Path
    thermal: Path


@dataclass(frozen=True)
class PairListing:
    """The pairs of a folder.

    Attributes:
        layout: The names of the two folders that were recognised, for example 'visible + infrared'.
        pairs: Sorted by name.
        skipped: Files without a partner or with a name that occurs twice, as (relative path, reason).
    """

    layout: str
    pairs: list[PairPath]
    skipped: list[tuple[str, str]] = field(default_factory=list)


def find_pairs(root: Path, suffixes: frozenset[str] = SUFFIXES) -> PairListing:
    """Finds pairs by folder names (any case) and equal file stems.

    Known are LLVIP (visible/, infrared/ with train/ and test/ inside), M3FD (Vis/, Ir/), MSRS (vi/, ir/, also below
    train/ and test/), RoadScene (crop_LR_visible/, cropinfrared/) and plain rgb/ + thermal/. A folder of such folders,
    one per clip, works too; then the names start with the clip's.

    Args:
        root: The folder.
        suffixes: Lower-case endings of the files that count, with the dot; image files by default.

    Raises:
        SourceError: When the folder is missing, has no known layout, or no file has a partner.
    """
    root = Path(root)
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "does not exist"
        raise SourceError(f"'{root}' {what}; give a folder with rgb/ and thermal/ images in it")
    found = _layouts_below(root, _DEPTH)
    if not found:
        raise SourceError(
            f"'{root}' holds no pairs: expected sub-folders rgb/ + thermal/, visible/ + infrared/ (LLVIP), Vis/ + Ir/ "
            f"(M3FD), vi/ + ir/ (MSRS) or crop_LR_visible/ + cropinfrared/ (RoadScene); found {_contents(root)}"
        )
    pairs: list[PairPath] = []
    skipped: list[tuple[str, str]] = []
    for rgb_folder, thermal_folder in found:
        _match(root, (rgb_folder, thermal_folder), suffixes, pairs, skipped)
    if not pairs:
        reason = f"{len(skipped)} files have no partner of the same name" if skipped else "no files to read in them"
        raise SourceError(f"'{root}' holds no pairs in '{found[0][0].name}' and '{found[0][1].name}': {reason}")
    layout = " + ".join(folder.name for folder in found[0])
    return PairListing(layout, sorted(pairs, key=lambda pair: pair.name), sorted(skipped))


def _layouts_below(folder: Path, depth: int) -> list[tuple[Path, Path]]:
    children = _subfolders(folder)
    for rgb, thermal in _LAYOUTS:
        if rgb in children and thermal in children:
            return [(children[rgb], children[thermal])]
    if depth == 0:
        return []
    return [found for child in children.values() for found in _layouts_below(child, depth - 1)]


def _subfolders(folder: Path) -> dict[str, Path]:
    visible = (child for child in sorted(folder.iterdir()) if child.is_dir() and not child.name.startswith("."))
    return {child.name.lower(): child for child in visible}


def _match(
    root: Path,
    folders: tuple[Path, Path],
    suffixes: frozenset[str],
    pairs: list[PairPath],
    skipped: list[tuple[str, str]],
) -> None:
    rgb_files, thermal_files = (_files(root, folder, suffixes, skipped) for folder in folders)
    rgb_folder = folders[0]
    prefix = rgb_folder.parent.relative_to(root)
    for stem in rgb_files.keys() | thermal_files.keys():
        rgb, thermal = rgb_files.get(stem), thermal_files.get(stem)
        if rgb is not None and thermal is not None:
            pairs.append(PairPath((prefix / stem).as_posix(), rgb, thermal))
        elif rgb is not None:
            skipped.append((rgb.relative_to(root).as_posix(), "no thermal file of that name"))
        elif thermal is not None:
            skipped.append((thermal.relative_to(root).as_posix(), "no RGB file of that name"))


def _files(root: Path, folder: Path, suffixes: frozenset[str], skipped: list[tuple[str, str]]) -> dict[str, Path]:
    """The files below a folder by relative path without suffix."""
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in suffixes or path.name.startswith(".") or not path.is_file():
            continue
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if stem in files:
            skipped.append((path.relative_to(root).as_posix(), f"'{files[stem].name}' has the same name"))
        else:
            files[stem] = path
    return files


def _contents(folder: Path) -> str:
    names = sorted(child.name + ("/" if child.is_dir() else "") for child in folder.iterdir())
    if not names:
        return "nothing"
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
