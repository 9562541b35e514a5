"""A model folder that gains a file of another precision, whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sage_fusion_ros.engines.card import CARD_NAME, ModelCard, Variant, read_card, sha256_of, write_card
from sage_fusion_ros.engines.models import ModelFolder
from sage_fusion_ros.errors import ModelError, ParameterError

PRECISION = "int8"
FILE = "model.int8.onnx"


def check_output(output: Path | None) -> None:
    """Refuses to write a new model folder over anything.

    Raises:
        ParameterError: There is something, other than an empty folder.
    """
    if output is not None and output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise ParameterError(f"--output {output} is there and holds something; name a new folder")


@contextmanager
def candidate(model: ModelFolder, file: Path) -> Iterator[Path]:
    """A model folder beside the file, with the file as its int8 variant, while the context lasts.

    Everything that takes a model can be given it, so that what is judged is what will run.
    """
    with tempfile.TemporaryDirectory(dir=file.parent, prefix="candidate_") as scratch:
        folder = Path(scratch) / model.card.name
        folder.mkdir()
        for source, name in ((model.path, model.card.file), (file, FILE)):
            os.symlink(source.resolve(), folder / name)
        write_card(folder, with_variant(model.card, file, {}))
        yield folder


def with_variant(card: ModelCard, file: Path, made: dict[str, Any]) -> ModelCard:
    """The card with the file as its int8 variant."""
    return replace(card, variants={**card.variants, PRECISION: Variant(FILE, sha256_of(file), made)})


def install(model: ModelFolder, file: Path, made: dict[str, Any], output: Path | None) -> ModelCard:
    """Puts the file into the model's folder, or into a copy of it, and says so in the card.

    A folder that is cut off in between is whole: it has its old card, or one that does not name the file yet.

    Args:
        model: The model.
        file: What was made.
        made: How; for the card.
        output: Folder of the copy, new or empty; None: the model's own.

    Returns:
        The new card.

    Raises:
        ModelError: The folder can't be written to.
    """
    own = model.path.parent
    try:
        if output is None:
            card = with_variant(model.card, file, made)
            _put(own, file, card)
            return card
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}_") as scratch:
            copy = Path(scratch) / output.name
            shutil.copytree(own, copy)
            card = replace(with_variant(model.card, file, made), name=output.name)
            _put(copy, file, card)
            copy.replace(output)
        return card
    except OSError as error:
        where = f"model folder {output or own} can't be written ({error.strerror or error})"
        raise ModelError(f"{where}; give a folder of your own with --output") from error


def _put(folder: Path, file: Path, card: ModelCard) -> None:
    """Never a moment in which the card names a file that is not there or is another one."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".int8_") as scratch:
        hidden = Path(scratch)
        shutil.copyfile(file, hidden / FILE)
        before = read_card(folder)
        if PRECISION in before.variants:
            rest = {name: each for name, each in before.variants.items() if name != PRECISION}
            write_card(hidden, replace(before, variants=rest))
            os.replace(hidden / CARD_NAME, folder / CARD_NAME)
        os.replace(hidden / FILE, folder / FILE)
        write_card(hidden, card)
        os.replace(hidden / CARD_NAME, folder / CARD_NAME)
