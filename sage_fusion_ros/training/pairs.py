"""The training pairs in memory: read once, as the node would see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.pipeline.thermal import ThermalNormaliser
from sage_fusion_ros.sources.boxes import BOXES_FILE, read_boxes
from sage_fusion_ros.sources.images import SUFFIXES, read_rgb, read_thermal, single_channel
from sage_fusion_ros.sources.layouts import find_pairs
from sage_fusion_ros.sources.open import open_source
from sage_fusion_ros.sources.split import SplitSettings, training_names
from sage_fusion_ros.sources.street.conditions import CONDITIONS
from sage_fusion_ros.training.damage import DamageLog

SYNTHETIC = "synthetic"
SYNTHETIC_SEEDS = (101, 102, 103)  # streets of their own: the demo's and the tests' is that of seed 0
_SYNTHETIC_INDICES = (0, 40, 80, 120)
_VIDEO_FOLDERS = (("visible", "infrared"), ("rgb", "thermal"))
_LARGEST_RGB_ONLY = 1280  # pixels of the longer side
_VIDEO_SUFFIXES = (".mp4", ".mkv", ".avi", ".mov")
Grey = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class StoredPair:
    """A pair in memory, all images of one size.

    Attributes:
        name: "set/name".
        rgb: uint8 HxWx3, RGB.
        rgb_luma: uint8 HxW, BT.601.
        thermal: uint8 HxW, normalised.
        boxed: Whether people have drawn boxes in it; such pairs can judge.
    """

    name: str
    rgb: Grey
    rgb_luma: Grey
    thermal: Grey
    boxed: bool = False


def load_pairs(
    roots: Sequence[Path], split: SplitSettings, video_stride: int, damage: DamageLog | None = None
) -> list[StoredPair]:
    """Reads every pair that may be trained on.

    Args:
        roots: Folders of pairs, or of two folders of videos with equal names, or "synthetic" for the synthetic scene.
        split: What to leave out.
        video_stride: Every how many frames of a video one is taken.
        damage: Leaves out and lists what can't be read, if it is told to; without it that is an error.

    Raises:
        SourceError: A folder holds nothing, an image can't be read, or nothing is left to train on.
    """
    damage = damage or DamageLog()
    pairs: dict[str, StoredPair] = {}
    if Path(SYNTHETIC) in map(Path, roots):
        pairs.update(_load_synthetic())
    for root in (Path(root).resolve() for root in roots if Path(root) != Path(SYNTHETIC)):
        videos = _find_videos(root)
        found = _load_videos(root, videos, split, video_stride, damage) if videos else _load_images(root, split, damage)
        pairs.update(found)
    if not pairs:
        reason = "the split of the settings leaves every pair out"
        if damage.entries:
            reason = f"the split of the settings leaves out every pair that can be read ({damage.entries[0]})"
        raise SourceError(f"nothing to train on in {', '.join(map(str, roots))}: {reason}")
    return [pairs[name] for name in sorted(pairs)]


def _load_images(root: Path, split: SplitSettings, damage: DamageLog) -> dict[str, StoredPair]:
    paths = {f"{root.name}/{pair.name}": pair for pair in find_pairs(root).pairs}
    boxes = root / BOXES_FILE
    boxed = {Path(image.file_name).stem for image in read_boxes(boxes)} if boxes.is_file() else set()

    def load(name: str) -> StoredPair:
        try:
            rgb, thermal = read_rgb(paths[name].rgb), read_thermal(paths[name].thermal)
        except SourceError as error:
            raise SourceError(f"{error}; repair the file, or remove the pair from the set") from error
        return _store(name, rgb, thermal, Path(name).name in boxed)

    loaded = {}
    for name in training_names(list(paths), split):
        pair = damage.attempt(name, partial(load, name))
        if pair is not None:
            loaded[name] = pair
    return loaded


def load_rgb_only(root: Path) -> list[StoredPair]:
    """Every image below a folder, as a pair whose thermal image is blank; large ones are halved, or more.

    Raises:
        SourceError: There is none, or one can't be read.
    """
    root = root.resolve()
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise SourceError(f"'{root}' holds no images ({', '.join(sorted(SUFFIXES))})")
    images = []
    for path in files:
        rgb = read_rgb(path)
        while max(rgb.shape) > _LARGEST_RGB_ONLY:
            rgb = np.asarray(cv2.resize(rgb, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
        name = f"{root.name}/{path.relative_to(root).as_posix()}"
        images.append(_store(name, rgb, np.zeros(rgb.shape[:2], np.uint8)))
    return images


def _load_synthetic() -> dict[str, StoredPair]:
    """A few moments of several streets under every condition: strong thermal edges before a cold sky, smoke, glare."""
    pairs = {}
    for seed in SYNTHETIC_SEEDS:
        for condition in CONDITIONS:
            source = open_source(f"{SYNTHETIC}:{condition}", seed=seed)
            for pair in map(source.read, _SYNTHETIC_INDICES):
                name = f"{SYNTHETIC}/{condition}-{seed}-{pair.index}"
                pairs[name] = _store(name, pair.rgb, pair.thermal)
            source.close()
    return pairs


def _find_videos(root: Path) -> dict[str, tuple[Path, Path]]:
    """Videos of equal stem in visible/ and infrared/ (or rgb/ and thermal/), by name."""
    for rgb, thermal in _VIDEO_FOLDERS:
        files = {path.stem: path for path in sorted((root / rgb).glob("*")) if path.suffix.lower() in _VIDEO_SUFFIXES}
        partners = {path.stem: path for path in sorted((root / thermal).glob("*"))}
        found = {f"{root.name}/{s}": (files[s], partners[s]) for s in files if s in partners}
        if found:
            return found
    return {}


def _load_videos(
    root: Path, videos: dict[str, tuple[Path, Path]], split: SplitSettings, stride: int, damage: DamageLog
) -> dict[str, StoredPair]:
    pairs = {}
    for name in training_names(list(videos), split):
        pairs.update(damage.attempt(name, partial(_load_video, name, videos[name], stride)) or {})
    return pairs


def _load_video(name: str, paths: tuple[Path, Path], stride: int) -> dict[str, StoredPair]:
    pairs = {}
    captures = [cv2.VideoCapture(str(path)) for path in paths]
    index = 0
    try:
        while all(capture.grab() for capture in captures):
            if index % stride == 0:
                (rgb_ok, bgr), (thermal_ok, thermal) = (capture.retrieve() for capture in captures)
                if rgb_ok and thermal_ok:
                    frame = f"{name}/{index:06d}"
                    grey = single_channel(thermal, str(paths[1]))
                    pairs[frame] = _store(frame, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), grey)
            index += 1
    finally:
        for capture in captures:
            capture.release()
    if index == 0:
        raise SourceError(f"the videos {paths[0]} and {paths[1]} have no frame that can be read; repair or remove them")
    return pairs


def _store(name: str, rgb: Grey, thermal: npt.NDArray[np.generic], boxed: bool = False) -> StoredPair:
    thermal8 = ThermalNormaliser()(thermal)
    height, width = rgb.shape[:2]
    if thermal8.shape != (height, width):
        thermal8 = cv2.resize(thermal8, (width, height), interpolation=cv2.INTER_LINEAR)
    return StoredPair(name, rgb, cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), thermal8, boxed)


def chances(names: Sequence[str]) -> npt.NDArray[np.float64]:
    """Chance of each pair: a set of n pairs gets the weight sqrt(n), so that small sets are seen too."""
    sets = [name.split("/")[0] for name in names]
    shares = np.array([1 / np.sqrt(sets.count(name)) for name in sets])
    return shares / shares.sum()
