"""Where a run computes, and how batches get there."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sage_fusion_ros.errors import ParameterError


def choose_device(name: str, local_rank: int) -> torch.device:
    """The device of a process.

    Args:
        name: "cpu", "cuda" (the GPU of the process's number), or "auto": a GPU where there is one.
        local_rank: Number of the process on its machine.

    Raises:
        ParameterError: No such GPU.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ParameterError("device is 'cuda', but torch finds no GPU; set device to auto or cpu")
    if local_rank >= torch.cuda.device_count():
        raise ParameterError(
            f"process {local_rank} of this machine has no GPU of its own, there are {torch.cuda.device_count()}; "
            "start as many processes as GPUs (torchrun --nproc_per_node), or set device to cpu"
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def move(batch: Any, device: torch.device) -> Any:
    """A batch on the device: tensors, and dataclasses, dicts, tuples and lists of them; all else as it is."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    if is_dataclass(batch) and not isinstance(batch, type):
        return replace(batch, **{f.name: move(getattr(batch, f.name), device) for f in fields(batch) if f.init})
    if isinstance(batch, dict):
        return {name: move(each, device) for name, each in batch.items()}
    if isinstance(batch, (tuple, list)):
        return type(batch)(move(each, device) for each in batch)
    return batch
