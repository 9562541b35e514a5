"""The one-step unrolled gradient against the exact one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call

from sage_fusion_ros.training.bilevel import held, hypergradient


def gradients(networks: Sequence[nn.Module], terms: Callable[[], dict[str, Tensor]]) -> dict[str, float]:
    """One batch, one process."""
    for network in networks:
        network.zero_grad(set_to_none=True)
    values = terms()
    torch.stack(list(values.values())).sum().backward()
    return {name: float(value.detach()) for name, value in values.items()}


class Point(nn.Module):
    """A vector."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.at = nn.Parameter(values)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.floats(0.001, 0.5))
def test_it_is_exact_for_a_quadratic(seed: int, rate: float) -> None:
    """L_l = |A l - B u|^2 / 2 and L_u = |l - c|^2 / 2 + |u - d|^2 / 2, whose gradients are written down by hand."""
    torch.manual_seed(seed)
    a, b = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    c, d = torch.randn(3, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    upper, lower = Point(torch.randn(4, dtype=torch.float64)), Point(torch.randn(3, dtype=torch.float64))
    hypergradient(
        upper,
        lower,
        lambda: {"far": ((lower.at - c) ** 2).sum() / 2 + ((upper.at - d) ** 2).sum() / 2},
        lambda: {"fit": ((a @ lower.at - b @ upper.at) ** 2).sum() / 2},
        gradients,
        rate,
    )
    with torch.no_grad():
        answer = lower.at - rate * a.T @ (a @ lower.at - b @ upper.at)
        exact = (upper.at - d) + rate * b.T @ a @ (answer - c)
    assert upper.at.grad is not None
    assert torch.allclose(upper.at.grad, exact, rtol=1e-6, atol=1e-8)


def test_it_is_near_the_gradient_through_the_step_for_networks() -> None:
    torch.manual_seed(1)
    upper = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    lower = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    x, y, rate = torch.randn(16, 4).double(), torch.randn(16, 3).double(), 0.3

    def fit(answer: Tensor) -> Tensor:
        return ((answer - upper(x)) ** 2).mean()

    def far(answer: Tensor) -> Tensor:
        return ((answer - y) ** 2).mean() + 0.1 * ((answer - upper(x)) ** 2).mean()

    weights = dict(lower.named_parameters())
    slopes = torch.autograd.grad(fit(lower(x)), list(weights.values()), create_graph=True)
    after = {name: value - rate * slope for (name, value), slope in zip(weights.items(), slopes, strict=True)}
    exact = torch.autograd.grad(far(functional_call(lower, after, (x,))), list(upper.parameters()))
    plain = torch.autograd.grad(far(lower(x)), list(upper.parameters()))

    before = [value.detach().clone() for value in lower.parameters()]
    hypergradient(upper, lower, lambda: {"far": far(lower(x))}, lambda: {"fit": fit(lower(x))}, gradients, rate)
    found = torch.cat([value.grad.flatten() for value in upper.parameters()])
    exact_, plain_ = (torch.cat([slope.flatten() for slope in slopes]) for slopes in (exact, plain))
    assert (found - exact_).norm() < 1e-3 * exact_.norm()
    assert (plain_ - exact_).norm() > 0.05 * exact_.norm()  # what alternation would take is another gradient
    assert all(torch.equal(a, b) for a, b in zip(before, lower.parameters(), strict=True))
    assert all(value.grad is None for value in lower.parameters())


def test_the_lower_network_s_statistics_stay_as_they_were() -> None:
    torch.manual_seed(2)
    upper, lower = nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    x = torch.randn(8, 3)
    before = {name: value.clone() for name, value in lower.state_dict().items()}

    def gap() -> dict[str, Tensor]:
        return {"gap": ((lower(x) - upper(x)) ** 2).mean()}

    values = hypergradient(upper, lower, gap, gap, gradients, 0.1)
    assert all(torch.equal(before[name], value) for name, value in lower.state_dict().items())
    assert values["gap"] < gap()["gap"].item()  # measured after the step, which makes it less
    assert not torch.equal(before["1.running_mean"], lower.state_dict()["1.running_mean"])  # forward does move them


def test_with_no_way_back_to_the_lower_network_it_is_the_plain_gradient() -> None:
    upper, lower = Point(torch.tensor([3.0])), Point(torch.tensor([1.0]))
    hypergradient(
        upper, lower, lambda: {"own": (upper.at**2).sum()}, lambda: {"gap": (upper.at * lower.at).sum()}, gradients, 0.1
    )
    assert upper.at.grad is not None
    assert upper.at.grad.item() == pytest.approx(6.0)


def test_held_networks_get_no_gradients_and_are_free_again() -> None:
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    first.bias.requires_grad_(False)
    with held(first):
        second(first(torch.ones(1, 2))).sum().backward()
    assert first.weight.grad is None
    assert second.weight.grad is not None
    assert first.weight.requires_grad
    assert not first.bias.requires_grad  # what was fixed before stays so
