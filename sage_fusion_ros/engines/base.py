"""The one small interface behind which every inference library stands."""

from __future__ import annotations

from collections.abc import Sequence
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
        note: Why the device differs from the one that was asked for, or empty.
        precision: What most of the heavy nodes (convolutions, matrix products) really computed in, such as "fp32";
            where the library does not tell, what was asked for.
    """

    library: str
    device: str
    provider: str
    placement: dict[str, int]
    note: str = ""
    precision: str = ""


@dataclass(frozen=True)
class Port:
    """One input or output of a loaded network, as its file declares it.

    Attributes:
        name: Its name.
        dtype: Element type in numpy's words, such as "float32"; the library's own words where numpy has none.
        shape: Lengths by axis; None where the file leaves one open.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"'{self.name}' {self.dtype} {'x'.join('?' if side is None else str(side) for side in self.shape)}"


class Engine(Protocol):
    """A loaded, warm network."""

    info: EngineInfo
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    def run(self, feeds: dict[str, Array], outputs: Sequence[str] | None = None) -> list[Array]:
        """Runs the network once.

        Args:
            feeds: Arrays by input name.
            outputs: Names of the outputs wanted; what only the others need is not computed. None: all of them.

        Returns:
            What was asked for, in that order; all of them in the card's order, or the file's where there is no card.
        """

    def close(self) -> None:
        """Frees the network and its device memory."""
