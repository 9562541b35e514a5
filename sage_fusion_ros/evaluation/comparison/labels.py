"""Label maps of sets, and the list of pairs on which masks are judged by them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import ParameterError, SourceError
from sage_fusion_ros.sources.layouts import PairPath

LABELS_FOLDER = "seg_cityscapes19"
"""Beside the folder of the RGB images: PNG files of their names with Cityscapes' 19 train ids, 255 where unknown."""


def read_pair_list(path: Path) -> frozenset[str]:
    """The pairs named in a text file, "set/pair" one a line; empty lines and what follows a # do not count.

    Raises:
        ParameterError: It can't be read, names no pair, or a line is no such name.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError(f"the list of pairs {path} can't be read: {error}") from error
    names = [name for line in lines if (name := line.partition("#")[0].strip())]
    if wrong := [name for name in names if "/" not in name.strip("/") or " " in name]:
        raise ParameterError(f"the list of pairs {path} has the line '{wrong[0]}'; expected set/pair")
    if not names:
        raise ParameterError(f"the list of pairs {path} names no pair; expected lines like set/pair")
    return frozenset(names)


def find_labels(
    name: str,
    pairs: Mapping[str, PairPath],
    listed: frozenset[str],
    skipped: list[tuple[str, str]],
    notes: list[str],
) -> dict[str, Path]:
    """The label maps of a set's listed pairs by their key.

    Args:
        name: The set.
        pairs: Its pairs by "set/pair".
        listed: All that are listed, also those of other sets.
        skipped: Gains those listed that are not there.
        notes: Gains a sentence where the set has no label maps at all.
    """
    wanted = sorted(key for key in listed if key.startswith(f"{name}/"))
    files = {key: _labels_of(pairs[key]) for key in wanted if key in pairs}
    found = {key: path for key, path in files.items() if path.is_file()}
    if wanted and not found:
        notes.append(f"{name} has no {LABELS_FOLDER} for the pairs listed for masks, so no masks are judged on it.")
        return {}
    skipped.extend(
        (key, f"it is listed for masks, and {'its labels are' if key in pairs else 'it is'} not there")
        for key in wanted
        if key not in found
    )
    return found


def _labels_of(pair: PairPath) -> Path:
    return pair.rgb.parent.parent / LABELS_FOLDER / f"{pair.rgb.stem}.png"


def read_labels(path: Path, height: int, width: int) -> npt.NDArray[np.uint8]:
    """uint8 HxW ids.

    Raises:
        SourceError: The file is no 8-bit grey image of this size.
    """
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint8 or image.shape != (height, width):
        found = "can't be read" if image is None else f"is {image.dtype} of {'x'.join(map(str, image.shape))}"
        raise SourceError(f"the labels {path} {found}; expected an 8-bit grey PNG of {height}x{width}")
    return np.asarray(image, np.uint8)
