"""Two networks that learn from each other: min over u of L_u(u, l*(u)), where l*(u) minimises L_l(u, l).

In SAGE the upper network is the teacher and the lower one the student. Two ways to solve it:

- Alternation: l takes a step on L_l with u fixed, then u one on L_u with l fixed. The released code does this.
- One unrolled step (Liu et al. 2019, DARTS, eq. 6 to 8): the upper gradient is taken where the lower network would be
  after a step of its own, l' = l - r dL_l/dl, and how that step moves with u is counted in:

      dL_u(u, l')/du - r d2L_l/(du dl) v,  v = dL_u(u, l')/dl'

  The second term needs no second derivatives: it is r (dL_l(u, l + e v)/du - dL_l(u, l - e v)/du) / 2e.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_STEP_LENGTH = 0.01  # |e v|, as in DARTS

Gradients = Callable[[Sequence[nn.Module], Callable[..., dict[str, Tensor]]], dict[str, float]]
"""gradients(networks, terms): leaves the gradients of the summed terms in .grad of the networks' parameters, and gives
the terms' values. Over how many batches and processes it goes is its own affair."""


@contextmanager
def held(*networks: nn.Module) -> Iterator[None]:
    """No gradients to these networks' parameters: whatever is computed with them takes them as constants."""
    parameters = [parameter for network in networks for parameter in network.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


@contextmanager
def statistics_kept(network: nn.Module) -> Iterator[None]:
    """A network that is only looked at keeps its buffers, such as running statistics, however often it is run."""
    before = [buffer.detach().clone() for buffer in network.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(network.buffers(), before, strict=True):
                buffer.copy_(value)


@contextmanager
def restored(network: nn.Module) -> Iterator[list[Tensor]]:
    """Gives the parameters as they are; whatever happens to them and to the buffers inside is taken back."""
    parameters = [parameter.detach().clone() for parameter in network.parameters()]
    try:
        with statistics_kept(network):
            yield parameters
    finally:
        _set(network, parameters)


def hypergradient(
    upper: nn.Module,
    lower: nn.Module,
    upper_terms: Callable[..., dict[str, Tensor]],
    lower_terms: Callable[..., dict[str, Tensor]],
    gradients: Gradients,
    rate: float,
) -> dict[str, float]:
    """Leaves the one-step unrolled gradient of the upper loss in .grad of the upper network's parameters.

    The lower network is left as it was, its running statistics included, and without gradients.

    Args:
        upper: Network whose gradient is wanted.
        lower: Network that answers with a step of plain gradient descent.
        upper_terms: L_u as terms to be summed, differentiable in both networks.
        lower_terms: L_l likewise.
        gradients: See Gradients.
        rate: r, the length of the lower network's step.

    Returns:
        The values of the upper terms after the lower network's step.
    """
    with restored(lower) as start:
        with held(upper):
            gradients([lower], lower_terms)
        answer = _gradients_of(lower)
        _set(lower, [value - rate * slope for value, slope in zip(start, answer, strict=True)])
        values = gradients([upper, lower], upper_terms)
        total, direction = _gradients_of(upper), _gradients_of(lower)
        length = torch.sqrt(sum((slope.double() ** 2).sum() for slope in direction))
        if length > 0:
            step = float(_STEP_LENGTH / length)
            sides = []
            for sign in (1, -1):
                _set(lower, [value + sign * step * slope for value, slope in zip(start, direction, strict=True)])
                with held(lower):
                    gradients([upper], lower_terms)
                sides.append(_gradients_of(upper))
            scale = rate / (2 * step)
            total = [mine - scale * (a - b) for mine, a, b in zip(total, *sides, strict=True)]
    for parameter, slope in zip(upper.parameters(), total, strict=True):
        parameter.grad = slope
    lower.zero_grad(set_to_none=True)
    return values


def _gradients_of(network: nn.Module) -> list[Tensor]:
    """Copies; zeros for parameters that the loss does not reach."""
    return [
        torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.detach().clone()
        for parameter in network.parameters()
    ]


@torch.no_grad()
def _set(network: nn.Module, values: Sequence[Tensor]) -> None:
    for parameter, value in zip(network.parameters(), values, strict=True):
        parameter.copy_(value)
