"""The cache of masks: resumed after an interrupt, never stale, whole after a full disk."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prior_data import CountingPrior, stored_pair

from sage_fusion_ros.errors import ParameterError, SourceError
from sage_fusion_ros.training.damage import DamageLog
from sage_fusion_ros.training.priors.cache import find_masks
from sage_fusion_ros.training.priors.choose import load_prior
from sage_fusion_ros.training.priors.masks import Grey, PairMasks

PAIRS = [stored_pair(f"set/{index:03d}", level=40 + 20 * index) for index in range(4)]
NAMES = [pair.name for pair in PAIRS]


def test_masks_are_found_once_and_come_back_equal(tmp_path: Path) -> None:
    first = find_masks(PAIRS, CountingPrior(), tmp_path)
    prior, seen = CountingPrior(), []
    second = find_masks(PAIRS, prior, tmp_path, lambda *progress: seen.append(progress))
    assert prior.asked == []
    assert seen == [(4, 4)]
    assert list(first) == NAMES
    for name in NAMES:
        assert first[name].rgb.any()
        assert np.array_equal(first[name].rgb, second[name].rgb)
        assert np.array_equal(first[name].thermal, second[name].thermal)


def test_an_interrupt_loses_the_pair_in_work_and_no_other(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        find_masks(PAIRS, CountingPrior(stop_at=NAMES[2]), tmp_path)
    prior, seen = CountingPrior(), []
    found = find_masks([PAIRS[2], *PAIRS[:2], PAIRS[3]], prior, tmp_path, lambda *progress: seen.append(progress))
    assert prior.asked == NAMES[2:]
    assert list(found) == [NAMES[2], *NAMES[:2], NAMES[3]]
    assert seen == [(2, 4), (3, 4), (4, 4)]


def test_another_image_or_other_settings_are_never_answered_from_the_cache(tmp_path: Path) -> None:
    find_masks(PAIRS, CountingPrior(), tmp_path)
    changed = [replace(PAIRS[0], rgb=PAIRS[0].rgb + 30), replace(PAIRS[1], thermal=PAIRS[1].thermal + 1), *PAIRS[2:]]
    prior = CountingPrior()
    found = find_masks(changed, prior, tmp_path)
    assert prior.asked == NAMES[:2]
    assert found[NAMES[0]].rgb.sum() == 7 * 24
    other = CountingPrior(key="other settings")
    find_masks(PAIRS, other, tmp_path)
    assert other.asked == NAMES


@pytest.mark.parametrize("damage", ["cut", "text", "other arrays", "pickle", "other size"])
def test_a_damaged_file_is_said_and_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    whole = find_masks(PAIRS[:1], CountingPrior(), tmp_path)[NAMES[0]]
    (file,) = tmp_path.iterdir()
    data = file.read_bytes()
    if damage == "cut":
        file.write_bytes(data[: len(data) // 2])
    elif damage == "text":
        file.write_text("not an archive")
    else:
        arrays = {
            "other arrays": {"rgb": np.zeros((1, 24, 4), np.uint8)},
            "pickle": {"rgb": np.array([{}], object), "thermal": np.array([{}], object)},
            "other size": dict.fromkeys(("rgb", "thermal"), np.zeros((1, 5, 4), np.uint8)),
        }[damage]
        with file.open("wb") as stream:
            np.savez(stream, **arrays)
    prior = CountingPrior()
    with caplog.at_level(logging.WARNING):
        found = find_masks(PAIRS[:1], prior, tmp_path)[NAMES[0]]
    assert prior.asked == NAMES[:1]
    assert np.array_equal(found.rgb, whole.rgb)
    assert [file.name in record.getMessage() for record in caplog.records] == [True]
    assert "made anew" in caplog.text
    find_masks(PAIRS[:1], prior, tmp_path)
    assert prior.asked == NAMES[:1]  # made anew once


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from prior_data import stored_pair
import numpy as np
from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.training.priors.cache import find_masks
from sage_fusion_ros.training.priors.masks import PairMasks

class Prior:
    name, key = "noise", "noise"
    def masks(self, name, rgb, thermal):
        count = int(name[-1])
        masks = np.random.default_rng(count).random((count, *thermal.shape)) > 0.5
        return PairMasks(masks, masks)

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as on a full disk, writing fails instead
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    find_masks([stored_pair(f"set/{i}") for i in (1, 9)], Prior(), Path(sys.argv[2]))
except ParameterError as error:
    print(error)
"""


def test_a_full_disk_leaves_the_earlier_masks_whole(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(Path(__file__).parent), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"masks can't be written to {tmp_path}: File too large; make room" in done.stdout
    (file,) = tmp_path.iterdir()  # the first pair's, and nothing half-written
    with np.load(file) as stored:
        assert stored["rgb"].shape == (1, 24, 4)


def test_a_folder_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ParameterError, match=r"masks can't be written to .*file/cache"):
        find_masks(PAIRS, CountingPrior(), tmp_path / "file" / "cache")


class MissingPrior(CountingPrior):
    """Can't read what the second pair needs."""

    def masks(self, name: str, rgb: Grey, thermal: Grey) -> PairMasks:
        if name == NAMES[1]:
            raise SourceError("mask 001.png can't be read: cut off")
        return super().masks(name, rgb, thermal)


def test_a_damaged_source_is_an_error_or_left_out_and_listed(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="001.png can't be read"):
        find_masks(PAIRS, MissingPrior(), tmp_path)
    damage = DamageLog(skip=True)
    found = find_masks(PAIRS, MissingPrior(), tmp_path, damage=damage)
    assert list(found) == [NAMES[0], *NAMES[2:]]
    assert len(damage.lines()) == 2
    assert NAMES[1] in damage.lines()[1]


def test_a_prior_that_depends_on_other_files_keeps_nothing(tmp_path: Path) -> None:
    find_masks(PAIRS, CountingPrior(key=""), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_prior_that_never_finds_anything_is_an_error_and_none_is_not(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="labels:maps gave no mask for any of 4 pairs"):
        find_masks(PAIRS, load_prior("labels:maps", [tmp_path]))
    assert not find_masks(PAIRS, load_prior("none"))[NAMES[0]].rgb.any()
