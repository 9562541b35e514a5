"""Figures that others measured: baselines of the validation pairs, workbooks of nine methods, the official outputs."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import openpyxl
import pytest

from sage_fusion_ros.evaluation.metrics.edges import qabf
from sage_fusion_ros.evaluation.metrics.oracle import TOLERANCES
from sage_fusion_ros.evaluation.metrics.profiles import score

SIX = ("EN", "SD", "SF", "AG", "SCD", "Qabf")
METHODS = ("DenseFuse", "RFN-Nest", "FusionGAN", "SeAFusion", "PIAFusion", "IFCNN", "PMGI", "SDNet", "U2Fusion")
PAIRS = range(10, 17)

# Mean over the six official outputs: MI in bits, sums over both sources but for SSIM, the mean of the two.
GOLDEN = {"EN": 6.993, "SD": 36.21, "SF": 14.63, "MI": 2.611, "SCD": 1.783, "VIF": 0.781, "Qabf": 0.670, "SSIM": 0.740}
GOLDEN_FORWARD_AG = 5.602


def read_grey(path: Path) -> np.ndarray:
    """Grey as the baselines take it: colour is decoded first, since a JPEG's own luma plane differs by a level."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert image is not None, path
    return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)


def source_of(rgb: Path) -> Path:
    folder = rgb.parents[1] / "ir"
    return next(path for path in (folder / f"{rgb.stem}{suffix}" for suffix in (".png", ".jpg")) if path.is_file())


@pytest.mark.parametrize("group", ["roadscene", "msrs", "m3fd", "sage_golden", "m3svd_frames"])
def test_average_and_maximum_score_as_in_the_baselines(shared_data, group) -> None:
    images = json.loads((shared_data / "fusion_baselines.json").read_text())["images"][group]
    for name, rows in images.items():
        rgb, thermal = read_grey(shared_data / name), read_grey(source_of(shared_data / name))
        average = ((rgb.astype(np.uint16) + thermal + 1) // 2).astype(np.uint8)  # halves are rounded up there
        for row, fused in (("average", average), ("maximum", np.maximum(rgb, thermal))):
            values = score(rgb, thermal, fused, "standard", SIX)
            # Four decimals are given. For equal strengths Qabf's ratio is the strength there and 1 in our standard.
            assert values == pytest.approx(rows[row], abs=5.1e-4, rel=0), (name, row)
            values["Qabf"] = qabf(rgb, thermal, fused, equal_is_its_strength=True)
            assert values == pytest.approx(rows[row], abs=5.1e-5, rel=0), (name, row)


@pytest.fixture(scope="module")
def oracle_images(shared_data) -> dict[tuple[str, int], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    root = shared_data / "metric_oracle"
    return {
        (method, pair): tuple(
            cv2.imread(str(root / folder / f"{pair}.png"), cv2.IMREAD_UNCHANGED)
            for folder in ("vi", "ir", f"fused/{method}_TNO")
        )
        for method in METHODS
        for pair in PAIRS
    }


def read_sheet(workbook: Path, metric: str) -> dict[tuple[str, int], float]:
    """The cells of one sheet by method and pair: the second row names the methods, and pair 1 is in the third."""
    book = openpyxl.load_workbook(workbook, read_only=True, data_only=True)
    rows = list(book[metric].iter_rows(values_only=True))
    book.close()
    return {
        (method, pair): rows[1 + pair][column]
        for column, method in enumerate(rows[1])
        if method is not None
        for pair in PAIRS
    }


@pytest.mark.parametrize("metric", TOLERANCES)
def test_oracle_profile_gives_every_cell_of_the_workbooks(shared_data, oracle_images, metric) -> None:
    cells = read_sheet(shared_data / "metric_oracle" / "Metric_TNO.xlsx", metric)
    assert set(cells) == set(oracle_images)
    differences = {
        key: abs(score(rgb, thermal, fused, "oracle", (metric,))[metric] - cells[key])
        for key, (rgb, thermal, fused) in oracle_images.items()
    }
    assert max(differences.values()) <= TOLERANCES[metric]
    for method, pair in differences:
        if method != "SeAFusion" or pair < 13:
            assert differences[method, pair] < 1e-8, (method, pair)


@pytest.mark.parametrize("metric", TOLERANCES)
def test_both_workbooks_say_the_same_of_seafusion(shared_data, metric) -> None:
    one = read_sheet(shared_data / "metric_oracle" / "Metric_SeAFusion.xlsx", metric)
    other = read_sheet(shared_data / "metric_oracle" / "Metric_TNO.xlsx", metric)
    assert one == {key: cell for key, cell in other.items() if key[0] == "SeAFusion"}


def test_official_outputs_score_as_measured_before(shared_data) -> None:
    root = shared_data / "sage_golden"
    scores, forward = [], []
    for path in sorted((root / "fused").iterdir()):
        rgb, thermal, fused = (read_grey(root / folder / path.name) for folder in ("vi", "ir", "fused"))
        scores.append(score(rgb, thermal, fused, "standard"))
        across, down = np.diff(fused.astype(float))[:-1], np.diff(fused.astype(float), axis=0)[:, :-1]
        forward.append(np.sqrt((across**2 + down**2) / 2).mean())
    assert len(scores) == 6
    means = {name: np.mean([values[name] for values in scores]) for name in scores[0]}
    means["SSIM"] /= 2
    for name, expected in GOLDEN.items():
        # One unit of the last digit given.
        assert means[name] == pytest.approx(expected, abs=0.01 if name in ("SD", "SF") else 0.001), name
    # That table took forward differences; the profile's central ones are a sixth lower.
    assert np.mean(forward) == pytest.approx(GOLDEN_FORWARD_AG, abs=5.1e-4)
    assert means["AG"] == pytest.approx(4.6422, rel=0.002)
