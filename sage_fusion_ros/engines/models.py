"""Finds a model folder by name or path and makes sure that its file is the one its card describes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
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
    path = folder / card.file
    if not path.is_file():
        raise ModelError(f"model {folder} has no file {card.file}, which its card names; copy the folder again")
    actual = sha256_of(path)
    if actual != card.sha256:
        raise ModelError(
            f"model file {path} has the sha256 {actual}, its card says {card.sha256}: the file is damaged or is not "
            "the one the card describes; copy the folder again, or export the model anew"
        )
    return ModelFolder(card, path)
