"""Many bags on several machines, by Dask distributed. All of them see the bags and models under the same paths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sage_fusion_ros.bags.fuse import fuse_bag
from sage_fusion_ros.bags.job import FuseJob
from sage_fusion_ros.bags.many import ATTEMPTS, Result
from sage_fusion_ros.errors import SageFusionError

CONNECT_S = 30


def fuse_on_cluster(
    jobs: Sequence[FuseJob], scheduler: str, progress: Callable[[Result], None], *, restart: bool = False
) -> list[Result]:
    """Fuses bags on the workers of a Dask scheduler.

    A bag whose worker dies is given to another one, which goes on after the last whole file: the lock on the bag's work
    folder went with the dead worker. A bag that had been finished just then is recognised by its report.

    Args:
        jobs: The bags, under absolute paths.
        scheduler: Its address.
        progress: Called with each result as it comes.
        restart: As for fuse_bag; thrown away once, before anything is handed out.

    Returns:
        A result for each job, in their order.

    Raises:
        SageFusionError: Dask is not installed, or the scheduler can't be reached.
    """
    try:
        from distributed import Client, as_completed
    except ImportError as error:
        raise SageFusionError("--scheduler needs Dask: pip install 'sage_fusion_ros[cluster]'") from error
    try:
        client = Client(scheduler, timeout=CONNECT_S)
    except (OSError, ValueError) as error:
        raise SageFusionError(f"no Dask scheduler answers at '{scheduler}': {error}") from error
    results: dict[Any, Result] = {}
    with client:
        # One at a time on each worker thread; pure=False: the same bag asked for again is looked at again.
        futures = {client.submit(_work, job, restart, pure=False, retries=ATTEMPTS - 1): job for job in jobs}
        for future in as_completed(futures):
            job = futures[future]
            error = future.exception()
            if error is None:
                fused, text = future.result()
                results[future] = Result(job, fused, text)
            else:
                results[future] = Result(job, error=f"{type(error).__name__}: {error}")
            progress(results[future])
        return [results[future] for future in futures]


def _work(job: FuseJob, restart: bool) -> tuple[Any, str]:
    """On a worker. What the user can act on comes back as text, since trying again would not help."""
    try:
        return fuse_bag(job, restart=restart), ""
    except SageFusionError as error:
        return None, str(error)
