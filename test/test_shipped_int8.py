"""The int8 files that are shipped: whole, as near to fp32 as their cards say, and not calibrated on what judges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from sage_fusion_ros.engines.models import find_model, variant
from sage_fusion_ros.evaluation.precision_loss import fusion_loss, perception_loss
from sage_fusion_ros.pipeline.fuse import load_fuser
from sage_fusion_ros.sources.samples import Sample, draw_samples
from sage_fusion_ros.sources.split import SplitSettings

FUSION = ("sage", "sage_fast")
LEAST = {"psnr_db": 39.0, "mask_agreement": 0.97, "box_agreement": 0.9}


@pytest.fixture(scope="module")
def kept_out(shared_data: Path) -> list[Sample]:
    """A pair of each set that no model was trained with."""
    roots = [shared_data / name for name in ("roadscene", "msrs", "m3fd")]
    return draw_samples(roots, SplitSettings(every_fifth=("roadscene", "msrs", "m3fd")), 1, 3, 0)[1]


@pytest.mark.parametrize("name", [*FUSION, "perception"])
def test_the_card_vouches_for_it(name: str) -> None:
    model = find_model(name, task=None)
    made = model.card.variants["int8"].made
    figures = made["against_fp32"]
    assert all(figures[key] >= least for key, least in LEAST.items() if key in figures)
    assert figures.keys() & LEAST.keys()
    assert made["judged_on"]["of_these_calibrated_on"] == 0
    tensors = onnx.load(variant(model, "int8").path).graph.initializer
    kernels = [array for array in map(numpy_helper.to_array, tensors) if array.dtype == np.int8 and array.ndim == 4]
    assert len(kernels) >= 7
    # Seven bits: right on processors without integer dot products, too.
    assert max(int(np.abs(kernel.astype(int)).max()) for kernel in kernels) <= 64


@pytest.mark.parametrize("name", FUSION)
def test_fused_images_are_near_on_pairs_kept_out(name: str, kept_out: list[Sample]) -> None:
    found = fusion_loss(find_model(name).path.parent, kept_out, lambda: None)
    assert found["psnr_db"] >= LEAST["psnr_db"]


def test_masks_and_boxes_are_near_on_pairs_kept_out(kept_out: list[Sample]) -> None:
    fuser = load_fuser("sage_fast")
    fused = [Sample(each.name, fuser.fuse(each.rgb, each.thermal), each.thermal) for each in kept_out]
    fuser.close()
    found = perception_loss(find_model("perception", task=None).path.parent, fused, lambda: None)
    assert found["mask_agreement"] >= LEAST["mask_agreement"]
    assert found["box_agreement"] >= LEAST["box_agreement"]
