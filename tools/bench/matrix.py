"""What is to be measured: cells, in blocks whose cells are compared with each other and so are measured in one go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from sage_fusion_ros.cli.bench_runs import How

MACHINE, NETWORKS, THREADS, PAIRS, CAMERAS, NODE = "machine", "networks", "threads", "pairs", "cameras", "node"
PARTS = (MACHINE, NETWORKS, THREADS, PAIRS, CAMERAS, NODE)
GPU = ("cuda", "tensorrt")
FLOAT, INT8 = "float", "int8"
"""Forms of a network's file, and units of a processor."""
EAGER = "eager"
"""The official student in torch as its authors run it, without any engine."""
NODE_SECONDS = 2.0
"""The node runs at least so long, or too few pairs come through to count."""


@dataclass(frozen=True)
class Config:
    """A way to run a network: values of the node's engine.name, engine.precision and engine.device."""

    engine: str
    precision: str
    device: str

    def __str__(self) -> str:
        return " ".join([self.engine, *([self.device] if self.device != "cpu" else []), self.precision])


@dataclass(frozen=True)
class Cell:
    """One thing that is measured, once in each round.

    Attributes:
        part: One of PARTS.
        what: What runs: "copy", "blas" or "probe" of the machine, "network", "pairs" or "node".
        model: Name or folder of a model, file of a probe.
        config: How it runs.
        size: Of the cameras' images, "WIDTHxHEIGHT".
        threads: CPU threads inside an operator.
        spinning: Idle threads spin.
        perception: The perception model behind a fusion model; empty: the fused image alone.
        cameras: Pairs of cameras at the same time: "pairs" in a process for each, "node" in one node.
    """

    part: str
    what: str
    model: str
    config: Config
    size: str
    threads: int
    spinning: bool = False
    perception: str = ""
    cameras: int = 1

    @property
    def key(self) -> str:
        """Its name in the report's JSON."""
        words = [self.part, self.what, self.model, str(self.config), self.size, f"{self.threads} threads"]
        words += ["spinning"] * self.spinning + [self.perception] * bool(self.perception)
        return ", ".join([*words, *[f"{self.cameras} cameras"] * (self.cameras > 1)])

    def how(self, seconds: float) -> How:
        """As the runs take it."""
        config = self.config
        return How(
            self.size, self.threads, seconds, config.engine, config.precision, config.device, spinning=self.spinning
        )


@dataclass(frozen=True)
class Block:
    """Cells that are measured one after the other in one round."""

    name: str
    round: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Matrix:
    """What was asked for.

    Attributes:
        models: Fusion models, names or folders; the first is the reference of all ratios where there is no official.
        perception: A perception model, or empty.
        official: Folder of the official student's model, or empty.
        checkpoint: Its checkpoint, where that was given, or empty.
        engines: Engines.
        precisions: Precisions; the first one is the reference's.
        devices: Devices.
        sizes: Image sizes; the first one is where the node and the cameras are measured.
        threads: CPU threads inside an operator.
        cores: Cores this machine lets us use.
        rounds: Rounds.
        cameras: The most pairs of cameras at once.
        parts: Which of PARTS.
    """

    models: tuple[str, ...]
    perception: str
    official: str
    checkpoint: str
    engines: tuple[str, ...]
    precisions: tuple[str, ...]
    devices: tuple[str, ...]
    sizes: tuple[str, ...]
    threads: int
    cores: int
    rounds: int
    cameras: int
    parts: tuple[str, ...] = PARTS

    @property
    def usual(self) -> Config:
        """What the others are compared with."""
        return Config(self.engines[0], self.precisions[0], self.devices[0])

    @property
    def reference(self) -> Cell:
        """The network in whose times the others are given, at the first size."""
        model = self.official or self.models[0]
        return Cell(NETWORKS, "network", model, self.usual, self.sizes[0], self.threads)

    @property
    def configs(self) -> list[Config]:
        """Every engine in every precision on every device."""
        return [Config(*each) for each in product(self.engines, self.precisions, self.devices)]

    @property
    def networks(self) -> list[str]:
        """Every model whose network is timed alone."""
        return [name for name in (self.official, *self.models, self.perception) if name]

    def networks_first(self, number: int, probes: Sequence[tuple[str, Path]]) -> Iterator[Block]:
        """The blocks of a round that need to know nothing of the others' results.

        Args:
            number: Of the round.
            probes: Form, "float" or "int8", and file of each network that finds out what a unit can do.
        """
        size = self.sizes[0]
        if MACHINE in self.parts:
            yield Block(MACHINE, number, tuple(self._machine(probes)))
        if NETWORKS in self.parts:
            for each in self.sizes:
                cells = [
                    Cell(NETWORKS, "network", model, config, each, self.threads)
                    for model, config in product(self.networks, self.configs)
                ]
                if self.checkpoint:
                    cells.append(
                        Cell(NETWORKS, EAGER, self.checkpoint, Config("eager torch", "fp32", "cpu"), each, self.threads)
                    )
                yield Block(f"{NETWORKS} at {each}", number, tuple(cells))
        if THREADS in self.parts and "cpu" in self.devices:
            cells = [
                Cell(THREADS, "network", model, Config(engine, self.precisions[0], "cpu"), size, threads, spinning)
                for model, engine, threads in product(self.networks, self.engines, powers(self.cores))
                for spinning in ((False, True) if engine == "onnxruntime" else (False,))
            ]
            yield Block(THREADS, number, tuple(cells))

    def pairs_after(self, number: int, configs: Sequence[Config]) -> Iterator[Block]:
        """The blocks of a round in which whole pairs are processed.

        Args:
            number: Of the round.
            configs: The ways to run them: the usual one, and the fastest as the networks alone have shown.
        """
        outputs = ("", self.perception) if self.perception else ("",)
        usual = [
            Cell(PAIRS, "pairs", model, config, self.sizes[0], self.threads, perception=perception)
            for model, config, perception in product(self.models, configs, outputs)
        ]
        if PAIRS in self.parts:
            for size in self.sizes:
                yield Block(f"{PAIRS} at {size}", number, tuple(replace(cell, size=size) for cell in usual))
        if CAMERAS in self.parts:
            last = [cell for cell in usual if (cell.config, cell.perception) == (configs[-1], outputs[-1])]
            cells = [
                replace(cell, part=CAMERAS, what=what, cameras=n)
                for what, cell, n in product((PAIRS, NODE), last, range(1, self.cameras + 1))
            ]
            yield Block(CAMERAS, number, tuple(cells))
        if NODE in self.parts:
            yield Block(NODE, number, tuple(replace(cell, part=NODE, what="node") for cell in usual))

    def _machine(self, probes: Sequence[tuple[str, Path]]) -> Iterator[Cell]:
        first = Cell(MACHINE, "copy", "", Config("numpy", "fp32", "cpu"), self.sizes[0], self.threads)
        if "cpu" in self.devices:
            yield first
            yield replace(first, what="blas")
            for engine, precision, (form, path) in product(self.engines, self.precisions, probes):
                if (precision == "int8") == (form == "int8"):
                    config = Config(engine, precision, "cpu")
                    yield replace(first, what="probe", model=str(path), config=config, spinning=True)
        if set(self.devices) & set(GPU):
            yield replace(first, what="copy", config=Config("torch", "fp32", "cuda"))
            for precision in self.precisions:
                yield replace(first, what="blas", config=Config("torch", precision, "cuda"))


def powers(cores: int) -> list[int]:
    """1, 2, 4 and so on up to the cores, and their number itself."""
    found = [1]
    while found[-1] * 2 <= cores:
        found.append(found[-1] * 2)
    return found if found[-1] == cores else [*found, cores]
