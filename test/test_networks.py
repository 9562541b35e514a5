"""The networks: their exact shape, what they must not depend on, and folding."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from sage_fusion_ros.errors import ModelError, ParameterError
from sage_fusion_ros.networks.fold import fold_batch_norm
from sage_fusion_ros.networks.registry import build_network, count_parameters
from sage_fusion_ros.networks.sage import PARAMETERS, SageStudent, load_published_student
from sage_fusion_ros.networks.sage_fast import SageFast


def pair(*shape: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator), torch.rand(*shape, generator=generator)


def test_sage_has_the_published_number_of_parameters_and_tensors() -> None:
    network = SageStudent()
    assert count_parameters(network) == PARAMETERS == 135_617
    state = network.state_dict()
    assert len(state) == 121
    assert state["module1.0.weight"].shape == (32, 2, 3, 3)
    assert state["adjust_channels4.0.weight"].shape == (32, 64, 1, 1)
    assert state["final_decoder.0.weight"].shape == (1, 32, 3, 3)
    assert count_parameters(fold_batch_norm(network)) == 134_529


def test_sage_features_have_the_published_scales_at_odd_sizes() -> None:
    with torch.no_grad():
        fused, features = SageStudent().eval().features(*pair(2, 1, 35, 50))
    assert fused.shape == (2, 1, 35, 50)
    sizes = [(35, 50), (17, 25), (8, 12), (17, 25), (35, 50)]
    assert [tuple(x.shape) for x in features] == [(2, 32, *size) for size in sizes]


def test_folding_keeps_the_function() -> None:
    network = SageStudent()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2.0)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.1, 3.0)
    network.eval()
    folded = fold_batch_norm(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    with torch.no_grad():
        inputs = pair(1, 1, 40, 40)
        assert torch.allclose(folded.features(*inputs)[0], network.features(*inputs)[0], atol=2e-5)
    assert isinstance(network.module1[1], nn.BatchNorm2d), "the network itself must stay as it was"


@pytest.mark.parametrize("name", ["sage", "sage_fast"])
def test_output_stays_in_range_and_size(name: str) -> None:
    network = build_network(name).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3.0)
        fused = network(*pair(2, 1, 32, 44))
    assert fused.shape == (2, 1, 32, 44)
    assert fused.min() >= 0
    assert fused.max() <= 1


def test_fast_cells_sort_pixels_as_depth_to_space_expects() -> None:
    network = SageFast()
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias[:16] = 40.0  # blend weight 1: RGB alone
        rgb, thermal = pair(1, 1, 24, 16)
        assert torch.equal(network(rgb, thermal), thermal + (rgb - thermal))
        network.head.bias[:16] = -200.0  # blend weight 0: thermal alone
        assert torch.equal(network(rgb, thermal), thermal)


def test_fast_shifts_with_its_input_by_whole_cells() -> None:
    """No global statistic: away from the borders, a picture moved by four pixels gives the same result moved."""
    network = SageFast().eval()
    rgb, thermal = pair(1, 1, 160, 160)
    with torch.no_grad():
        whole = network(rgb, thermal)
        moved = network(rgb[..., 4:, 8:], thermal[..., 4:, 8:])
    inner = slice(64, 92)
    assert torch.allclose(whole[..., 68:96, 72:100], moved[..., inner, inner], atol=1e-6)


def test_unknown_network_is_refused_by_name() -> None:
    with pytest.raises(ParameterError, match=r"'unet'.*sage, sage_fast"):
        build_network("unet")


def test_published_student_loads_frozen(tmp_path: Path) -> None:
    torch.save(SageStudent().state_dict(), tmp_path / "student.pt")
    teacher = load_published_student(tmp_path / "student.pt")
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


@pytest.mark.parametrize("kind", ["missing", "noise", "other network", "whole object"])
def test_a_file_that_is_no_student_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "teacher.pt"
    if kind == "noise":
        path.write_bytes(b"not a checkpoint")
    elif kind == "other network":
        torch.save(SageFast().state_dict(), path)
    elif kind == "whole object":
        torch.save(SageStudent(), path)
    with pytest.raises(ModelError, match=r"teacher\.pt"):
        load_published_student(path)
