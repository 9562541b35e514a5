"""The recipes of one network each, by name. `sage`, which trains two, is put together in training/sage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.networks.sage import load_published_student
from sage_fusion_ros.training.config import TrainSettings
from sage_fusion_ros.training.frozen.feature_networks import load_feature_network
from sage_fusion_ros.training.reader import Reader, ReaderTerm
from sage_fusion_ros.training.recipes import perception, sage_distilled, sage_fast
from sage_fusion_ros.training.recipes.base import Recipe
from sage_fusion_ros.training.targets import TargetSettings

RECIPES = ("sage_distilled", "sage_fast", "perception")


def build_recipe(
    settings: TrainSettings, teacher: Path | None = None, reader: Path | None = None, detectors: Sequence[Path] = ()
) -> Recipe:
    """The recipe of the settings.

    Args:
        settings: Of the run.
        teacher: File of the teacher's weights, for recipes that have one.
        reader: ONNX file of a YOLOX detector, for recipes whose term "reading" has a weight.
        detectors: ONNX files of detectors that draw boxes, for the recipe "perception".

    Raises:
        ParameterError: Unknown recipe, term or target setting; a teacher, reader or detector missing or not
            needed.
        ModelError: The teacher's file holds no SAGE student, or the reader's no YOLOX detector.
    """
    if (settings.terms.get("reading", 0.0) > 0) != (reader is not None):
        raise ParameterError(
            "the settings give the term 'reading' a weight; give --reader the ONNX file of a YOLOX detector"
            if reader is None
            else "the settings give the term 'reading' no weight; leave --reader out, or give it one"
        )
    if bool(detectors) != (settings.recipe == "perception"):
        raise ParameterError(
            f"the recipe '{settings.recipe}' draws no boxes; leave --detector out"
            if detectors
            else "the recipe 'perception' needs boxes where people drew none; give --detector an ONNX file"
        )
    if settings.recipe == "perception":
        _check_names("terms", settings.terms, perception.DEFAULT_TERMS)
        _check_names("target", settings.target, ())
        if teacher is not None:
            raise ParameterError("the recipe 'perception' has no teacher; leave --teacher out")
        hints = None
        if settings.terms.get("relations", 0.0) > 0:
            tensors = ",".join(settings.perception.hint_tensors)
            hints = load_feature_network(f"{detectors[0]}@{tensors}" if tensors else str(detectors[0]))
        return perception.PerceptionRecipe(settings.terms, hints)
    if settings.recipe == "sage_distilled":
        _check_names("terms", settings.terms, sage_distilled.DEFAULT_TERMS)
        _check_names("target", settings.target, ())
        if teacher is None:
            raise ParameterError(
                "the recipe 'sage_distilled' has a teacher; give --teacher the published student's weights"
            )
        return sage_distilled.SageDistilledRecipe(load_published_student(teacher), settings.terms)
    if settings.recipe == "sage_fast":
        _check_names("terms", settings.terms, sage_fast.DEFAULT_TERMS)
        _check_names("target", settings.target, [f.name for f in fields(TargetSettings)])
        if teacher is not None:
            raise ParameterError("the recipe 'sage_fast' has no teacher; leave --teacher out")
        target = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.target.items()}
        term = ReaderTerm(Reader(reader), settings.reader.sides) if reader is not None else None
        return sage_fast.SageFastRecipe(TargetSettings(**target), settings.terms, term)
    raise ParameterError(f"no recipe named '{settings.recipe}'; there are {', '.join(RECIPES)}")


def _check_names(section: str, given: dict[str, Any], known: Iterable[str]) -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        names = ", ".join(known) or "none"
        raise ParameterError(f"{section} has the unknown keys {', '.join(unknown)}; known are {names}")
