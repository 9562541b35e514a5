"""What a fuzz run may be pointed at: how a case is made, and what must hold for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import file_cases
import image_cases
import tree_cases
from chooser import Chooser


@dataclass(frozen=True)
class Target:
    """One kind of input.

    Attributes:
        make: A case by choices.
        test: What became of it, in a word; raises where something is wrong.
        covers: Files of the package that it is to reach.
    """

    make: Callable[[Chooser], Any]
    test: Callable[[Any], str]
    covers: tuple[str, ...]


_IMAGES = ("pipeline/image_codec.py",)
_FILES = ("pipeline/compressed_codec.py", "pipeline/image_file.py")
TARGETS = {
    "raw": Target(image_cases.make, image_cases.test, _IMAGES),
    "jpeg": Target(file_cases.make_jpeg, file_cases.test, _FILES),
    "png": Target(file_cases.make_png, file_cases.test, _FILES),
    "card": Target(tree_cases.make_card, tree_cases.test_card, ("engines/card.py", "safe_yaml.py")),
    "calibration": Target(
        tree_cases.make_calibration, tree_cases.test_calibration, ("sources/calibration_file.py", "safe_yaml.py")
    ),
    "camera_info": Target(tree_cases.make_info, tree_cases.test_info, ("pipeline/camera_info.py",)),
}
IMAGES = ("raw", "jpeg", "raw", "png", "raw", "jpeg", "png", "raw", "jpeg", "png")
"""The image codec and decoders: which target each of ten cases in a row is for."""
FILES = ("card", "calibration", "camera_info")
GROUPS = {"images": IMAGES, "files": FILES, **{name: (name,) for name in TARGETS}}


def run_case(group: str, seed: int, case: int) -> tuple[str, str]:
    """Makes one case and tests it.

    Returns:
        The target, and what became of the case.

    Raises:
        Exception: What the code under test has let out.
    """
    names = GROUPS[group]
    name = names[case % len(names)]
    target = TARGETS[name]
    return name, target.test(target.make(Chooser(seed, case)))
