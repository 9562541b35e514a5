"""Masks on disk: found once for each pair, whatever interrupts it.

A file's name is a hash of the prior's settings and of both images, so masks of another prior, or of an image that has
changed since, are never taken. It appears under that name only when it is whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import secrets
import zipfile
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from sage_fusion_ros.errors import ParameterError, SourceError
from sage_fusion_ros.training.damage import DamageLog
from sage_fusion_ros.training.pairs import StoredPair
from sage_fusion_ros.training.priors.masks import MaskPrior, PackedMasks, PairMasks

_log = logging.getLogger(__name__)
_DAMAGE = (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError)

Progress = Callable[[int, int], None]


def find_masks(
    pairs: Sequence[StoredPair],
    prior: MaskPrior,
    cache: Path | None = None,
    progress: Progress | None = None,
    damage: DamageLog | None = None,
) -> dict[str, PairMasks]:
    """The masks of all pairs, from the cache where it has them.

    What was found before is read first, so that the time left can be told from the rest alone. An interrupt loses the
    pair in work and no other.

    Args:
        pairs: With different names.
        prior: Finds what the cache lacks.
        cache: Folder, made where it is missing; None keeps nothing. A prior without a key keeps nothing either.
        progress: Called with how many are done and how many there are: after the reading, and after each one found.
        damage: Leaves out and lists the pairs whose mask file can't be read, if it is told to; else that is an error.

    Returns:
        Masks by the pair's name; packed, so that a set fits into memory.

    Raises:
        SourceError: A file that masks come from can't be read, or there are pairs and none of them has any mask.
        ParameterError: The cache can't be written.
    """
    damage = damage or DamageLog()
    folder = cache if cache is not None and prior.key else None
    files = {pair.name: folder / f"{_hash(pair, prior.key)}.npz" for pair in pairs} if folder else {}
    found = {pair.name: read for pair in pairs if folder and (read := read_masks(files[pair.name], pair.thermal.shape))}
    done = len(found)
    if progress:
        progress(done, len(pairs))
    for pair in pairs:
        if pair.name in found:
            continue
        masks = damage.attempt(pair.name, partial(prior.masks, pair.name, pair.rgb, pair.thermal))
        if masks is not None:
            found[pair.name] = masks
            if folder:
                write_masks(files[pair.name], masks)
        done += 1
        if progress:
            progress(done, len(pairs))
    if found and prior.name != "none" and not any(map(_any_mask, found.values())):
        raise SourceError(
            f"the prior {prior.name} gave no mask for any of {len(found)} pairs; look whether its files lie beside the "
            "sets and are named as the pairs are, or train with the prior none"
        )
    return {pair.name: found[pair.name] for pair in pairs if pair.name in found}


def read_masks(path: Path, shape: tuple[int, ...]) -> PairMasks | None:
    """What a file of the cache holds; None where there is none, or where it is damaged, which is logged.

    Args:
        path: The file.
        shape: Height and width of the pair.
    """
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            masks = [PackedMasks(stored[camera], shape[1]) for camera in ("rgb", "thermal")]
        if any(each.shape[1] != shape[0] for each in masks):
            raise ValueError("its masks have another height")
    except _DAMAGE as error:
        _log.warning("%s is damaged and is made anew: %s", path, error)
        return None
    return PairMasks.of_packed(*masks)


def write_masks(path: Path, masks: PairMasks) -> None:
    """Writes beside the file first and then takes its place.

    Raises:
        ParameterError: The folder can't be written, or the disk is full. Nothing half-written stays.
    """
    stream = io.BytesIO()
    np.savez_compressed(stream, rgb=masks.packed_rgb.bits, thermal=masks.packed_thermal.bits)
    beside = path.with_name(f"{path.stem}.{secrets.token_hex(4)}.partial")  # several processes may share a cache
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(stream.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise ParameterError(
            f"masks can't be written to {path.parent}: {error.strerror or error}; make room or give another folder. "
            "Those written before are whole and are used again"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def _hash(pair: StoredPair, key: str) -> str:
    digest = hashlib.sha256(key.encode())
    for image in (pair.rgb, pair.thermal):
        digest.update(repr(image.shape).encode())
        digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def _any_mask(masks: PairMasks) -> bool:
    return len(masks.packed_rgb) + len(masks.packed_thermal) > 0
