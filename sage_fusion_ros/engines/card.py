"""Model cards: what a model file is, what it takes and gives, and the hash that ties the card to the file."""

from __future__ import annotations

import hashlib
import math
import reprlib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from sage_fusion_ros import safe_yaml
from sage_fusion_ros.errors import ModelError

CARD_NAME = "card.yaml"
MAX_CLASSES = 255  # the id 255 means "no label"
MAX_NAME = 256  # letters: names go into messages, diagnostics and logs
TASKS = ("fusion", "exposure_fusion", "perception", "segmentation", "detection")


@dataclass(frozen=True)
class Tensor:
    """One input or output of a model: its name, element type and range of values."""

    name: str
    dtype: str = "float32"
    range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        for text in (self.name, self.dtype):
            if not isinstance(text, str) or len(text) > MAX_NAME:
                raise ValueError(
                    f"a tensor's name and dtype are texts of at most {MAX_NAME} letters; one is {_short(text)}"
                )
        low, high = (float(bound) for bound in self.range)
        if not low < high or not math.isfinite(high - low):
            raise ValueError(f"tensor '{self.name}' has the range [{low:g}, {high:g}]; the first must be the lower")
        object.__setattr__(self, "range", (low, high))


@dataclass(frozen=True)
class Variant:
    """The same network in another precision, in a file of its own.

    Attributes:
        file: Name of the file in the model's folder.
        sha256: Its hash.
        made: How it was made, and what it was measured to lose (free form).
    """

    file: str
    sha256: str
    made: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_file(self.file, self.sha256)
        if not isinstance(self.made, dict):
            raise ValueError(f"made is {_short(self.made)}; expected a mapping")


FUSION_INPUTS = (Tensor("rgb_luma"), Tensor("thermal"))
FUSION_OUTPUTS = (Tensor("fused_luma"),)


@dataclass(frozen=True)
class ModelCard:
    """The text beside a model file.

    Attributes:
        name: Name of the model, which is its folder's name.
        task: One of TASKS.
        sha256: Hash of the model file, as hexadecimal digits.
        licence: Licence of the weights.
        description: One paragraph for people.
        file: Name of the model file in the same folder.
        version: Version of the weights.
        inputs: Tensors the model takes: N1HW for fusion; one N3HW, RGB, for every other task.
        outputs: Tensors the model gives.
        size_multiple: Height and width are padded up to a multiple of this before the model runs.
        mask_classes: Names of a mask's ids, in their order, at most 255; empty where the model gives no mask.
        detection_classes: Names of the classes of boxes, in their order; empty where the model gives none.
        input_side: The image is scaled so that its longer side has this many pixels; 0 leaves it as it is.
        parameters: Number of trained values.
        variants: The same network in other precisions, by their names ("int8").
        training: How and on what it was trained (free form).
        measured: Measured quality and cost, with the commands (free form).
    """

    name: str
    task: str
    sha256: str
    licence: str
    description: str = ""
    file: str = "model.onnx"
    version: str = "1"
    inputs: tuple[Tensor, ...] = FUSION_INPUTS
    outputs: tuple[Tensor, ...] = FUSION_OUTPUTS
    size_multiple: int = 1
    mask_classes: tuple[str, ...] = ()
    detection_classes: tuple[str, ...] = ()
    input_side: int = 0
    parameters: int = 0
    variants: dict[str, Variant] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    measured: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in ("name", "task", "sha256", "file", "version"):
            if len(getattr(self, key)) > MAX_NAME:
                raise ValueError(f"{key} is {_short(getattr(self, key))}; expected at most {MAX_NAME} letters")
        if self.task not in TASKS:
            raise ValueError(f"task is '{self.task}'; expected one of {', '.join(TASKS)}")
        _check_file(self.file, self.sha256)
        if not 1 <= self.size_multiple <= 256:
            raise ValueError(f"size_multiple is {self.size_multiple}; expected 1 to 256")
        if self.input_side % 32 or not 0 <= self.input_side <= 8192:
            raise ValueError(f"input_side is {self.input_side}; expected 0, or a multiple of 32 from 32 to 8192")
        for key in ("mask_classes", "detection_classes"):
            check_classes(getattr(self, key), key)


def _check_file(file: str, sha256: str) -> None:
    for key, text in (("file", file), ("sha256", sha256)):
        if not isinstance(text, str) or len(text) > MAX_NAME:
            raise ValueError(f"{key} is {_short(text)}; expected a text of at most {MAX_NAME} letters")
    if Path(file).name != file or file in ("", ".", "..") or "\0" in file:
        raise ValueError(f"file is {_short(file)}; expected a plain file name in the model's own folder")
    if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
        raise ValueError(f"sha256 is '{sha256}'; expected 64 hexadecimal digits in lower case")


def check_classes(names: tuple[str, ...], what: str) -> None:
    """Holds a list of class names to what ids of eight bits and lookups by name need.

    Raises:
        ValueError: More than 255 names, an empty one, or one that comes twice.
    """
    if len(names) > MAX_CLASSES:
        raise ValueError(f"{what} has {len(names)} names; expected at most {MAX_CLASSES}")
    for index, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"{what} has no name for the id {index}: it holds {_short(name)}")
        if len(name) > MAX_NAME:
            raise ValueError(f"{what} has a name of {len(name)} letters for the id {index}; expected up to {MAX_NAME}")
        if name in names[:index]:
            raise ValueError(f"{what} has the name '{name}' twice, for the ids {names.index(name)} and {index}")


def _short(value: object) -> str:
    """A value from a card as an error may quote it, on one line and of bounded length."""
    return reprlib.repr(value)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file as lower-case hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def read_card(folder: Path) -> ModelCard:
    """Reads and checks a folder's card.yaml.

    Raises:
        ModelError: The card is missing, is no YAML mapping, or has missing, unknown or wrong fields.
    """
    path = folder / CARD_NAME
    try:
        data = safe_yaml.read(path)
    except OSError as error:
        raise ModelError(f"model card {path} can't be read ({error.strerror}); a model folder needs one") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ModelError(f"model card {path} is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise ModelError(f"model card {path} holds {type(data).__name__}; expected a mapping of fields")
    known = {f.name: f for f in fields(ModelCard)}
    unknown = sorted(str(key) for key in data.keys() - known.keys())
    missing = sorted({"name", "task", "sha256", "licence"} - data.keys())
    if unknown or missing:
        what = [f"unknown fields {_short(unknown)}"] * bool(unknown) + [f"missing fields {missing}"] * bool(missing)
        raise ModelError(f"model card {path} has {' and '.join(what)}; the fields are {sorted(known)}")
    try:
        for key in ("inputs", "outputs"):
            if key in data:
                data[key] = tuple(Tensor(**tensor) for tensor in data[key])
        for key in ("name", "task", "sha256", "licence", "description", "file", "version"):
            if key in data:
                data[key] = str(data[key])
        for key in ("size_multiple", "input_side", "parameters"):
            if key in data:
                data[key] = int(data[key])
        for key in ("mask_classes", "detection_classes"):
            if key in data:
                if not isinstance(data[key], list):
                    raise ValueError(f"{key} is {_short(data[key])}; expected a list of names")
                data[key] = tuple(data[key])
        if "variants" in data:
            if not isinstance(data["variants"], dict) or not all(isinstance(name, str) for name in data["variants"]):
                raise ValueError(f"variants is {_short(data['variants'])}; expected a mapping by precision")
            data["variants"] = {name: Variant(**each) for name, each in data["variants"].items()}
        return ModelCard(**data)
    except (TypeError, ValueError, OverflowError) as error:
        raise ModelError(f"model card {path}: {str(error)[:500]}") from error


def write_card(folder: Path, card: ModelCard) -> Path:
    """Writes card.yaml into a folder; the inverse of read_card."""
    data = asdict(card)
    for key in ("inputs", "outputs"):
        data[key] = [{**tensor, "range": list(tensor["range"])} for tensor in data[key]]
    for key in ("mask_classes", "detection_classes"):
        data[key] = list(data[key])
    path = folder / CARD_NAME
    path.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110), encoding="utf-8")
    return path
