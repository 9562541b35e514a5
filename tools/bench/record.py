"""The file in which a bench keeps what it has measured, so that one that was interrupted goes on."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matrix import Block, Cell

from sage_fusion_ros.errors import ParameterError, SageFusionError
from sage_fusion_ros.evaluation.text_file import write_whole

FILE = "bench.json"
FORMAT = 1
# What a refusal is true for: whatever the engine runs, or this model.
OF_THE_ENGINE, OF_THE_MODEL = "EngineError", "ModelError"


class Record:
    """What has been measured.

    Attributes:
        data: Plain values, as the file holds them: "state" (what the figures hold for), "measurements" by round and
            cell, "blocks" (the finished ones and their cells), "absent" (why something can't be measured here, by what
            that is true for) and "accidents" (why a cell was not measured, by its key).

    Args:
        folder: Where the file is.
        state: What the figures hold for: machine, versions, hashes of the models, threads, seconds.
        fresh: Forget an earlier bench.

    Raises:
        ParameterError: The folder holds a bench in another state.
        SageFusionError: The file can't be read.
    """

    def __init__(self, folder: Path, state: dict[str, Any], fresh: bool = False) -> None:
        self._path = folder / FILE
        self.data: dict[str, Any] = {"format": FORMAT, "state": state, "measurements": {}, "blocks": {}}
        self.data |= {"absent": {}, "accidents": {}}
        if self._path.exists() and not fresh:
            self.data = read(folder)
            was, now = _flat(self.data["state"]), _flat(state)
            changed = [key for key in {**was, **now} if was.get(key) != now.get(key)]
            if changed:
                texts = [f"{key} was {was.get(key)}, is {now.get(key)}" for key in changed]
                raise ParameterError(
                    f"{self._path} holds figures of another state: {'; '.join(texts)}. Name another --output, or begin "
                    "anew with --fresh"
                )
            self._forget_accidents()

    def _forget_accidents(self) -> None:
        """What crashed or took too long is tried again, with what it is compared with."""
        accidents = self.data["accidents"]
        self.data["blocks"] = {
            name: keys for name, keys in self.data["blocks"].items() if accidents.keys().isdisjoint(keys)
        }
        self.data["accidents"] = {}

    def save(self) -> None:
        """Writes the file whole, or not at all.

        Raises:
            SageFusionError: It can't be written.
        """
        write_whole(self._path, json.dumps(self.data, indent=1) + "\n")

    def finished(self, block: Block) -> bool:
        """Whether a block was measured to its end, with the cells it has now."""
        return self.data["blocks"].get(_name(block)) == [cell.key for cell in block.cells]

    def begin(self, block: Block) -> None:
        """Forgets what a block left unfinished: its ratios are of one go."""
        self.data["blocks"].pop(_name(block), None)
        for cell in block.cells:
            self.data["measurements"].pop(_key(block, cell), None)

    def end(self, block: Block) -> None:
        """Notes that a block is finished."""
        self.data["blocks"][_name(block)] = [cell.key for cell in block.cells]
        self.save()

    def absent(self, cell: Cell) -> str:
        """Why a cell can't be measured, as an earlier one has shown; empty: nothing is known against it."""
        known = self.data["accidents"] | self.data["absent"]
        return next((known[scope] for scope in (*_scopes(cell), cell.key) if scope in known), "")

    def add(self, block: Block, cell: Cell, result: dict[str, Any]) -> None:
        """Keeps a cell's result, or the reason why it has none."""
        if "refused" in result:
            scope = dict(zip((OF_THE_ENGINE, OF_THE_MODEL), _scopes(cell), strict=True)).get(result["refused"])
            self.data["absent" if scope else "accidents"][scope or cell.key] = result["reason"]
        else:
            entry = {"round": block.round, **asdict(cell), "result": result}
            self.data["measurements"][_key(block, cell)] = entry
        self.save()


def read(folder: Path) -> dict[str, Any]:
    """What a folder's file holds.

    Raises:
        SageFusionError: There is none, or it is no bench's.
    """
    path = folder / FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SageFusionError(f"{path} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise SageFusionError(f"{path} is no JSON ({error}); begin anew with --fresh") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise SageFusionError(f"{path} is no bench's of this version; name another --output, or use --fresh")
    return data


def _flat(state: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by the names that lead to them."""
    found: dict[str, Any] = {}
    for key, value in state.items():
        found |= _flat(value, f"{prefix}{key} ") if isinstance(value, dict) else {prefix + key: value}
    return found


def _name(block: Block) -> str:
    return f"{block.round}: {block.name}"


def _key(block: Block, cell: Cell) -> str:
    return f"{block.round}: {cell.key}"


def _scopes(cell: Cell) -> tuple[str, str]:
    """What a refusal may be true for beyond a cell: the engine so configured, the models in it."""
    models = " with ".join(name for name in (cell.model, cell.perception) if name)
    return str(cell.config), f"{models}: {cell.config}"
