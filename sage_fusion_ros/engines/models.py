"""Finds a model folder by name or path and makes sure that its file is the one its card describes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from sage_fusion_ros.engines.card import CARD_NAME, ModelCard, read_card, sha256_of
from sage_fusion_ros.errors import ModelError
from sage_fusion_ros.resources import share_dir


@dataclass(frozen=True)
class ModelFolder:
    """A verified model: its card and the path of its file."""

    card: ModelCard
    path: Path


def search_paths(extra: Iterable[str | Path] = ()) -> list[Path]:
    """Folders searched for models, first hit wins: the user's own, then the package's."""
    return [Path(folder).expanduser() for folder in extra if str(folder)] + [share_dir() / "models"]


def list_models(extra: Iterable[str | Path] = ()) -> list[str]:
    """Names of all models that can be found, sorted."""
    return sorted({card.parent.name for folder in search_paths(extra) for card in folder.glob(f"*/{CARD_NAME}")})


@dataclass(frozen=True)
class FoundModel:
    """A model folder as it lies there, whole or not.

    Attributes:
        folder: Where it is; its name is the model's.
        card: None where there is no readable one.
        size_bytes: Of all its files.
        problem: Why it can't be used; empty when it can.
        hidden_by: The folder that its name finds instead, in an earlier place; None when the name finds this one.
    """

    folder: Path
    card: ModelCard | None
    size_bytes: int
    problem: str = ""
    hidden_by: Path | None = None


def survey_models(extra: Iterable[str | Path] = ()) -> list[FoundModel]:
    """Every model folder in every place, in the order in which a name is looked up; each file's sha256 is compared.

    Args:
        extra: Folders searched before the package's own models/.

    Raises:
        ModelError: A place is no folder, or can't be read.
    """
    first: dict[str, Path] = {}
    models = []
    for place in _distinct(search_paths(extra)):
        try:
            folders = sorted(path for path in place.iterdir() if path.is_dir() and _looks_like_model(path))
        except OSError as error:
            raise ModelError(f"the models in {place} can't be listed: {error.strerror}") from error
        for folder in folders:
            models.append(replace(_survey(folder), hidden_by=first.get(folder.name)))
            if (folder / CARD_NAME).is_file():
                first.setdefault(folder.name, folder)
    return models


def _distinct(places: Iterable[Path]) -> list[Path]:
    """The first of those that are the same folder under several names."""
    distinct: dict[Path, Path] = {}
    for place in places:
        distinct.setdefault(place.resolve(), place)
    return list(distinct.values())


def _looks_like_model(folder: Path) -> bool:
    return (folder / CARD_NAME).is_file() or any(folder.glob("*.onnx"))


def _survey(folder: Path) -> FoundModel:
    card, problem = None, ""
    try:
        card = read_card(folder)
        find_model(folder.resolve(), task=None)
    except ModelError as error:
        problem = str(error)
    except OSError as error:
        problem = f"{error.filename} can't be read: {error.strerror}"
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return FoundModel(folder, card, size, problem)


def find_model(name_or_path: str | Path, extra: Iterable[str | Path] = (), task: str | None = "fusion") -> ModelFolder:
    """Finds a model and verifies it.

    Args:
        name_or_path: A name such as "sage_fast", or the path of a model folder.
        extra: Folders searched before the package's own models/.
        task: What the model must be for; None for anything.

    Raises:
        ModelError: Not found, of another task, its file missing, or its sha256 not the card's.
    """
    extra = list(extra)
    text = str(name_or_path)
    if not text:
        raise ModelError(f"the model's name is empty; the models at hand are {', '.join(list_models(extra))}")
    if "/" in text or text.startswith(("~", ".")):
        folder = Path(text).expanduser()
        if not folder.is_dir():
            raise ModelError(f"model folder {folder} does not exist; give a folder that holds {CARD_NAME}, or a name")
    else:
        places = search_paths(extra)
        found = [place / text for place in places if (place / text / CARD_NAME).is_file()]
        if not found:
            raise ModelError(
                f"no model named '{text}' in {', '.join(map(str, places))}; the models at hand are "
                f"{', '.join(list_models(extra)) or 'none'}"
            )
        folder = found[0]
    card = read_card(folder)
    if task is not None and card.task != task:
        raise ModelError(f"model {folder} is for the task '{card.task}'; a model for '{task}' is needed here")
    return ModelFolder(card, _verified(folder, card.file, card.sha256))


def variant(model: ModelFolder, precision: str) -> ModelFolder:
    """The same model with its file of another precision.

    Raises:
        ModelError: It has none, or that file is missing or not the one its card describes.
    """
    found = model.card.variants.get(precision)
    folder = model.path.parent
    if found is None:
        have = ", ".join(sorted(model.card.variants)) or "no other precision's"
        raise ModelError(
            f"model {folder} has no file for the precision {precision} (it has {have}): make one with "
            f"`sage-fusion models quantise`, or set engine.precision to fp32"
        )
    return replace(model, path=_verified(folder, found.file, found.sha256))


def _verified(folder: Path, name: str, sha256: str) -> Path:
    """A file of a model's folder, if it is the one its card describes."""
    path = folder / name
    if not path.is_file():
        raise ModelError(f"model {folder} has no file {name}, which its card names; copy the folder again")
    actual = sha256_of(path)
    if actual != sha256:
        raise ModelError(
            f"model file {path} has the sha256 {actual}, its card says {sha256}: the file is damaged or is not "
            "the one the card describes; copy the folder again, or export the model anew"
        )
    return path
