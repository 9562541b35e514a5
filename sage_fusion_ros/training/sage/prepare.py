"""What a run is trained on: pairs with the masks of a prior and with label maps, and a share of them held back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.pipeline.classes import UNLABELLED
from sage_fusion_ros.training.damage import DamageLog
from sage_fusion_ros.training.label_files import Mask, find_label_map, read_label_map
from sage_fusion_ros.training.pairs import SYNTHETIC, StoredPair
from sage_fusion_ros.training.priors.masks import PackedMasks, PairMasks

_SUBSETS = frozenset({"train", "training", "test", "testing", "val", "valid", "validation", "trainval"})


@dataclass(frozen=True)
class PreparedPair:
    """A pair and what is known about it, all of one size.

    Attributes:
        pair: The images.
        rgb_masks, thermal_masks: Masks found in each of the two, none where there are none.
        labels: uint8 HxW, class ids of the task network, 255 where nothing is known; None without a label map.
    """

    pair: StoredPair
    rgb_masks: PackedMasks
    thermal_masks: PackedMasks
    labels: Mask | None = None


def read_labels(
    pairs: Sequence[StoredPair], roots: Sequence[Path], kind: str, classes: int, damage: DamageLog
) -> dict[str, Mask]:
    """The label maps of the pairs that have one.

    Args:
        pairs: Named "set/name"; those of the synthetic scene have no files and so no label maps.
        roots: Folders of the sets.
        kind: Folder of the label maps beside the images, for example "seg_cityscapes19" (see find_label_map). Its ids
            must be the task network's.
        classes: How many the task network knows.
        damage: Leaves out and lists maps that can't be used, if it is told to; else the first one is an error.

    Returns:
        uint8 HxW of each pair's size by name: ids under `classes`, 255 where nothing is known.

    Raises:
        SourceError: A label map can't be read, or has an id that is no class.
    """
    folders = {Path(root).resolve().name: Path(root).resolve() for root in roots if Path(root) != Path(SYNTHETIC)}
    found = {}
    for pair in pairs:
        group, name = pair.name.split("/", 1)
        path = find_label_map(folders[group], name, kind) if group in folders else None
        if path is not None:
            labels = damage.attempt(pair.name, partial(_read_labels, path, pair.thermal.shape, classes))
            if labels is not None:
                found[pair.name] = labels
    return found


def _read_labels(path: Path, shape: tuple[int, ...], classes: int) -> Mask:
    labels = read_label_map(path, shape)
    strange = [int(value) for value in np.unique(labels) if value >= classes and value != UNLABELLED]
    if strange:
        raise SourceError(
            f"label map {path} has the ids {', '.join(map(str, strange[:8]))}, but the task network knows the classes "
            f"0 to {classes - 1} ({UNLABELLED}: not labelled); give label maps with the network's own class ids"
        )
    return labels


def prepare_pairs(
    pairs: Sequence[StoredPair], masks: Mapping[str, PairMasks], labels: Mapping[str, Mask], damage: DamageLog
) -> list[PreparedPair]:
    """Puts pairs, masks and label maps together by the pairs' names.

    Args:
        pairs: What is trained on.
        masks: Of a prior. A pair that is not among them has none, which is no error.
        labels: Of read_labels; likewise.
        damage: Lists pairs whose masks or labels are of another size, and goes on without these, if it is told to.

    Returns:
        One for each pair, in their order.

    Raises:
        SourceError: Masks or labels are of another size than their images.
    """
    prepared = []
    for pair in pairs:
        shape = pair.thermal.shape
        own = damage.attempt(pair.name, partial(_fitting_masks, masks.get(pair.name), pair)) or PairMasks.none(shape)
        known = damage.attempt(pair.name, partial(_fitting_labels, labels.get(pair.name), pair))
        prepared.append(PreparedPair(pair, own.packed_rgb, own.packed_thermal, known))
    return prepared


def _fitting_masks(masks: PairMasks | None, pair: StoredPair) -> PairMasks | None:
    for camera in (masks.packed_rgb, masks.packed_thermal) if masks is not None else ():
        _check_size("masks", camera.shape[1:], pair)
    return masks


def _fitting_labels(labels: Mask | None, pair: StoredPair) -> Mask | None:
    if labels is not None:
        _check_size("labels", labels.shape, pair)
    return labels


def _check_size(what: str, shape: tuple[int, ...], pair: StoredPair) -> None:
    if tuple(shape) != pair.thermal.shape:
        theirs, ours = ("x".join(map(str, reversed(size))) for size in (shape, pair.thermal.shape))
        raise SourceError(
            f"the {what} of the pair {pair.name} are {theirs} pixels, its images {ours}; make the {what} anew from "
            "these images"
        )


def hold_out(pairs: Sequence[StoredPair], share: float, seed: int) -> tuple[list[StoredPair], list[StoredPair]]:
    """Holds back a share of the training pairs, to tell when to stop.

    Frames of one clip look alike, so a clip stays together, also where it comes as a video and as single frames: the
    clip is what stands between set and file in a pair's name, less folders such as train/. A pair without a clip
    stands alone. Of each set the share of its clips (or lone pairs) is held back that comes first in the order of a
    hash of seed and name, so that every set is in it and another set more moves nothing from one side to the other.

    Args:
        pairs: Named "set/name".
        share: Of each set's clips, 0..1, rounded.
        seed: Decides which.

    Returns:
        (training, validation), each in the given order. With a share above 0 and two clips or lone pairs at least, the
        validation side has one or more; else it is empty. The training side never is.
    """
    sets = {_clip(pair.name): pair.name.split("/")[0] for pair in sorted(pairs, key=lambda pair: pair.name)}
    order = sorted(sets, key=lambda clip: hashlib.sha256(f"{seed}/{clip}".encode()).digest())
    held: set[str] = set()
    if share > 0 and len(order) > 1:
        for group in set(sets.values()):
            clips = [clip for clip in order if sets[clip] == group]
            held.update(clips[: round(share * len(clips))])
        held = (held or {order[0]}) - ({order[-1]} if len(held) == len(order) else set())
    sides: tuple[list[StoredPair], list[StoredPair]] = ([], [])
    for pair in pairs:
        sides[_clip(pair.name) in held].append(pair)
    return sides


def _clip(name: str) -> str:
    """What must not be torn apart: the clip's name without the set's, or the pair's own."""
    folders = [part for part in name.split("/")[1:-1] if part.lower() not in _SUBSETS]
    return "/".join(folders) if folders else name
