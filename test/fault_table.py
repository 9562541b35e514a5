"""The table of faults: each is a function that injects it, holds the node to its promise and says what was seen."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

FAULTS: list["Fault"] = []


@dataclass(frozen=True)
class Fault:
    """One row.

    Attributes:
        area: What fails: a heading of the table.
        name: The fault.
        promise: What the node does about it.
        inject: Does it; takes what `needs` says and returns what was seen.
        needs: "stream", a node that streams; "compressed", one that reads RGB from files;
            "idle", one that was not configured; "models", a folder of models.
        restarts: Whether the node or a publisher begins anew in it, so that sent and received can't be compared.
    """

    area: str
    name: str
    promise: str
    inject: Callable[[Any], str]
    needs: str
    restarts: bool


def fault(area, name, promise, *, needs="stream", restarts=False):
    """Puts a function into the table."""

    def register(inject):
        FAULTS.append(Fault(area, name, promise, inject, needs, restarts))
        return inject

    return register
