"""The imported published student against the authors' own pictures. -rP prints the figures of docs/colour.md."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sage_fusion_ros.engines.card import read_card
from sage_fusion_ros.pipeline.fuse import load_fuser
from sage_fusion_ros.pipeline.network import NetworkOptions
from sage_fusion_ros.pipeline.thermal import ThermalNormaliser
from sage_fusion_ros.sources.images import read_rgb, read_thermal
from sage_fusion_ros.training.import_sage import import_sage

PAIRS = tuple(f"{number:05d}.png" for number in range(6))


@pytest.fixture(scope="module")
def official(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    checkpoint = shared_data.parent / "weights" / "sage_official_student.pt"
    if not checkpoint.is_file():
        pytest.skip("no shared data beside the project: the published student's weights")
    folder = tmp_path_factory.mktemp("models") / "sage_official"
    import_sage(checkpoint, folder)
    return folder


def differences(model: Path, colour: str, root: Path) -> list[np.ndarray]:
    """Grey levels between our picture and the authors', uint8 HxWx3 each, read as `sage-fusion fuse` reads them."""
    fuser = load_fuser(model, NetworkOptions(device="cpu", threads=1, warm_up_size=(64, 64)), colour=colour)
    apart = []
    for name in PAIRS:
        thermal = ThermalNormaliser()(read_thermal(root / "ir" / name))
        ours = fuser.fuse(read_rgb(root / "vi" / name), thermal).astype(np.int16)
        apart.append(np.abs(ours - read_rgb(root / "fused" / name)).astype(np.uint8))
    fuser.close()
    return apart


def test_it_is_the_published_checkpoint(official: Path) -> None:
    training = read_card(official).training
    assert training["checkpoint_is_the_published_one"] is True


@pytest.mark.parametrize(("colour", "most", "mean"), [("published", 1, 1e-4), ("standard", 2, 0.8)])
def test_six_pairs_against_the_authors_pictures(
    official: Path, shared_data: Path, colour: str, most: int, mean: float
) -> None:
    apart = differences(official, colour, shared_data / "sage_golden")
    for name, each in zip(PAIRS, apart, strict=True):
        share = [100 * float((each > level).mean()) for level in (0, 1)]
        print(f"{colour} {name}: max {each.max()}, mean {each.mean():.5f}, off {share[0]:.4f} %, >1 {share[1]:.4f} %")
    assert max(each.max() for each in apart) <= most
    assert max(each.mean() for each in apart) <= mean
