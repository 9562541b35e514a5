"""Lists of class names, and how a user gives one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.engines.card import check_classes
from sage_fusion_ros.errors import ModelError, ParameterError

UNLABELLED = 255  # the id in a mask that stands for no class, as vision_msgs has it

# The 19 classes that Cityscapes (Cordts et al. 2016) trains and scores, in the order of its train ids.
CITYSCAPES_CLASSES: tuple[str, ...] = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation"),
    *("terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
)
# Cityscapes' own colours, RGB, uint8 19x3.
CITYSCAPES_COLOURS: npt.NDArray[np.uint8] = np.array(
    [
        *((128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153)),
        *((250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60)),
        *((255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32)),
    ],
    np.uint8,
)
CITYSCAPES_COLOURS.flags.writeable = False

# COCO's 80 classes (Lin et al. 2014) in the order in which detectors number them.
COCO_CLASSES: tuple[str, ...] = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light"),
    *("fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow"),
    *("elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee"),
    *("skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard"),
    *("tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple"),
    *("sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch"),
    *("potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard"),
    *("cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors"),
    *("teddy bear", "hair drier", "toothbrush"),
)

# What drives and walks: the boxes of the package's own perception model.
DRIVING_CLASSES: tuple[str, ...] = ("person", "bicycle", "car", "motorcycle", "bus", "truck")

NAMED_LISTS = {"cityscapes": CITYSCAPES_CLASSES, "coco": COCO_CLASSES, "driving": DRIVING_CLASSES}


def read_classes(given: str | Path | Sequence[str], what: str) -> tuple[str, ...]:
    """A class list as a user gives it.

    Args:
        given: The names in the order of their ids; or a text file's path with one name a line; or one of the words of
            NAMED_LISTS. A lone entry counts as a path where it has a slash or ends in .txt or .names. Empty entries
            alone mean that nothing is given.
        what: The parameter's name, for messages.

    Returns:
        The names; empty where nothing is given.

    Raises:
        ParameterError: The file can't be read, or a name is empty or comes twice, or there are more than 255.
    """
    entries = [str(given)] if isinstance(given, (str, Path)) else [str(entry) for entry in given]
    if not any(entry.strip() for entry in entries):
        return ()
    if len(entries) == 1:
        only = entries[0].strip()
        if only in NAMED_LISTS:
            return NAMED_LISTS[only]
        if isinstance(given, Path) or "/" in only or only.endswith((".txt", ".names")):
            entries, what = _lines(Path(only).expanduser(), what), f"{what} ({only})"
    names = tuple(entry.strip() for entry in entries)
    try:
        check_classes(names, what)
    except ValueError as error:
        raise ParameterError(str(error)) from error
    return names


def _lines(path: Path, what: str) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError(
            f"{what} names the file {path}, which can't be read as text ({error}); expected one class name a line"
        ) from error
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise ParameterError(f"{what} names the file {path}, which holds no class names; expected one a line")
    return lines


def named_classes(
    model: str | Path, given: str | Path | Sequence[str], own: tuple[str, ...], what: str
) -> tuple[str, ...]:
    """The class list of a network: what the user gives, else what its card says.

    Args:
        model: The network, for messages.
        given: As read_classes takes it.
        own: The card's names; empty where there is no card.
        what: Group of the parameters, for messages.

    Raises:
        ModelError: There is neither.
        ParameterError: What is given can't be read.
    """
    names = read_classes(given, f"{what}.classes") or own
    if not names:
        raise ModelError(
            f"{what}.model is {model}, whose classes are not known; give their names in {what}.classes, or a text "
            "file's path with one name a line"
        )
    return names
