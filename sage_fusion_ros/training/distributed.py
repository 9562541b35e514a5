"""Several processes as one run: who is who, and gradients that do not depend on how micro-batches are shared out.

A step has (processes x `accumulate`) micro-batches, numbered through all steps. Process r of W does the numbers
step x W x accumulate + r x accumulate + 0, 1, ... So two processes with one each see what one process with two sees,
and come to the same weights up to the order of float sums. It is not the same as one large batch: each batch norm
normalises a micro-batch by that micro-batch's own statistics, and what a loss takes over a whole batch (a norm, a mean
over labelled pixels) is taken over the micro-batch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sage_fusion_ros.errors import ParameterError, SageFusionError
from sage_fusion_ros.training.device import choose_device

Made = TypeVar("Made")

# One process may prepare masks or boxes for hours while the others wait; torchrun ends those whose peer has died.
_PATIENCE = timedelta(days=2)


@dataclass(frozen=True)
class Group:
    """The processes of a run as one of them sees it. `Group()` is a run of one process, and costs nothing.

    Attributes:
        rank: Number of this process, from 0; 0 alone writes files.
        size: How many there are, on all machines.
        local_rank: Number of this process on its machine.
        device: Where its tensors are.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def main(self) -> bool:
        """Whether this process writes files and shows the bar."""
        return self.rank == 0

    def indices(self, step: int, accumulate: int) -> range:
        """Numbers of this process's micro-batches in a step, both counted from 0."""
        first = (step * self.size + self.rank) * accumulate
        return range(first, first + accumulate)

    def following(self, index: int, accumulate: int) -> int:
        """Number of this process's next micro-batch after that one."""
        last_of_step = (index + 1) % accumulate == 0
        return index + 1 + ((self.size - 1) * accumulate if last_of_step else 0)

    def mean_(self, tensors: Sequence[Tensor]) -> None:
        """Replaces float tensors by their mean over the processes, in place; shapes and order are the same in all."""
        if self.size == 1 or not tensors:
            return
        for dtype in sorted({tensor.dtype for tensor in tensors}, key=str):
            mine = [tensor for tensor in tensors if tensor.dtype == dtype]
            joined = torch.cat([tensor.detach().reshape(-1) for tensor in mine])
            distributed.all_reduce(joined)
            joined /= self.size
            for tensor, mean in zip(mine, joined.split([tensor.numel() for tensor in mine]), strict=True):
                tensor.detach().copy_(mean.view(tensor.shape))

    def any(self, flags: Sequence[bool]) -> list[bool]:
        """For each flag, whether it is set in any process."""
        if self.size == 1:
            return list(flags)
        joined = torch.tensor(flags, dtype=torch.uint8)
        distributed.all_reduce(joined, distributed.ReduceOp.MAX)
        return [bool(flag) for flag in joined.tolist()]

    def share(self, make: Callable[[], Made]) -> Made:
        """What process 0 makes, given to all; an error meant for the user comes up in all of them.

        For plain values and tensors on the CPU.
        """
        if self.size == 1:
            return make()
        box: list[Any] = [None, None]
        if self.main:
            try:
                box[0] = make()
            except SageFusionError as error:
                box[1] = error
        distributed.broadcast_object_list(box, src=0)
        if box[1] is not None:
            raise box[1]
        return box[0]

    def in_turn(self, make: Callable[[], Made]) -> Made:
        """Runs it in every process, but in process 0 first, then in one of each machine, then in the others.

        For work whose result is kept in files: whether machines share a disk or not, no two write at once, and those
        that come later find it done.
        """
        turn = 0 if self.rank == 0 else 1 if self.local_rank == 0 else 2
        made: list[Made] = []
        for now in range(3):
            if now == turn:
                made.append(make())
            self.barrier()
        return made[0]

    def barrier(self) -> None:
        """Waits for all processes."""
        if self.size > 1:
            self.any([False])


@contextmanager
def joined(device: str) -> Iterator[Group]:
    """The group that torchrun started, or a group of one without it.

    Args:
        device: See TrainSettings.

    Raises:
        ParameterError: torchrun's environment is incomplete, or the device is not there.
    """
    size = _environment("WORLD_SIZE", 1)
    if size == 1:
        yield Group(device=choose_device(device, 0))
        return
    rank, local_rank = _environment("RANK"), _environment("LOCAL_RANK")
    chosen = choose_device(device, local_rank)
    backend = "cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo"
    try:
        distributed.init_process_group(backend, timeout=_PATIENCE)
    except (ValueError, RuntimeError) as error:
        raise ParameterError(
            f"process {rank} of {size} can't join the others: {error}; start them all with torchrun"
        ) from error
    yield Group(rank, size, local_rank, chosen)
    # Not after an error: the others are in the middle of a step, and torchrun ends them.
    distributed.destroy_process_group()


def _environment(name: str, default: int | None = None) -> int:
    text = os.environ.get(name, "" if default is None else str(default))
    if not text.isdecimal():
        raise ParameterError(f"the environment has WORLD_SIZE, but {name} is '{text}'; start with torchrun")
    return int(text)


def gradients(
    group: Group,
    networks: Sequence[nn.Module],
    batches: Sequence[Any],
    terms: Callable[[Any], dict[str, Tensor]],
    seeds: Sequence[int] | None = None,
) -> dict[str, float]:
    """Mean gradients of a loss over this step's micro-batches, those of the other processes included.

    Every micro-batch sees the networks' batch norms with the running statistics of before the call; afterwards they
    have the mean of what the micro-batches made of them. Batch norms in eval mode keep theirs.

    Args:
        group: The processes.
        networks: Whose gradients are wanted. Their old gradients are dropped, those of all else are left alone.
        batches: This process's micro-batches, as many in every process.
        terms: The loss of a micro-batch: scalars by name, weighted, to be summed; the same names each time.
        seeds: For torch's random generators, one a micro-batch; without them the draws go on where they were.

    Returns:
        Mean of each term. The mean gradients lie in `.grad` of all parameters that require one; it is None where no
        micro-batch of any process gave one.
    """
    parameters = [parameter for network in networks for parameter in network.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.grad = None
    statistics = _RunningStatistics(networks)
    totals: dict[str, Tensor] = {}
    for number, batch in enumerate(batches):
        if seeds is not None:
            torch.manual_seed(seeds[number])
        statistics.restore()
        values = terms(batch)
        torch.stack(list(values.values())).sum().backward(inputs=parameters)
        statistics.keep()
        for name, value in values.items():
            totals[name] = totals[name] + value.detach() if name in totals else value.detach()
    statistics.average(group)
    given = group.any([parameter.grad is not None for parameter in parameters])
    with_gradient = [parameter for parameter, any_gave in zip(parameters, given, strict=True) if any_gave]
    for parameter in with_gradient:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    means = [parameter.grad for parameter in with_gradient if parameter.grad is not None]
    if len(batches) > 1:
        for gradient in means:
            gradient /= len(batches)
    logged = torch.stack(list(totals.values())).float() / len(batches)
    group.mean_([*means, logged])
    return dict(zip(totals, logged.tolist(), strict=True))


class _RunningStatistics:
    """The running statistics of batch norms that follow their batch, over the micro-batches of a step."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        norms = {
            norm: None
            for network in networks
            for norm in network.modules()
            if isinstance(norm, _BatchNorm) and norm.training and norm.track_running_stats
        }
        self._buffers = [buffer for norm in norms for buffer in norm.buffers(recurse=False)]
        self._before = [buffer.clone() for buffer in self._buffers]
        self._kept: list[list[Tensor]] = []

    @torch.no_grad()
    def restore(self) -> None:
        if self._kept:
            for buffer, before in zip(self._buffers, self._before, strict=True):
                buffer.copy_(before)

    def keep(self) -> None:
        self._kept.append([buffer.clone() for buffer in self._buffers])

    @torch.no_grad()
    def average(self, group: Group) -> None:
        """Counts of batches are whole numbers and equal in all micro-batches; they stay the last one's."""
        floating = [index for index, buffer in enumerate(self._buffers) if buffer.is_floating_point()]
        if len(self._kept) > 1:
            for index in floating:
                self._buffers[index].copy_(torch.stack([each[index] for each in self._kept]).mean(dim=0))
        group.mean_([self._buffers[index] for index in floating])
