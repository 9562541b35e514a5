"""A GPU made of the CPU, for the code that records and replays: recordings, streams and events that really do so.

A recording keeps every operation that torch ran, with its tensors. A replay runs the same ones on the same tensors and
writes what they give where the recorded ones lie, as a CUDA graph does. What was computed beside torch while recording
is stale in a replay, here as there; what a recording may not hold on a GPU, a copy from the host, is refused.
"""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Recording:
    """Stands for torch.cuda.CUDAGraph."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def replay(self) -> None:
        with torch.inference_mode():
            for function, args, kwargs, made in self.calls:
                again = function(*args, **kwargs)
                for old, new in zip(tree_leaves(made), tree_leaves(again), strict=True):
                    if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)


class _Recorder(TorchDispatchMode):
    def __init__(self, recording: Recording) -> None:
        super().__init__()
        self._recording = recording

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert "local_scalar_dense" not in str(function), "a value is read by the host while a GPU records"
        assert "lift_fresh" not in str(function), "a tensor is made of the host's numbers while a GPU records"
        made = function(*args, **(kwargs or {}))
        self._recording.calls.append((function, args, kwargs or {}, made))
        return made


class Stream:
    """Everything is done at once; what was waited for is noted."""

    def __init__(self, device: Any = None) -> None:
        self.waited: list[Any] = []

    def synchronize(self) -> None:
        pass

    def wait_event(self, event: Any) -> None:
        self.waited.append(event)


class Event:
    """Likewise."""

    def record(self) -> None:
        pass

    def synchronize(self) -> None:
        pass


@contextlib.contextmanager
def _graph(recording: Recording, stream: Any = None, capture_error_mode: str = "global"):
    with _Recorder(recording):
        yield


class FakeTorch:
    """torch, with these in place of torch.cuda, and memory that is pinned by name alone."""

    cuda = SimpleNamespace(
        CUDAGraph=Recording,
        Stream=Stream,
        Event=Event,
        graph=_graph,
        synchronize=lambda device: None,
        stream=lambda stream: contextlib.nullcontext(),
    )

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def empty(self, *args: Any, pin_memory: bool = False, **kwargs: Any) -> torch.Tensor:
        return torch.empty(*args, **kwargs)
