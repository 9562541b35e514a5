"""The one small interface behind which every inference library stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class EngineInfo:
    """What an engine turned out to be, for logs, diagnostics and reports.

    Attributes:
        library: Library and version, such as "onnxruntime 1.31.1".
        device: Where it runs: "cpu", "cuda" or "tensorrt".
        provider: The provider that ran most nodes of the graph in the warm-up.
        placement: Nodes of the graph by the provider that really ran them.
        note: Why it differs from what was asked, or empty.
    """

    library: str
    device: str
    provider: str
    placement: dict[str, int]
    note: str = ""


class Engine(Protocol):
    """A loaded, warm network."""

    info: EngineInfo

    def run(self, feeds: dict[str, Array]) -> list[Array]:
        """Runs the network once; feeds by input name, outputs in the card's order."""

    def close(self) -> None:
        """Frees the network and its device memory."""
