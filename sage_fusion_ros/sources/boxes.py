"""Boxes drawn by people, as sets of pairs come with them: COCO annotation files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import SourceError

BOXES_FILE = "boxes_coco.json"
"""The name under which a set's folder holds them."""

# What the sets call things, in COCO's words.
SYNONYMS = {"people": "person", "pedestrian": "person", "bike": "bicycle", "motorbike": "motorcycle"}


@dataclass(frozen=True)
class BoxedImage:
    """The boxes of one image as people drew them.

    Attributes:
        file_name: As the annotation file has it.
        xyxy: float32 Nx4, corners in pixels.
        labels: N class names, in COCO's words where COCO has the class.
    """

    file_name: str
    xyxy: npt.NDArray[np.float32]
    labels: list[str]


def read_boxes(path: Path) -> list[BoxedImage]:
    """Reads a COCO annotation file; images without any box are left out.

    Raises:
        SourceError: The file is missing or is no COCO annotation.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        names = {entry["id"]: canonical(entry["name"]) for entry in data["categories"]}
        images: dict[int, list[tuple[list[float], str]]] = {entry["id"]: [] for entry in data["images"]}
        for entry in data["annotations"]:
            x, y, width, height = entry["bbox"]
            images[entry["image_id"]].append(([x, y, x + width, y + height], names[entry["category_id"]]))
        files = {entry["id"]: str(entry["file_name"]) for entry in data["images"]}
    except OSError as error:
        raise SourceError(f"the boxes {path} can't be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(
            f"the boxes {path} are no COCO annotation ({type(error).__name__}: {error}); expected images, annotations "
            "with bbox [x, y, width, height], and categories"
        ) from error
    return [
        BoxedImage(files[key], np.array([box for box, _ in boxes], np.float32), [label for _, label in boxes])
        for key, boxes in images.items()
        if boxes
    ]


def canonical(name: str) -> str:
    """A set's class name in COCO's words: 'People' is 'person', 'bike' is 'bicycle'."""
    return SYNONYMS.get(name.lower(), name.lower())
