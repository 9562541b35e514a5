"""The perception network: its shapes, its file, and that both heads can be exported and read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from sage_fusion_ros.errors import ModelError
from sage_fusion_ros.networks.perception import STRIDES, Perception, cell_centres, corners_of
from sage_fusion_ros.networks.registry import build_network, count_parameters
from sage_fusion_ros.training.onnx_file import check_against_torch, write_onnx


@pytest.fixture
def network() -> Perception:
    torch.manual_seed(0)
    return Perception().eval()


@pytest.mark.parametrize(("height", "width"), [(64, 96), (160, 32)])
def test_shapes_follow_the_image(network: Perception, height: int, width: int) -> None:
    mask, boxes = network(torch.rand(2, 3, height, width))
    cells = sum((height // stride) * (width // stride) for stride in STRIDES)
    assert mask.shape == (2, 19, height // 4, width // 4)
    assert boxes.shape == (2, 10, cells)
    assert (boxes[:, 2:4] >= 0).all()
    assert ((boxes[:, 4:] >= 0) & (boxes[:, 4:] <= 1)).all()


def test_it_is_small(network: Perception) -> None:
    assert count_parameters(build_network("perception")) == count_parameters(network) < 3_000_000


def test_cells_lie_level_by_level_and_row_by_row() -> None:
    centres = cell_centres(32, 64, torch.zeros(1))
    assert centres[:2].tolist() == [[4, 4], [12, 4]]
    assert centres[8].tolist() == [4, 12]
    assert centres[32].tolist() == [8, 8]
    assert centres[-1].tolist() == [48, 16]
    corners = corners_of(torch.tensor([[[1.0, 2.0, 3.0, 4.0]]]), torch.tensor([[10.0, 20.0]]))
    assert corners.tolist() == [[[9, 18, 13, 24]]]


def test_boxes_are_the_decoded_heads(network: Perception) -> None:
    image = torch.rand(1, 3, 64, 64)
    _, boxes = network(image)
    _, distances, logits, centres = network.heads(image)
    corners = corners_of(distances, centres)
    x, y, width, height = boxes[0, :4]
    rebuilt = torch.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], dim=1)
    torch.testing.assert_close(rebuilt, corners[0], rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(boxes[0, 4:].T, logits[0].sigmoid())


def test_the_file_equals_the_network_at_every_size(network: Perception, tmp_path: Path) -> None:
    write_onnx(network, tmp_path / "model.onnx")
    assert check_against_torch(network, tmp_path / "model.onnx") < 1e-4
    with pytest.raises(ModelError, match="differs from the network by"):
        check_against_torch(Perception().eval(), tmp_path / "model.onnx")


def test_a_file_with_a_fixed_size_takes_that_size_alone(network: Perception, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_onnx(network, path, (64, 96))
    assert check_against_torch(network, path, size=(64, 96)) < 1e-4
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == [1, 3, 64, 96]
    assert [output.shape for output in session.get_outputs()] == [[1, 19, 16, 24], [1, 10, 96 + 24 + 6]]
    with pytest.raises(Exception, match="dimensions"):
        session.run(None, {"image": np.zeros((1, 3, 64, 64), np.float32)})
