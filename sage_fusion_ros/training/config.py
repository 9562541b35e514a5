"""A recipe's settings, read from YAML and checked by name."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from sage_fusion_ros import safe_yaml
from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.sources.split import SplitSettings
from sage_fusion_ros.training.perception.settings import PerceptionSettings
from sage_fusion_ros.training.priors.sam_settings import SamSettings
from sage_fusion_ros.training.sage.settings import SageSettings


@dataclass(frozen=True)
class AugmentSettings:
    """How a training pair is changed. Chances are 0..1.

    Attributes:
        dark, glare, haze: Chance of a dark RGB image, of headlight glare in it, of fog that hides it.
        thermal_range: Chance of another brightness and contrast of the thermal image.
        thermal_noise, rgb_noise: Chance of sensor noise. The target stays that of the clean pair.
        noise_max: Greatest standard deviation of that noise, in 0..1 grey.
    """

    dark: float = 0.0
    glare: float = 0.0
    haze: float = 0.0
    thermal_range: float = 0.0
    thermal_noise: float = 0.0
    rgb_noise: float = 0.0
    noise_max: float = 0.04


@dataclass(frozen=True)
class ReaderSettings:
    """How a frozen detector looks at the fused pictures, for recipes with the term "reading".

    Attributes:
        pairs: Whole pairs it looks at in each step.
        sides: Lengths in pixels, multiples of 32, one of which the longer side is scaled to.
        keep_boxed_for_judging: Leaves out the pairs in which people have drawn boxes, so that what this detector reads
            in them afterwards is worth something.
    """

    pairs: int = 1
    sides: tuple[int, ...] = (320, 352, 384, 416, 448)
    keep_boxed_for_judging: bool = True

    def __post_init__(self) -> None:
        if self.pairs < 1 or not self.sides or any(side < 64 or side % 32 for side in self.sides):
            raise ParameterError(
                f"reader: pairs is {self.pairs} and sides are {list(self.sides)}; expected 1 or more pairs, and sides "
                "that are multiples of 32 from 64 on"
            )


@dataclass(frozen=True)
class TrainSettings:
    """All settings of a run.

    Attributes:
        recipe: "sage", "sage_distilled", "sage_fast" or "perception".
        seed: Of weights, crops and augmentation.
        steps: Optimiser steps in all.
        batch, crop: Pairs a micro-batch, and the side of their square crops in pixels (a multiple of 32).
        accumulate: Micro-batches a step in each process, whose gradients are averaged.
        device: "cpu", "cuda", or "auto": a GPU where there is one. A run may go on elsewhere than it began.
        learning_rate, learning_rate_end: AdamW's, from the first to the second along half a cosine.
        weight_decay: Share of the weights that a step at learning rate 1 would take off (Loshchilov and Hutter 2019).
        warmup_steps: Steps over which the learning rate rises from 0.
        ema_decay: Decay of the running mean of the weights that is exported; 0 exports the last weights.
        batch_norm_share: Leading share of the steps in which batch norms follow their batch. After it they keep their
            running mean, as at run time. A batch norm that follows its batch takes the brightness out of it, and with
            it the means to match a teacher's brightness.
        learns: Beginnings of the names of the parameters that learn, for a later stage of a recipe with one network;
            empty: all. With batch_norm_share 0 nothing else changes.
        bf16_share: Leading share of the steps that computes in bfloat16 (about half the time on a CPU that has it).
        video_stride: Every how many frames of a video one is taken.
        checkpoint_every, log_every: Steps between checkpoints and between rows of the log.
        validate_every: Steps between validations, for recipes that have one; 0 for none.
        patience: Validations in a row without a better score that end the run; 0 goes on to the last step.
        terms: Weight of each loss term of the recipe; missing ones keep the recipe's default.
        target: Settings of the recipe's target, by name; missing ones keep their defaults.
        reader, perception, sage, sam, split, augment: See there.
    """

    recipe: str
    seed: int = 1
    steps: int = 1000
    batch: int = 8
    crop: int = 160
    accumulate: int = 1
    device: str = "auto"
    learning_rate: float = 2e-3
    learning_rate_end: float = 1e-5
    weight_decay: float = 0.0
    warmup_steps: int = 0
    ema_decay: float = 0.0
    batch_norm_share: float = 1.0
    learns: tuple[str, ...] = ()
    bf16_share: float = 0.0
    video_stride: int = 15
    checkpoint_every: int = 250
    log_every: int = 10
    validate_every: int = 0
    patience: int = 0
    terms: dict[str, float] = field(default_factory=dict)
    target: dict[str, Any] = field(default_factory=dict)
    reader: ReaderSettings = field(default_factory=ReaderSettings)
    perception: PerceptionSettings = field(default_factory=PerceptionSettings)
    sage: SageSettings = field(default_factory=SageSettings)
    sam: SamSettings = field(default_factory=SamSettings)
    split: SplitSettings = field(default_factory=SplitSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "accumulate", "video_stride", "checkpoint_every", "log_every"):
            if getattr(self, name) < 1:
                raise ParameterError(f"{name} is {getattr(self, name)}; expected 1 or more")
        for name in ("validate_every", "patience"):
            if getattr(self, name) < 0:
                raise ParameterError(f"{name} is {getattr(self, name)}; expected 0 or more")
        if self.patience and not self.validate_every:
            raise ParameterError(f"patience is {self.patience}, but nothing is validated; give validate_every a value")
        if self.device not in ("auto", "cpu", "cuda"):
            raise ParameterError(f"device is '{self.device}'; expected auto, cpu or cuda")
        if self.crop < 32 or self.crop % 32:
            raise ParameterError(f"crop is {self.crop}; expected a multiple of 32")
        if not 0 <= self.ema_decay < 1 or not 0 <= self.bf16_share <= 1 or not 0 <= self.batch_norm_share <= 1:
            raise ParameterError("ema_decay must be in 0..1 (1 excluded), bf16_share and batch_norm_share in 0..1")
        if self.learns and self.recipe == "sage":
            raise ParameterError("learns is for recipes with one network; in 'sage', student and teacher learn whole")

    @property
    def network(self) -> str:
        """Name of the network that is exported."""
        return {"sage": self.sage.student, "sage_distilled": "sage"}.get(self.recipe, self.recipe)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for checkpoints and model cards."""
        return asdict(self)


def read_settings(path: Path, recipe: str, **overrides: Any) -> TrainSettings:
    """Reads a recipe's YAML file.

    Args:
        path: The file.
        recipe: The recipe that is meant; the file must be for it.
        overrides: Settings that replace the file's where they are not None.

    Raises:
        ParameterError: Unreadable file, unknown key, wrong type or value, or another recipe's file.
    """
    try:
        data = safe_yaml.read(path)
    except OSError as error:
        raise ParameterError(f"training settings {path} can't be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParameterError(f"training settings {path} are not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise ParameterError(f"training settings {path} hold {type(data).__name__}; expected a mapping")
    if data.get("recipe", recipe) != recipe:
        raise ParameterError(f"{path} is for the recipe '{data['recipe']}'; '{recipe}' was asked for")
    data = {**data, "recipe": recipe, **{key: value for key, value in overrides.items() if value is not None}}
    data["split"] = _section(SplitSettings, data.get("split"), f"{path}: split")
    data["reader"] = _section(ReaderSettings, data.get("reader"), f"{path}: reader")
    data["perception"] = _section(PerceptionSettings, data.get("perception"), f"{path}: perception")
    data["sage"] = _section(SageSettings, data.get("sage"), f"{path}: sage")
    data["sam"] = _section(SamSettings, data.get("sam"), f"{path}: sam")
    data["augment"] = _section(AugmentSettings, data.get("augment"), f"{path}: augment")
    return _section(TrainSettings, data, str(path))


def _section(kind: type, data: Any, where: str) -> Any:
    """One dataclass from a mapping; ints may stand for floats, lists for tuples, nothing else is converted."""
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise ParameterError(f"{where} holds {type(data).__name__}; expected a mapping")
    known = {f.name: f for f in fields(kind)}
    unknown = sorted(str(key) for key in data.keys() - known.keys())
    if unknown:
        raise ParameterError(f"{where} has the unknown keys {', '.join(unknown)}; known are {', '.join(known)}")
    values = {}
    for name, value in data.items():
        expected = str(known[name].type)
        if expected == "float" and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if expected.startswith("tuple") and isinstance(value, list):
            value = tuple(value)
        if not _fits(value, expected):
            raise ParameterError(f"{where}: {name} is {value!r}; expected {expected}")
        values[name] = value
    return kind(**values)


def _fits(value: Any, expected: str) -> bool:
    """Whether a value is exactly of the annotated type (True is no int); nested sections check themselves."""
    plain = {"int": int, "float": float, "str": str, "bool": bool}
    if expected.startswith("tuple["):
        inner = plain[expected.removeprefix("tuple[").removesuffix(", ...]")]
        return isinstance(value, tuple) and all(type(item) is inner for item in value)
    return expected not in plain or type(value) is plain[expected]
