"""The SAGE teacher: its published size, what it gives, what reaches what; and the features of both students."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.networks.registry import build_network, count_parameters
from sage_fusion_ros.networks.sage_fast import SageFast
from sage_fusion_ros.networks.sage_teacher import PARAMETERS, SageTeacher, SemanticPersistentAttention


def images(count: int = 1, height: int = 32, width: int = 48, masks: int = 4) -> tuple[Tensor, ...]:
    """Two images and the masked images of both: the same picture in a stripe each."""
    generator = torch.Generator().manual_seed(3)
    rgb, thermal = torch.rand(2, count, 1, height, width, generator=generator)
    stripes = torch.zeros(1, masks, height, width)
    for i in range(masks):
        stripes[:, i, i * height // masks : (i + 1) * height // masks] = 1
    return rgb, thermal, rgb * stripes, thermal * stripes


def awake(network: nn.Module) -> nn.Module:
    """A network whose transformers are no identities any more, as after some steps of training."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network


def test_the_published_number_of_parameters_less_what_is_fixed_or_never_called() -> None:
    sobel, never_called = 18, 9 * 256 * 64 + 64
    assert count_parameters(SageTeacher()) == PARAMETERS == 2_787_043 - sobel - never_called == 2_639_505


@pytest.mark.parametrize(("height", "width", "billions"), [(192, 256, 112.4), (480, 640, 1546)])
def test_the_published_networks_multiply_adds(height: int, width: int, billions: float) -> None:
    """Measured on the released code; attention grows with the square of the pixels, so two sizes tell layers apart."""
    with torch.device("meta"):
        network, inputs = SageTeacher(), [torch.empty(1, channels, height, width) for channels in (1, 1, 4, 4)]
        with sdpa_kernel(SDPBackend.MATH), torch.no_grad(), FlopCounterMode(display=False) as counter:
            network.features(*inputs)
    assert counter.get_total_flops() / 2e9 == pytest.approx(billions, rel=5e-4)


def test_one_attention_serves_all_five_scales() -> None:
    assert count_parameters(SemanticPersistentAttention(64)) == 752_448  # five transformers, four joining layers
    calls = []
    network = SageTeacher(8)
    network.attention.register_forward_hook(lambda _module, given, _result: calls.append(tuple(given[0].shape[2:])))
    network.features(*images())
    assert calls == [(32, 48), (16, 24), (8, 12), (16, 24), (32, 48)]
    assert sum(isinstance(module, SemanticPersistentAttention) for module in network.modules()) == 1


@pytest.mark.parametrize("student", ["sage", "sage_fast"])
def test_shapes_and_scales_fit_the_students(student: str) -> None:
    channels = build_network(student).feature_channels
    fused, features = SageTeacher(8, masks=2, feature_channels=channels).features(*images(2, masks=2))
    assert fused.shape == (2, 1, 32, 48)
    sizes = [(32, 48), (16, 24), (8, 12), (16, 24), (32, 48)]
    assert [tuple(x.shape) for x in features] == [(2, 32, *size) for size in sizes]


def test_the_width_scales_every_layer() -> None:
    narrow, whole = SageTeacher(16), SageTeacher(64)
    for small, large in zip(narrow.parameters(), whole.parameters(), strict=True):
        ratios = {a / b for a, b in zip(small.shape, large.shape, strict=True) if a != b}
        assert ratios <= {0.25}
    assert count_parameters(narrow) == 174_621


def test_the_picture_is_not_bounded_and_forward_clamps_it() -> None:
    network = SageTeacher(8)
    with torch.no_grad():
        network.picture[-1][0].weight.zero_()
        for bias, shown in ((3.0, 1.0), (-2.0, 0.0)):
            network.picture[-1][0].bias.fill_(bias)
            fused, _ = network.features(*images())
            assert fused.mean().item() == pytest.approx(bias if bias > 0 else 0.01 * bias)
            assert network(*images()).mean().item() == pytest.approx(shown)


def silent(network: nn.Module) -> set[str]:
    """Names of the parameters that the last loss said nothing to."""
    return {name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()}


def test_gradients_reach_every_parameter_from_the_second_step_on() -> None:
    torch.manual_seed(1)
    network = SageTeacher(8)
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    inputs = images()

    def step() -> None:
        optimiser.zero_grad()
        fused, features = network.features(*inputs)
        loss = (fused - inputs[0]).square().mean() + sum(x.square().mean() for x in features)
        loss.backward()

    step()
    # Zero at the start are the weight and bias of each transformer's last projection ("out"): so at the first step all
    # that stands before them in the five transformers hears nothing, and they themselves do.
    names = ("image", "rgb", "thermal", "mask_again", "image_again")
    before = {
        name
        for name, _ in network.named_parameters()
        for one in names
        if name.startswith(f"attention.{one}.") and not name.startswith(f"attention.{one}.out.")
    }
    assert silent(network) == before
    optimiser.step()
    step()
    assert silent(network) == set()


def test_the_image_is_what_the_mask_streams_look_things_up_in() -> None:
    """The persistent repository: with only the image changed, both mask streams change."""
    torch.manual_seed(2)
    attention = awake(SemanticPersistentAttention(8))
    image, other, rgb, thermal = torch.randn(4, 1, 8, 16, 16)
    with torch.no_grad():
        first, second = attention(image, rgb, thermal), attention(other, rgb, thermal)
        for stream in (1, 2):
            assert (first[stream] - second[stream]).abs().max() > 1e-3
        # Not so while the transformers are still identities: nothing else connects the streams.
        fresh = SemanticPersistentAttention(8)
        for stream in (1, 2):
            assert torch.equal(fresh(image, rgb, thermal)[stream], fresh(other, rgb, thermal)[stream])


def test_the_repository_is_shared_and_projected_once_more() -> None:
    torch.manual_seed(3)
    attention = awake(SemanticPersistentAttention(8))
    seen = []
    for name in ("rgb", "thermal", "mask_again", "image_again"):
        getattr(attention, name).register_forward_pre_hook(lambda _module, given: seen.append(given[1]))
    own = []
    for name in ("image", "mask_again"):
        getattr(attention, name).register_forward_hook(lambda _module, _given, result: own.append(result[1]))
    block = attention.rgb.block.attention
    keys = []
    block.to_k.register_forward_pre_hook(lambda _module, given: keys.append(given[0]))
    attention(*torch.randn(3, 1, 8, 16, 16))
    assert [repository is own[0] for repository in seen] == [True, True, True, False]
    assert seen[3] is own[1], "the image looks things up in the repository of the masks"
    assert keys[0] is own[0][0]


def test_masks_and_images_reach_the_picture() -> None:
    network = awake(SageTeacher(8))
    inputs = [x.requires_grad_() for x in images()]
    network.features(*inputs)[0].square().sum().backward()
    assert all(x.grad.abs().max() > 0 for x in inputs)


@pytest.mark.parametrize(("height", "width"), [(40, 48), (48, 40), (35, 50)])
def test_sizes_that_do_not_fit_are_refused(height: int, width: int) -> None:
    with pytest.raises(ParameterError, match=f"given {height}x{width} pixels.*multiples of 16"):
        SageTeacher(8).features(*images(1, height, width))


@pytest.mark.parametrize("wrong", [{"width": 12}, {"width": 0}, {"masks": 0}, {"feature_channels": (32,) * 4}])
def test_widths_masks_and_features_that_can_not_be_had(wrong: dict) -> None:
    with pytest.raises(ParameterError, match="expected a multiple of 8, at least 1, and 5"):
        SageTeacher(**wrong)


def test_fast_features_are_those_of_its_body_and_its_picture() -> None:
    torch.manual_seed(4)
    network = SageFast(channels=16)
    given = []
    for layer in network.body:
        layer.register_forward_hook(lambda _module, _given, result: given.append(result.relu()))
    rgb, thermal = images()[:2]
    fused, features = network.features(rgb, thermal)
    assert network.feature_channels == (16,) * 5
    assert [tuple(x.shape) for x in features] == [(1, 16, 8, 12)] * 5
    chosen = given[0], given[1], given[2], given[4], given[5]
    assert all(torch.equal(x, wanted) for x, wanted in zip(features, chosen, strict=True))
    assert torch.equal(fused.clamp(0, 1), network(rgb, thermal))
    with torch.no_grad():
        network.head.bias[16:32] = 5.0
        assert network.features(rgb, thermal)[0].max() > 1, "not clamped"


def test_both_students_name_the_channels_of_their_features() -> None:
    rgb, thermal = images()[:2]
    for name in ("sage", "sage_fast"):
        network = build_network(name)
        _, features = network.features(rgb, thermal)
        assert tuple(x.shape[1] for x in features) == network.feature_channels
