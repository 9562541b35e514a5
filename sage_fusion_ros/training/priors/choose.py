"""The prior that a word of the settings names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.pipeline.classes import UNLABELLED
from sage_fusion_ros.training.perception.label_maps import RGBT_MAPS
from sage_fusion_ros.training.priors.hand import HandMaskPrior
from sage_fusion_ros.training.priors.label_maps import LabelMapPrior, PerceptionPrior
from sage_fusion_ros.training.priors.masks import MaskPrior, NoMasks
from sage_fusion_ros.training.priors.sam_settings import SamSettings

PRIORS = "none, sam:FOLDER, labels:FOLDERNAME[:IDS], perception[:MODEL], hand:FOLDERNAME[,THERMALFOLDERNAME]"
_RGBT_BACKGROUND = 0  # MSRS's first id is what none of its classes is


def load_prior(
    spec: str,
    roots: Sequence[Path] = (),
    sam: SamSettings | None = None,
    device: str = "auto",
    models_path: Iterable[str | Path] = (),
    threads: int = 0,
) -> MaskPrior:
    """The prior for a word such as "sam:weights/sam-vit-base".

    Args:
        spec: "none"; "sam:" and a folder of weights; "labels:" and the name of the folders with label maps beside the
            images, and after another colon the ids, with commas, that are no region (255 unless told; of MSRS's maps
            0 too); "perception", and after a colon the name or folder of a perception model; "hand:" and the name of
            the folders with drawn masks, of both cameras or, with a comma, of the RGB and of the thermal one.
        roots: Folders of the sets, where label maps and drawings are looked for.
        sam: How SAM is asked.
        device: "auto", "cpu" or "cuda".
        models_path: Folders searched for perception models before the package's own.
        threads: CPU threads of a perception model; 0 takes every core.

    Raises:
        ParameterError: No such prior, or the device can't be had.
        ModelError: Its weights or model can't be had, or transformers is missing.
    """
    kind, _, rest = spec.partition(":")
    if spec == "none":
        return NoMasks()
    if kind == "perception" and (rest or spec == kind):
        return PerceptionPrior(rest or "perception", models_path, device, threads)
    if kind == "sam" and rest:
        from sage_fusion_ros.training.priors.sam import SamPrior

        return SamPrior(Path(rest).expanduser(), sam, device)
    if kind == "labels" and rest:
        folder, _, ids = rest.partition(":")
        return LabelMapPrior(roots, folder, _read_ids(spec, ids) if ids else _usual_ignored(folder))
    if kind == "hand" and rest:
        folders = rest.split(",")
        if all(folders) and len(folders) <= 2:
            return HandMaskPrior(roots, *folders)
    raise ParameterError(f"the prior is '{spec}'; there are {PRIORS}")


def _usual_ignored(folder: str) -> tuple[int, ...]:
    return (_RGBT_BACKGROUND, UNLABELLED) if folder == RGBT_MAPS else (UNLABELLED,)


def _read_ids(spec: str, text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and int(part) <= 255 for part in parts):
        raise ParameterError(f"the prior is '{spec}'; after the second colon come ids of 0 to 255 with commas")
    return tuple(map(int, parts))
