"""A folder in which a bag grows until it is whole, and then takes its place in one step."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from pathlib import Path
from types import TracebackType

from sage_fusion_ros.errors import SourceError

_LOCK = "lock"


class WorkFolder:
    """`.<name>.partial` beside the place of a bag. Nobody ever sees a bag under its own name that is not whole.

    One process holds it at a time, by a lock that the system releases however that process ends. Leaving the `with`
    block releases the lock; what is in the folder stays, for a later process to go on with, unless `publish` or
    `discard` was called.

    Args:
        target: Where the bag shall be.

    Raises:
        SourceError: There is something already, the place can't be written, or another process is at work on it.
    """

    def __init__(self, target: Path) -> None:
        target = Path(os.path.abspath(target))
        self.target = target
        self.root = target.with_name(f".{target.name}.partial")
        self.bag = self.root / target.name
        self._lock: int | None = None
        self._refuse_overwriting()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.release()
            raise SourceError(f"'{target}' is being written by another process just now") from error
        except OSError as error:
            self.release()
            raise SourceError(f"'{target}' can't be written: {error.strerror or error}") from error
        try:
            self._refuse_overwriting()  # another process may have finished it before the lock was had
        except SourceError:
            self.discard()
            raise

    def __enter__(self) -> WorkFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def empty(self) -> None:
        """Removes everything that an earlier process left."""
        for path in self.root.iterdir():
            if path.name == _LOCK:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def publish(self) -> None:
        """Gives the bag its place.

        Raises:
            SourceError: Something has come to stand there meanwhile.
        """
        self._refuse_overwriting()
        try:
            os.rename(self.bag, self.target)
        except OSError as error:
            raise SourceError(f"'{self.target}' can't be written: {error.strerror or error}") from error
        self.discard()

    def discard(self) -> None:
        """Removes the folder and everything in it."""
        shutil.rmtree(self.root, ignore_errors=True)
        self.release()

    def release(self) -> None:
        """Lets another process have the folder."""
        if self._lock is not None:
            with contextlib.suppress(OSError):
                os.close(self._lock)
            self._lock = None

    def _refuse_overwriting(self) -> None:
        if os.path.lexists(self.target):
            raise SourceError(f"'{self.target}' exists already and is not overwritten; name another place or remove it")
