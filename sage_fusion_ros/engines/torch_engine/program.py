"""Arrays in, work on a device, arrays out: on the CPU as it comes, on a GPU recorded once and replayed.

On a GPU each stage is a CUDA graph: one call instead of hundreds of launches. Arrays go through pinned memory. What a
stage gives is on its way back on a stream of its own while the next stage computes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from sage_fusion_ros.engines.base import Array

Tensors = tuple[Tensor, ...]
# (all that was uploaded, all that earlier stages gave) to what this one gives.
Stage = Callable[[Tensors, Tensors], Tensors]
_SETTLING = 3  # calls before a stage is recorded: libraries choose their algorithms in the first


class Pending(Protocol):
    """Work under way."""

    def result(self) -> list[Array]:
        """Waits for all that the stages gave, in their order; no later call writes over these arrays."""


class Program(Protocol):
    """Work for arrays of certain shapes and types."""

    def start(self, arrays: Sequence[Array]) -> Pending:
        """Begins; the arrays may be written to as soon as this returns. One thread at a time.

        Args:
            arrays: Of the shapes and types that the program was made for.
        """


def records(device: torch.device) -> bool:
    """Whether work on a device is recorded: nothing in it may then have a size that depends on what is seen."""
    return device.type == "cuda"


def make_program(stages: Sequence[Stage], arrays: Sequence[Array], device: torch.device, threads: int = 0) -> Program:
    """Readies stages for arrays of these shapes and types.

    Args:
        stages: What is done, one after the other; on a GPU without anything that waits for it.
        arrays: Such as will be given.
        device: Where.
        threads: On the CPU, inside an operator; 0: torch's own choice.
    """
    if records(device):
        return _CudaProgram(stages, arrays, device)
    return _HostProgram(stages, threads)


def step_by_step(
    stages: Sequence[Stage], arrays: Sequence[Array], device: torch.device, threads: int = 0
) -> list[Array]:
    """All that the stages give, without a recording; arguments as for make_program."""
    with torch.inference_mode(), cpu_threads(threads), exact_convolutions():
        given = tuple(_tensor(each).to(device) for each in arrays)
        made: Tensors = ()
        for stage in stages:
            made += stage(given, made)
        taken = {each.untyped_storage().data_ptr() for each in given}
        # What passes through unchanged is still the caller's array.
        own = [each.clone() if each.untyped_storage().data_ptr() in taken else each for each in made]
        return [each.contiguous().cpu().numpy() for each in own]


class _HostProgram:
    def __init__(self, stages: Sequence[Stage], threads: int) -> None:
        self._stages = stages
        self._threads = threads

    def start(self, arrays: Sequence[Array]) -> Pending:
        return _Done(step_by_step(self._stages, arrays, torch.device("cpu"), self._threads))


class _Done:
    def __init__(self, arrays: list[Array]) -> None:
        self._arrays = arrays

    def result(self) -> list[Array]:
        return self._arrays


class _CudaProgram:
    """Static tensors on the GPU, which the recorded stages read and write.

    A replay waits on its stream for the downloads of the one before, since it writes over what they read. To have
    the upload of one pair beside the computing of another, two programs take turns.
    """

    def __init__(self, stages: Sequence[Stage], arrays: Sequence[Array], device: torch.device) -> None:
        self._stream, self._back = torch.cuda.Stream(device), torch.cuda.Stream(device)
        self._uploaded, self._downloaded = torch.cuda.Event(), torch.cuda.Event()
        self._staged = [torch.empty(each.shape, dtype=_dtype(each), pin_memory=True) for each in arrays]
        torch.cuda.synchronize(device)  # what the stages hold was made on another stream
        self._recorded: list[tuple[torch.cuda.CUDAGraph, torch.cuda.Event, Tensors]] = []
        with torch.inference_mode(), torch.cuda.stream(self._stream), exact_convolutions():
            for staged, each in zip(self._staged, arrays, strict=True):
                staged.copy_(_tensor(each))
            self._given = tuple(staged.to(device) for staged in self._staged)
            made: Tensors = ()
            for stage in stages:
                for _ in range(_SETTLING):
                    stage(self._given, made)
                self._stream.synchronize()
                recording = torch.cuda.CUDAGraph()
                # Other threads go on using the GPU: a model is loaded while another one serves.
                with torch.cuda.graph(recording, stream=self._stream, capture_error_mode="thread_local"):
                    gives = stage(self._given, made)
                self._recorded.append((recording, torch.cuda.Event(), gives))
                recording.replay()
                made += gives
            self._stream.synchronize()

    def start(self, arrays: Sequence[Array]) -> Pending:
        self._uploaded.synchronize()  # the staging memory is free again
        results: list[Tensor] = []
        with torch.inference_mode():
            with torch.cuda.stream(self._stream):
                for staged, given, each in zip(self._staged, self._given, arrays, strict=True):
                    staged.copy_(_tensor(each))
                    given.copy_(staged, non_blocking=True)
                self._uploaded.record()
                self._stream.wait_event(self._downloaded)
            for recording, finished, gives in self._recorded:
                with torch.cuda.stream(self._stream):
                    recording.replay()
                    finished.record()
                with torch.cuda.stream(self._back):
                    self._back.wait_event(finished)
                    # Pinned blocks are kept by torch and given out again once nobody holds the array any more.
                    for made in gives:
                        host = torch.empty(made.shape, dtype=made.dtype, pin_memory=True)
                        results.append(host.copy_(made, non_blocking=True))
            with torch.cuda.stream(self._back):
                self._downloaded.record()
                done = torch.cuda.Event()
                done.record()
        return _OnTheWay(results, done)


class _OnTheWay:
    def __init__(self, results: list[Tensor], done: torch.cuda.Event) -> None:
        self._results = results
        self._done = done

    def result(self) -> list[Array]:
        self._done.synchronize()
        return [each.numpy() for each in self._results]


def _tensor(array: Array) -> Tensor:
    """Without a copy where that can be: torch warns of arrays that are read-only, and takes none that run backwards."""
    plain = array.flags.writeable and array.flags.c_contiguous
    return torch.from_numpy(array if plain else array.copy())


def _dtype(array: Array) -> torch.dtype:
    return _tensor(array).dtype


@contextlib.contextmanager
def exact_convolutions() -> Iterator[None]:
    """fp32 is fp32: without TF32, which keeps three digits. The fastest algorithm is looked for, once for each size."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=False):
        yield


@contextlib.contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """So many threads inside an operator; 0: as it is. torch has one number for a process, which is put back."""
    before = torch.get_num_threads()
    if count in (0, before):
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
