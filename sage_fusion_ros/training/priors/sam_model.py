"""Segment Anything from a folder of weights: the network that is asked about points.

A folder as transformers keeps it: config.json of the type "sam", and model.safetensors (or pytorch_model.bin, of which
only tensors are taken). What transformers' own image processor does is done here, since that needs torchvision:
longer side scaled to the network's (1024), less SAM's mean, padded at the right and bottom.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from sage_fusion_ros.engines.card import sha256_of
from sage_fusion_ros.errors import ModelError
from sage_fusion_ros.training.priors.masks import Grey

if TYPE_CHECKING:
    from transformers import SamModel

_MEAN, _DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_SAFETENSORS, _SHARDS, _TORCH = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"
_PICKLED = "it holds more than tensors, or is damaged; have it as model.safetensors instead"


def load_sam(folder: Path) -> SamModel:
    """The model, float32 on the CPU, frozen. Nothing is fetched from anywhere, and no code of the folder is run.

    Raises:
        ModelError: transformers is not installed; or the folder is not SAM's, its weights are missing, damaged, do not
            fit its config.json, or are a pickle of more than tensors.
    """
    try:
        from transformers import SamConfig, SamModel
        from transformers.utils.logging import disable_progress_bar
    except ModuleNotFoundError as error:
        raise ModelError(
            f"SAM needs {error.name}, which is not installed: pip install 'sage_fusion_ros[sam]'"
        ) from error
    folder = Path(folder).expanduser()
    weights = weight_files(folder)
    disable_progress_bar()  # of loading, which takes a moment; the verb's own bar follows
    try:
        config = SamConfig.from_pretrained(folder, local_files_only=True)
        if weights[0].name == _TORCH:
            state = torch.load(weights[0], map_location="cpu", weights_only=True)
            model, info = SamModel.from_pretrained(
                None, config=config, state_dict=state, dtype=torch.float32, output_loading_info=True
            )
        else:
            model, info = SamModel.from_pretrained(
                folder,
                config=config,
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except pickle.UnpicklingError as error:
        raise ModelError(f"the weights {weights[0]} are refused: {_PICKLED}") from error
    except Exception as error:  # transformers and safetensors raise many kinds for a damaged file
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"SAM in {folder} can't be read: {first_line}; copy the folder again") from error
    # What is there beyond SAM does no harm; what is not would be random, with a warning.
    wrong = [f"{len(info[kind])} {kind}" for kind in info if kind != "unexpected_keys" and info[kind]]
    if wrong:
        raise ModelError(
            f"the weights in {folder} are not those that its config.json describes ({', '.join(wrong)}); copy it again"
        )
    return model.eval().requires_grad_(False)


def weight_files(folder: Path) -> list[Path]:
    """The files that decide what the network in a folder answers.

    Raises:
        ModelError: It holds no SAM in transformers' form.
    """
    hint = "give a folder with SAM's config.json and model.safetensors, as transformers' save_pretrained writes it"
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except OSError as error:
        raise ModelError(f"no config.json can be read in {folder} ({error.strerror}); {hint}") from error
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{folder / 'config.json'} is no valid JSON mapping; {hint}") from error
    if kind != "sam":
        raise ModelError(f"{folder} holds a model of the type {kind!r}, not 'sam'; {hint}")
    if (folder / _SHARDS).is_file():
        return [folder / _SHARDS, *_shards(folder)]
    for name in (_SAFETENSORS, _TORCH):
        if (folder / name).is_file():
            return [folder / name]
    raise ModelError(f"{folder} has neither {_SAFETENSORS} nor {_TORCH}; {hint}")


def _shards(folder: Path) -> list[Path]:
    """The files that the index of a model in several parts names; they have to lie in the folder."""
    index = folder / _SHARDS
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{index} is no index of weights ({type(error).__name__}); copy the folder again") from error
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise ModelError(f"{index} names {name!r}; expected safetensors files in its own folder")
    return [folder / name for name in names]


def folder_hash(folder: Path) -> str:
    """Of config.json and the weights."""
    folder = Path(folder).expanduser()
    return "-".join(sha256_of(path) for path in (folder / "config.json", *weight_files(folder)))


class SamView:
    """A view that SAM has looked at: its embedding is computed once, then points are asked about.

    Args:
        model: A SamModel, or what answers like one.
        rgb: uint8 HxWx3.
        device: The model's.
    """

    def __init__(self, model: Any, rgb: Grey, device: torch.device) -> None:
        self._model, self._device = model, device
        self._size = rgb.shape[:2]
        self._side = int(model.config.vision_config.image_size)
        self._scaled = scaled_size(self._size, self._side)
        with torch.inference_mode():
            self._embedding = model.get_image_embeddings(to_input(rgb, self._side).to(device))

    def propose(self, points: npt.NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        """See View: logits (3 P, side / 4, side / 4) over the padded input, and IoU (3 P,)."""
        scale = [new / old for new, old in zip(self._scaled[::-1], self._size[::-1], strict=True)]
        asked = torch.as_tensor(points * scale, dtype=torch.float32, device=self._device)[None, :, None]  # (1, P, 1, 2)
        labels = torch.ones(asked.shape[:3], dtype=torch.int64, device=self._device)
        with torch.inference_mode():
            answer = self._model(input_points=asked, input_labels=labels, image_embeddings=self._embedding)
        return answer.pred_masks.flatten(0, 2).float(), answer.iou_scores.flatten().float()

    def enlarge(self, logits: Tensor) -> Tensor:
        """See View: to the padded input's size, without the padding, to the view's."""
        with torch.inference_mode():
            padded = F.interpolate(logits[None], size=(self._side, self._side), mode="bilinear", align_corners=False)
            shown = padded[:, :, : self._scaled[0], : self._scaled[1]]
            return F.interpolate(shown, size=self._size, mode="bilinear", align_corners=False)[0]


def scaled_size(size: tuple[int, ...], side: int) -> tuple[int, int]:
    """Height and width after the longer one has become `side`, rounded to whole pixels, at least 1."""
    scale = side / max(size)
    return max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5))


def to_input(rgb: Grey, side: int) -> Tensor:
    """An image as SAM wants it: float32 (1, 3, side, side), normalised, 0 where padded at the right and bottom."""
    pixels = torch.from_numpy(rgb).permute(2, 0, 1)[None].float()
    height, width = scaled_size(rgb.shape[:2], side)
    scaled = F.interpolate(pixels, size=(height, width), mode="bilinear", align_corners=False, antialias=True)
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (_MEAN, _DEVIATION))
    normalised = (scaled.round().clamp(0, 255) - mean) / deviation
    return F.pad(normalised, (0, side - width, 0, side - height))
