"""Puts a perception run's data together: pairs, their labels, the synthetic scenes and the fusion models in front."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from sage_fusion_ros.engines.card import sha256_of
from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.pipeline.classes import COCO_CLASSES, UNLABELLED
from sage_fusion_ros.pipeline.detect import load_detector
from sage_fusion_ros.pipeline.fuse import load_fuser
from sage_fusion_ros.pipeline.network import NetworkOptions
from sage_fusion_ros.sources.base import PairSource
from sage_fusion_ros.sources.open import open_source
from sage_fusion_ros.sources.street.conditions import CONDITIONS
from sage_fusion_ros.training.config import TrainSettings
from sage_fusion_ros.training.pairs import SYNTHETIC, SYNTHETIC_SEEDS, StoredPair, load_pairs, load_rgb_only
from sage_fusion_ros.training.perception.boxes import PseudoBoxes, drawn_boxes, join_boxes
from sage_fusion_ros.training.perception.crops import CropSampler
from sage_fusion_ros.training.perception.label_maps import is_by_day, keep_in_boxes, read_mask
from sage_fusion_ros.training.perception.labels import Labels
from sage_fusion_ros.training.perception.pool import FusedPool, LabelledPair
from sage_fusion_ros.training.perception.pseudo_boxes import find_pseudo_boxes

PSEUDO_BOXES = "pseudo_boxes.json"


def build_sampler(
    settings: TrainSettings, roots: Sequence[Path], detectors: Sequence[Path], out: Path, threads: int = 0
) -> tuple[CropSampler, list[StoredPair]]:
    """Everything that has to be there before the first step.

    Args:
        settings: Of the run.
        roots: Folders of pairs, or "synthetic" for the synthetic scene.
        detectors: ONNX files of detectors with COCO's classes, whose boxes stand in where people drew none.
        out: Folder of the run; pseudo_boxes.json is kept in it.
        threads: For the fusion models and the detectors; 0 takes every core.

    Returns:
        The batches, and the pairs that are trained on.

    Raises:
        SourceError, ModelError: Something is missing or damaged.
    """
    synthetic = Path(SYNTHETIC) in map(Path, roots)
    folders = [Path(root) for root in roots if Path(root) != Path(SYNTHETIC)]
    if not folders:
        raise SourceError(
            "the recipe 'perception' needs folders of pairs beside the synthetic scene; give them with --data"
        )
    alone, folders = _take(folders, settings.perception.rgb_only)
    pairs = load_pairs(folders, settings.split, settings.video_stride)
    lone = [image for folder in alone for image in load_rgb_only(folder)]
    key = " ".join(sha256_of(path) for path in detectors)
    options = NetworkOptions(device="cpu", threads=threads)
    readers = [load_detector(path, COCO_CLASSES, "auto", options) for path in detectors]
    pseudo = find_pseudo_boxes([*pairs, *lone], readers, key, out / PSEUDO_BOXES)
    labelled = [*label(pairs, folders, pseudo, settings), *label_rgb_only(lone, pseudo, settings)]
    fusers = [load_fuser(name, NetworkOptions(device="cpu", threads=threads)) for name in settings.perception.fusion]
    scenes = _scenes() if synthetic and settings.perception.synthetic_share else []
    pool = FusedPool(labelled, scenes, fusers, settings.perception, settings.augment, settings.seed)
    hinted = max(1, settings.batch // 4) if settings.terms.get("relations", 0.0) > 0 else 0
    sampler = CropSampler(pool, settings.batch, settings.crop, settings.perception, settings.seed, hinted)
    return sampler, [*pairs, *lone]


def _take(folders: Sequence[Path], names: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """The folders of these names, and the rest."""
    by_name = {folder.resolve().name: folder for folder in folders}
    if missing := sorted(set(names) - by_name.keys()):
        raise SourceError(
            f"perception.rgb_only names {', '.join(missing)}, which --data does not give; "
            f"given are {', '.join(sorted(by_name))}"
        )
    return [by_name[name] for name in names], [folder for name, folder in by_name.items() if name not in names]


def label(
    pairs: Sequence[StoredPair], folders: Sequence[Path], pseudo: PseudoBoxes, settings: TrainSettings
) -> list[LabelledPair]:
    """The pairs with their label maps and boxes."""
    roots = {folder.resolve().name: folder for folder in folders}
    drawn = {name: drawn_boxes(folder) for name, folder in roots.items()}
    chosen = settings.perception
    labelled = []
    for pair in pairs:
        group, name = pair.name.split("/", 1)
        sure = pseudo[pair.name].above(chosen.pseudo_floor)
        by_people = drawn[group].get(name)
        boxes = join_boxes(by_people, sure)
        by_day = matches(pair.name, chosen.day) or is_by_day(pair.rgb_luma, chosen.day_luma)
        mask = read_mask(roots[group], pair, boxes, by_day, doubtful=matches(pair.name, chosen.doubtful_buildings))
        labelled.append(LabelledPair(pair, Labels(mask, boxes), drawn=by_people is not None))
    return labelled


def label_rgb_only(images: Sequence[StoredPair], pseudo: PseudoBoxes, settings: TrainSettings) -> list[LabelledPair]:
    """Images of anything: the boxes are what detectors saw, and outside of them are no people and no vehicles."""
    labelled = []
    for image in images:
        boxes = pseudo[image.name].above(settings.perception.pseudo_floor)
        mask = keep_in_boxes(np.full(image.rgb_luma.shape, UNLABELLED, np.uint8), boxes)
        labelled.append(LabelledPair(image, Labels(mask, boxes), rgb_only=True))
    return labelled


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a pair's name, "set/name", fits one of the patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _scenes() -> list[PairSource]:
    return [open_source(f"{SYNTHETIC}:{condition}", seed=seed) for seed in SYNTHETIC_SEEDS for condition in CONDITIONS]
