"""Masks by SAM: a small one of random weights, since real ones can't be had here; places, weights, errors."""

from __future__ import annotations

import json
import pickle
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from prior_data import stored_pair, write_sam
from safetensors.torch import load_file, save_file

from sage_fusion_ros.errors import ModelError
from sage_fusion_ros.training.priors.cache import find_masks
from sage_fusion_ros.training.priors.choose import load_prior
from sage_fusion_ros.training.priors.point_grid import find_everything
from sage_fusion_ros.training.priors.sam import SamPrior
from sage_fusion_ros.training.priors.sam_model import SamView, load_sam, scaled_size, to_input
from sage_fusion_ros.training.priors.sam_settings import SamSettings

# Random weights are sure of nothing.
ANYTHING = SamSettings(points_per_side=4, points_per_batch=5, predicted_iou=0.0, stability=0.0, least_area=4)
SIDE = 64


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sam(tmp_path_factory.mktemp("sam") / "tiny")


def noise(size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 255, (*size, 3), dtype=np.uint8)


class SpotModel:
    """Answers each point with three spots around it, on a grid a quarter as fine as the input; counts embeddings."""

    config = SimpleNamespace(vision_config=SimpleNamespace(image_size=SIDE))

    def __init__(self) -> None:
        self.inputs: list[torch.Tensor] = []

    def get_image_embeddings(self, pixels: torch.Tensor) -> torch.Tensor:
        self.inputs.append(pixels)
        return pixels.mean(dim=1)

    def __call__(
        self, input_points: torch.Tensor, input_labels: torch.Tensor, image_embeddings: torch.Tensor
    ) -> SimpleNamespace:
        assert input_points.shape == (1, len(input_labels[0]), 1, 2)
        assert (input_labels == 1).all()
        cells = torch.arange(SIDE // 4) * 4 + 2.0
        x, y = input_points[0, :, 0, 0, None, None], input_points[0, :, 0, 1, None, None]
        distance = ((cells - x) ** 2 + (cells[:, None] - y) ** 2).sqrt()
        spots = torch.stack([radius - distance for radius in (8.0, 6.0, 4.0)], dim=1)[None]
        return SimpleNamespace(pred_masks=spots, iou_scores=torch.full((1, len(x), 3), 0.9))


@pytest.mark.parametrize("size", [(64, 64), (30, 50), (50, 30), (300, 200), (16, 128)])
def test_masks_lie_where_the_points_are_in_images_of_any_shape(size: tuple[int, int]) -> None:
    model = SpotModel()
    view = SamView(model, noise(size), torch.device("cpu"))
    points = np.array([[0.25, 0.5], [0.75, 0.25], [0.5, 0.75]]) * (size[1], size[0])
    logits, ious = view.propose(points)
    assert logits.shape == (9, SIDE // 4, SIDE // 4)
    assert ious.shape == (9,)
    large = view.enlarge(logits)
    assert large.shape == (9, *size)
    for index, (x, y) in enumerate(points):
        rows, columns = np.nonzero((large[3 * index] > 0).numpy())
        assert abs(columns.mean() + 0.5 - x) <= 0.04 * max(size)
        assert abs(rows.mean() + 0.5 - y) <= 0.04 * max(size)
        assert (columns.max() - columns.min()) / max(size) == pytest.approx(16 / SIDE, abs=0.08)
    assert len(model.inputs) == 1


def test_each_view_is_embedded_once() -> None:
    model = SpotModel()
    settings = SamSettings(points_per_side=4, points_per_batch=3, least_area=4, stability=0.5, crop_layers=1)
    found = find_everything(noise((60, 90)), lambda view: SamView(model, view, torch.device("cpu")), settings)
    assert len(model.inputs) == 5
    assert found.any(axis=(1, 2)).all()


def test_the_input_is_scaled_normalised_and_padded() -> None:
    assert scaled_size((480, 640), 1024) == (768, 1024)
    assert scaled_size((1, 5000), 1024) == (1, 1024)
    image = np.full((30, 60, 3), (124, 116, 104), np.uint8)
    given = to_input(image, SIDE)
    assert given.shape == (1, 3, SIDE, SIDE)
    expected = (np.array([124, 116, 104]) - (123.675, 116.28, 103.53)) / (58.395, 57.12, 57.375)
    assert np.allclose(given[0, :, :32].amax(dim=(1, 2)), expected, atol=1e-5)
    assert np.allclose(given[0, :, :32].amin(dim=(1, 2)), expected, atol=1e-5)
    assert (given[0, :, 32:] == 0).all()


def test_a_pair_gets_masks_of_each_camera_and_the_same_again(weights: Path) -> None:
    prior = SamPrior(weights, ANYTHING, "cpu")
    rgb = noise((40, 56))
    thermal = rgb[..., 0].copy()
    thermal[10:20] = 255
    first, second = prior.masks("set/001", rgb, thermal), prior.masks("set/001", rgb, thermal)
    for camera in ("rgb", "thermal"):
        masks = getattr(first, camera)
        assert 1 <= len(masks) <= 20
        assert masks.shape[1:] == (40, 56)
        assert (masks.sum(axis=(1, 2)) >= 4).all()
        assert np.array_equal(masks, getattr(second, camera))


def test_the_view_answers_as_the_model_itself(weights: Path) -> None:
    model = load_sam(weights)
    image = noise((32, 32))
    points = np.array([[3.0, 4.0], [20.0, 9.0]])
    logits, ious = SamView(model, image, torch.device("cpu")).propose(points)
    with torch.no_grad():
        asked = torch.tensor(points, dtype=torch.float32)[None, :, None]
        answer = model(pixel_values=to_input(image, 32), input_points=asked)
    assert torch.allclose(logits, answer.pred_masks[0].flatten(0, 1), atol=1e-5)
    assert torch.allclose(ious, answer.iou_scores.flatten(), atol=1e-5)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_sam_s_masks_are_kept_for_the_next_time(weights: Path, tmp_path: Path) -> None:
    pairs = [stored_pair("set/001", size=(24, 30))]
    prior = load_prior(f"sam:{weights}", sam=ANYTHING, device="cpu")
    first = find_masks(pairs, prior, tmp_path)["set/001"]
    (file,) = tmp_path.iterdir()
    stamp = file.stat().st_mtime_ns
    assert np.array_equal(find_masks(pairs, prior, tmp_path)["set/001"].rgb, first.rgb)
    assert file.stat().st_mtime_ns == stamp


def test_the_key_follows_what_decides_the_masks(weights: Path, tmp_path: Path) -> None:
    key = SamPrior(weights, ANYTHING, "cpu").key
    assert key == SamPrior(weights, replace(ANYTHING, points_per_batch=64), "cpu").key
    assert key != SamPrior(weights, replace(ANYTHING, stability=0.1), "cpu").key
    other = write_sam(tmp_path / "other")
    assert key == SamPrior(other, ANYTHING, "cpu").key
    state = load_file(other / "model.safetensors")
    state["mask_decoder.iou_token.weight"] += 1
    save_file(state, other / "model.safetensors", metadata={"format": "pt"})
    assert key != SamPrior(other, ANYTHING, "cpu").key


def test_weights_of_torch_are_the_same_as_those_of_safetensors(weights: Path, tmp_path: Path) -> None:
    other = load_sam(write_sam(tmp_path / "torch", safetensors=False)).state_dict()
    assert all(torch.equal(value, other[name]) for name, value in load_sam(weights).state_dict().items())


class Evil:
    """Would leave a file behind if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_a_pickle_of_more_than_tensors_is_refused_and_not_run(tmp_path: Path, how: str) -> None:
    folder = write_sam(tmp_path / "sam", safetensors=False)
    file, sign = folder / "pytorch_model.bin", tmp_path / "was run"
    if how == "torch":
        torch.save({"weights": Evil(sign)}, file)
    else:
        file.write_bytes(pickle.dumps({"weights": Evil(sign)}, protocol=2))
    with pytest.raises(ModelError, match=r"pytorch_model.bin are refused.*model.safetensors instead"):
        load_sam(folder)
    assert not sign.exists()


def test_folders_that_are_no_sam_are_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config.json can be read in .*nowhere.*give a folder"):
        load_sam(tmp_path / "nowhere")
    config = tmp_path / "config.json"
    config.write_text("{")
    with pytest.raises(ModelError, match="no valid JSON"):
        load_sam(tmp_path)
    config.write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ModelError, match="of the type 'bert', not 'sam'"):
        load_sam(tmp_path)
    config.write_text(json.dumps({"model_type": "sam"}))
    with pytest.raises(ModelError, match="neither model.safetensors nor pytorch_model.bin"):
        load_sam(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "missing", "other shapes"])
def test_damaged_weights_are_refused_and_never_made_up(tmp_path: Path, damage: str) -> None:
    folder = write_sam(tmp_path / "sam")
    file = folder / "model.safetensors"
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    else:
        state = load_file(file)
        name = "mask_decoder.iou_token.weight"
        if damage == "missing":
            del state[name]
        else:
            state[name] = torch.zeros(1, 3)
        save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=f"{folder}.*copy (it|the folder) again"):
        load_sam(folder)


def test_without_transformers_the_extra_is_named(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelError, match=r"SAM needs transformers.*sage_fusion_ros\[sam\]"):
        load_prior(f"sam:{weights}")
