"""What Fast DDS leaves in shared memory when a process is killed: up to 68 MB each time, which nothing gives back."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path

PLACE = Path("/dev/shm")
_LOCK = "_el"  # beside each segment lies a file that its process holds locked for as long as it lives
_SETTLED_S = 5.0  # a process that has just made a segment may not have locked it yet


def remove_leftovers(place: Path = PLACE, since: float = 0.0, settled_s: float = _SETTLED_S) -> int:
    """Removes the segments of processes that are gone, as `fastdds shm clean` does; those in use stay.

    Args:
        place: Where segments lie.
        since: Time of day in seconds, as time.time; older segments stay.
        settled_s: Segments that are not so many seconds old stay.

    Returns:
        How many were removed.
    """
    removed = 0
    for lock in [*place.glob(f"fastdds_*{_LOCK}"), *place.glob(f"fastrtps_*{_LOCK}")]:  # Kilted's, and before
        segment = lock.with_name(lock.name.removesuffix(_LOCK))
        if "port" in segment.name:  # several processes share a port; it is small and found again
            continue
        try:
            with lock.open("rb") as file:
                if not since <= lock.stat().st_mtime <= time.time() - settled_s:
                    continue
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                segment.unlink(missing_ok=True)
                lock.unlink(missing_ok=True)
        except OSError:  # in use, somebody else's, or gone meanwhile
            continue
        removed += 1
    return removed
