"""Pictures for the page: a pair as every contender shows it, and zoomed crops of what differs most between them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import ImageFormatError, SourceError
from sage_fusion_ros.evaluation.comparison.contenders import SOURCES, Contender, load_pair, luma_of
from sage_fusion_ros.evaluation.comparison.measures import PairResult, Skip
from sage_fusion_ros.evaluation.comparison.sets import Item
from sage_fusion_ros.evaluation.run_report import spread

# Left out of the pictures: nobody judges by it, and every picture costs room.
UNSEEN = ("average",)
VIEW_WIDTH = 1024
JPEG_QUALITY = 90
CROP_SHARE, CROP_MIN, CROP_MAX = 0.25, 48, 144
CROPS = (
    "Where they differ most in brightness",
    "Where they differ most in detail",
    "Where one shows most detail that neither camera has",
)
DETAIL_SIGMA, CONTRAST_WINDOW, NOISE_LEVELS = 4.0, 15, 2.0

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Crop:
    """A square that is shown enlarged.

    Attributes:
        what: What is to be seen there; one of CROPS.
        box: Left, top, width and height in pixels.
        views: Its PNG as a data URL by contender.
    """

    what: str
    box: tuple[int, int, int, int]
    views: dict[str, str]


@dataclass
class PictureResult:
    """The pictures of one pair.

    Attributes:
        item: The pair.
        bright: See LoadedPair.
        size: Width and height in pixels.
        views: Its JPEG as a data URL by contender, RGB and thermal first.
        crops: The squares that differ most.
        skipped: What could not be done, as (name, reason).
    """

    item: Item
    bright: bool = True
    size: tuple[int, int] = (0, 0)
    views: dict[str, str] = field(default_factory=dict)
    crops: list[Crop] = field(default_factory=list)
    skipped: list[Skip] = field(default_factory=list)


def choose_pairs(results: Sequence[PairResult], count: int) -> list[PairResult]:
    """Pairs to show: the sets in turn, in each of them dark and bright ones in turn, evenly spread over either.

    Args:
        results: All pairs that were scored.
        count: How many to choose at most.

    Returns:
        Sorted by set and name.
    """
    groups: dict[str, dict[bool, list[PairResult]]] = {}
    for result in sorted(results, key=lambda result: result.item.key):
        groups.setdefault(result.item.set_name, {}).setdefault(result.bright, []).append(result)
    shares = {(name, bright): 0 for name, halves in groups.items() for bright in halves}
    for _ in range(min(count, len(results))):
        # Of the sets with pairs left, the one with the fewest pictures so far; of dark and bright, likewise.
        left = [key for key, share in shares.items() if share < len(groups[key[0]][key[1]])]
        taken = {name: sum(share for key, share in shares.items() if key[0] == name) for name in groups}
        shares[min(left, key=lambda key: (taken[key[0]], shares[key], key[1]))] += 1
    chosen = [
        groups[name][bright][index]
        for (name, bright), share in shares.items()
        for index in spread(len(groups[name][bright]), share)
    ]
    return sorted(chosen, key=lambda result: result.item.key)


def make_pictures(item: Item, contenders: Mapping[str, Contender]) -> PictureResult:
    """Fuses a pair anew and encodes what people are to look at."""
    result = PictureResult(item)
    try:
        pair = load_pair(item)
    except SourceError as error:
        result.skipped.append((item.key, str(error)))
        return result
    images = {}
    for name in (*SOURCES, *(name for name in contenders if name not in (*SOURCES, *UNSEEN))):
        try:
            images[name] = contenders[name].fuse(pair).rgb
        except (SourceError, ImageFormatError):
            continue  # measuring the pair has named it
    height, width = pair.luma.shape
    result.size, result.bright = (width, height), pair.bright
    result.views = {name: data_url(shrunk(image), ".jpg") for name, image in images.items()}
    fused = [image for name, image in images.items() if name not in SOURCES]
    for what, (left, top, side) in find_differences(fused, [images[name] for name in SOURCES]) if fused else ():
        views = {name: data_url(image[top : top + side, left : left + side], ".png") for name, image in images.items()}
        result.crops.append(Crop(what, (left, top, side, side), views))
    return result


def find_differences(
    fused: Sequence[npt.NDArray[np.uint8]], sources: Sequence[npt.NDArray[np.uint8]]
) -> list[tuple[str, tuple[int, int, int]]]:
    """Squares worth a closer look, none of which overlap: the most telling one of each kind in CROPS.

    Args:
        fused: Fused images of one scene, uint8 HxWx3.
        sources: The RGB and the thermal image, likewise.

    Returns:
        What is to be seen there, and left, top and side in pixels.
    """
    height, width = sources[0].shape[:2]
    side = int(np.clip(min(height, width) * CROP_SHARE, min(CROP_MIN, height, width), CROP_MAX))
    soft, fine = zip(*(_split(image) for image in fused), strict=True)
    contrast = np.max([_contrast(_split(image)[1]) for image in sources], axis=0)
    # Relative to what the sources show: noise in a sky weighs more than a wall that came out a little crisper.
    added = np.max([(_contrast(image) - contrast) / (contrast + NOISE_LEVELS) for image in fine], axis=0)
    maps = (np.std(soft, axis=0), np.std(fine, axis=0), np.maximum(added, 0))
    found: list[tuple[str, tuple[int, int, int]]] = []
    for what, image in zip(CROPS, maps, strict=True):
        scores = _square_means(image, side)
        for _, (left, top, _) in found:
            scores[max(0, top - side + 1) : top + side, max(0, left - side + 1) : left + side] = -1
        top, left = np.unravel_index(int(scores.argmax()), scores.shape)
        if scores[top, left] > 0:
            found.append((what, (int(left), int(top), side)))
    return found


def _split(rgb: npt.NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Luma without its detail, and the detail."""
    luma = luma_of(rgb).astype(np.float32)
    soft = np.asarray(cv2.GaussianBlur(luma, (0, 0), DETAIL_SIGMA), np.float32)
    return soft, luma - soft


def _contrast(fine: Floats) -> Floats:
    """Standard deviation of the detail around each pixel."""
    # Box sums run along and carry rounding: over a black area the mean of squares can come out below zero.
    return np.sqrt(np.maximum(cv2.blur(fine * fine, (CONTRAST_WINDOW, CONTRAST_WINDOW)), 0))


def _square_means(image: Floats, side: int) -> Floats:
    """Mean of each square of `side` pixels, at its top left corner."""
    sums = cv2.integral(image, sdepth=cv2.CV_64F)
    total = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return np.asarray(total / side**2, np.float32)


def shrunk(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """An image no wider than the page shows it."""
    height, width = image.shape[:2]
    if width <= VIEW_WIDTH:
        return image
    size = VIEW_WIDTH, max(1, round(height * VIEW_WIDTH / width))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def data_url(rgb: npt.NDArray[np.uint8], suffix: str) -> str:
    """An RGB image as a data URL: ".jpg" of quality 90, or ".png"."""
    kind, options = ("jpeg", [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]) if suffix == ".jpg" else ("png", [])
    _, data = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    return f"data:image/{kind};base64," + base64.b64encode(data.tobytes()).decode("ascii")
