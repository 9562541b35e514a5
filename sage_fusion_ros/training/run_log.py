"""What a run writes down as it goes: log.csv, validation.csv, and the same for TensorBoard."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sage_fusion_ros.errors import TrainingError

LOG = "log.csv"
VALIDATION = "validation.csv"
TENSORBOARD = "tensorboard"


class RunLog:
    """Rows of figures by step, and TensorBoard's file where the package tensorboard is installed.

    Args:
        folder: The run's; made where it is missing.
        step: Steps done so far. What a killed run wrote after its last checkpoint is dropped; it is about to be written
            again.

    Raises:
        TrainingError: A file can't be written, as on a full disk. So do the methods.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._folder = folder
        with self._refusals():
            folder.mkdir(parents=True, exist_ok=True)
            for name in (LOG, VALIDATION):
                _cut(folder / name, step)
            self._board = _open_board(folder / TENSORBOARD, step)

    def training(self, step: int, rate: float, terms: dict[str, float], seconds: float) -> None:
        """A row of log.csv: step, learning_rate, loss, each term, seconds of the run so far.

        Args:
            step: Steps done.
            rate: The learning rate.
            terms: Their sum is the loss.
            seconds: Last column.
        """
        values = {"learning_rate": rate, "loss": sum(terms.values()), **terms}
        with self._refusals():
            _append(self._folder / LOG, step, values, {"seconds": f"{seconds:.1f}"})
        self._show(step, {name if name not in terms else f"terms/{name}": value for name, value in values.items()})

    def validation(self, step: int, values: dict[str, float], best: float) -> None:
        """A row of validation.csv: step, the values, the best score so far."""
        with self._refusals():
            _append(self._folder / VALIDATION, step, values, {"best": f"{best:.6g}"})
        self._show(step, {f"validation/{name}": value for name, value in {**values, "best": best}.items()})

    def close(self) -> None:
        """Ends TensorBoard's file."""
        if self._board is not None:
            with self._refusals():
                self._board.close()

    def _show(self, step: int, values: dict[str, float]) -> None:
        if self._board is not None:
            with self._refusals():
                for name, value in values.items():
                    self._board.add_scalar(name, value, step)

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TrainingError(
                f"the log of the run in {self._folder} can't be written: {error.strerror or error}; its last "
                "checkpoint, if there is one, is whole: make room and go on with --resume"
            ) from error


def _open_board(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step + 1, flush_secs=30)


def _append(path: Path, step: int, values: dict[str, float], last: dict[str, str]) -> None:
    """Adds a row. A figure that is new since the first row gets a column before the last ones, empty in older rows."""
    row = {"step": str(step), **{name: f"{value:.6g}" for name, value in values.items()}, **last}
    columns = _columns(path)
    if new := [name for name in row if name not in columns]:
        columns = [*(name for name in columns if name not in last), *(name for name in new if name not in last), *last]
        _rewrite(path, columns)
    with path.open("a", newline="", encoding="utf-8") as stream:
        csv.DictWriter(stream, columns, lineterminator="\n").writerow(row)


def _columns(path: Path) -> list[str]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8") as stream:
        return stream.readline().strip().split(",")


def _rewrite(path: Path, columns: list[str]) -> None:
    rows: list[dict[str, str]] = []
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _cut(path: Path, step: int) -> None:
    """Drops the rows after a step, and one that was cut off while it was written; before the first step the file."""
    if step == 0:
        path.unlink(missing_ok=True)
    elif path.is_file():
        rows = path.read_text(encoding="utf-8").splitlines()
        whole = [row for row in rows[1:] if row.count(",") == rows[0].count(",")]
        kept = rows[:1] + [row for row in whole if int(row.split(",")[0]) <= step]
        path.write_text("".join(f"{row}\n" for row in kept), encoding="utf-8")
