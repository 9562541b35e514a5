"""The models a node runs: loaded and warmed, and replaced while the old ones go on serving."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from sage_fusion_ros.engines.base import EngineInfo
from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.nodes.outputs import Classes
from sage_fusion_ros.nodes.settings import network_options, perception_choice
from sage_fusion_ros.pipeline.fuse import Fuser, load_fuser
from sage_fusion_ros.pipeline.perceive import Perceiver, PerceptionChoice, load_perceiver


@dataclass(frozen=True)
class Models:
    """What serves at one time: a fusion model, and a perceiver where one is asked for."""

    fuser: Fuser
    perceiver: Perceiver | None

    @property
    def classes(self) -> Classes:
        """Class names of mask and boxes."""
        found = self.perceiver
        return Classes(found.mask_classes, found.detection_classes) if found is not None else Classes()

    @property
    def perception_infos(self) -> dict[str, EngineInfo]:
        """Where each network of the perceiver runs, by its name."""
        found = self.perceiver
        return dict(zip(found.names, found.infos, strict=True)) if found is not None else {}

    def sharing(self) -> tuple[Fuser, Perceiver | None]:
        """Both for the thread of one pair of cameras, with buffers of its own."""
        return self.fuser.sharing(), self.perceiver and self.perceiver.sharing()

    def close(self) -> None:
        """Frees both."""
        self.fuser.close()
        if self.perceiver is not None:
            self.perceiver.close()


class ModelLoader:
    """Loads models as the parameters say, one call at a time.

    Args:
        log: Takes one line for each thing worth telling.
    """

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps other threads from loading until what is loaded inside is in its place.

        Raises:
            ParameterError: Another thread is loading.
        """
        if not self._lock.acquire(blocking=False):
            raise ParameterError("the model can't change now: another one is being loaded; try again after it")
        try:
            yield
        finally:
            self._lock.release()

    def load(
        self,
        values: dict[str, Any],
        size: tuple[int, int],
        check: Callable[[Classes], None],
        serving: Models | None = None,
        old: dict[str, Any] | None = None,
    ) -> Models:
        """Loads both models, or only what differs from those serving, which stay as they are.

        Args:
            values: All parameters of the node.
            size: Height and width of the warm-up images.
            check: Raises where the node can't publish the classes.
            serving: The models serving now, if any.
            old: The parameters that these were loaded with.

        Raises:
            SageFusionError: A model can't be had, or its classes can't be published; nothing new stays loaded.
        """
        fresh: list[Fuser | Perceiver] = []
        choice = perception_choice(values)
        try:
            if serving is not None and old is not None and values["fusion.model"] == old["fusion.model"]:
                fuser = serving.fuser
            else:
                fuser = self._load_fuser(values, size)
                fresh.append(fuser)
            if serving is not None and old is not None and choice == perception_choice(old):
                perceiver = serving.perceiver
            else:
                perceiver = self._load_perceiver(choice, values, size)
                fresh += [perceiver] if perceiver is not None else []
            models = Models(fuser, perceiver)
            check(models.classes)
        except Exception:
            for loaded in fresh:
                loaded.close()
            raise
        return models

    def _load_fuser(self, values: dict[str, Any], size: tuple[int, int]) -> Fuser:
        started = self._begin(values["fusion.model"], values)
        fuser = load_fuser(values["fusion.model"], replace(network_options(values), warm_up_size=size))
        self._warm(fuser.card.name, fuser.engine.info, started)
        return fuser

    def _load_perceiver(
        self, choice: PerceptionChoice, values: dict[str, Any], size: tuple[int, int]
    ) -> Perceiver | None:
        asked = (choice.perception_model, choice.detection_model, choice.segmentation_model)
        started = self._begin(", ".join(filter(None, asked)), values)
        perceiver = load_perceiver(choice, replace(network_options(values), warm_up_size=size))
        if perceiver is not None:
            for name, info in zip(perceiver.names, perceiver.infos, strict=True):
                self._warm(name, info, started)
        return perceiver

    def _begin(self, model: str, values: dict[str, Any]) -> float:
        if model:
            self._log(f"loading model {model} on {values['engine.device']}")
        return time.monotonic()

    def _warm(self, name: str, info: EngineInfo, started: float) -> None:
        self._log(f"model {name} is warm after {time.monotonic() - started:.1f} s: {info.library}, {info.provider}")


def differs(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether two sets of parameters ask for different models."""
    return old["fusion.model"] != new["fusion.model"] or perception_choice(old) != perception_choice(new)
