"""Masks of one labelled pair: as it is, and spoilt in every way there is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from sage_fusion_ros.errors import ImageFormatError, SourceError
from sage_fusion_ros.evaluation.comparison.contenders import Contender, load_pair, make_pair
from sage_fusion_ros.evaluation.comparison.labels import read_labels
from sage_fusion_ros.evaluation.comparison.perceivers import PerceptionReader
from sage_fusion_ros.evaluation.comparison.sets import Item
from sage_fusion_ros.evaluation.conditions import AS_IS, CONDITIONS, spoil
from sage_fusion_ros.evaluation.mask_areas import Areas, class_areas
from sage_fusion_ros.pipeline.classes import CITYSCAPES_CLASSES

MaskKey = tuple[str, str, str]
"""Perception model, contender and condition."""


@dataclass
class MaskResult:
    """How far the masks of one pair agree with its labels.

    Attributes:
        item: The pair.
        areas: See class_areas, by perception model, contender and condition.
        skipped: What could not be done, as (name, reason).
    """

    item: Item
    areas: dict[MaskKey, Areas] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)


def measure_masks(
    item: Item,
    contenders: Mapping[str, Contender],
    able: Collection[str],
    readers: Mapping[str, PerceptionReader],
) -> MaskResult:
    """Spoils a pair before fusion, fuses it, and holds every mask against the labels of the good pair.

    Args:
        item: A pair with labels.
        contenders: Who fuses.
        able: Those of them that can fuse an image nobody has seen before; the others are judged on the pair as it is.
        readers: Who reads.
    """
    result = MaskResult(item)
    assert item.labels is not None
    try:
        pair = load_pair(item)
        labels = read_labels(item.labels, *pair.luma.shape)
    except SourceError as error:
        result.skipped.append((item.key, str(error)))
        return result
    for condition in CONDITIONS:
        spoilt = make_pair(item.key, *spoil(condition, item.key, pair.rgb, pair.thermal))
        for name, contender in contenders.items():
            if condition != AS_IS and name not in able:
                continue
            try:
                rgb = contender.fuse(spoilt).rgb
            except (SourceError, ImageFormatError) as error:
                result.skipped.append((f"{item.key}, {name}, {condition}", str(error)))
                continue
            for reader_name, reader in readers.items():
                if reader.segments:
                    areas = class_areas(reader.mask(rgb, item.position), labels, len(CITYSCAPES_CLASSES))
                    result.areas[reader_name, name, condition] = areas
    return result
