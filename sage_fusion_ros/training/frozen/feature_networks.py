"""Frozen networks whose features tell how alike two pictures are, for the contrastive semantic term of SAGE.

The paper's is SAM's image encoder (Kirillov et al. 2023), its first two blocks. Where its weights are not at hand, any
frozen network stands in: the backbone of a detector or of the perception model. A figure that rests on a stand-in is
not the paper's, so each network has a name that says what it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from sage_fusion_ros.engines.card import CARD_NAME
from sage_fusion_ros.errors import ModelError
from sage_fusion_ros.pipeline.perception_network import MASK_OUTPUT
from sage_fusion_ros.training.frozen.network import (
    FrozenNetwork,
    NetworkFile,
    find_file,
    look_through,
    probe_size,
    shown_to,
)
from sage_fusion_ros.training.priors.sam_model import folder_hash, load_sam

STRIDES = (8, 16)
_DOWN = (1, 2, 4, 8, 16, 32)
_SAM_BLOCKS = 2


class FeatureNetwork(Protocol):
    """Feature maps of a picture, from weights that stay as they are.

    Attributes:
        name: What it is and which of its tensors are taken.
        sha256: Of its weights.
    """

    name: str
    sha256: str

    def __call__(self, image: Tensor) -> tuple[Tensor, ...]:
        """Maps (N, C, h, w), float32, of float32 (N, 3, H, W), RGB in 0..1; differentiable in the image.

        No map of a picture depends on the others of the batch.
        """
        ...

    def to(self, device: torch.device) -> FeatureNetwork:
        """Moves its weights to where the pictures will be; itself."""
        ...


class SamBlocks:
    """What the first two blocks of SAM's image encoder make of a picture, at a sixteenth of its size.

    As in SAGE's released code: the patches' embedding and two blocks of windowed attention; no position embedding, none
    of SAM's mean and deviation, no scaling to 1024 pixels and no padding, the values in 0..1 as they are. What SAM was
    trained on looks different, and the paper says nothing of it; a distance needs no more than features that differ.

    Args:
        folder: SAM's weights, as load_sam takes them.

    Raises:
        ModelError: No such weights, transformers is not installed, or the encoder has fewer than two blocks.
    """

    def __init__(self, folder: Path) -> None:
        encoder = load_sam(folder).vision_encoder
        if len(encoder.layers) < _SAM_BLOCKS:
            raise ModelError(f"SAM in {folder} has {len(encoder.layers)} blocks; the first {_SAM_BLOCKS} are needed")
        self.name = f"sam:{Path(folder).name} (blocks 1 and 2)"
        self.sha256 = folder_hash(folder)
        self._layers = nn.ModuleList([encoder.patch_embed.projection, *encoder.layers[:_SAM_BLOCKS]])

    def __call__(self, image: Tensor) -> tuple[Tensor, ...]:
        """See FeatureNetwork; two maps (N, 768, H/16, W/16) with ViT-B, pixels beyond a whole patch are not seen."""
        embed, *blocks = self._layers
        maps = []
        with torch.autocast(image.device.type, enabled=False):
            x = embed(image.float()).permute(0, 2, 3, 1)  # (N, H/16, W/16, 768)
            for block in blocks:
                x = block(x)  # (N, H/16, W/16, 768)
                x = x[0] if isinstance(x, tuple) else x  # transformers before 5 give a tuple
                maps.append(x.permute(0, 3, 1, 2))  # (N, 768, H/16, W/16)
        return tuple(maps)

    def to(self, device: torch.device) -> SamBlocks:
        """See FeatureNetwork."""
        self._layers.to(device)
        return self


class OnnxFeatures:
    """Tensors inside an ONNX network.

    Args:
        file: The network.
        outputs: Names of the tensors; none: what the backbone gives at 1/8 and 1/16, see backbone_tensors.

    Raises:
        ModelError: It can't be looked through, or has no such tensors.
    """

    def __init__(self, file: NetworkFile, outputs: Sequence[str] = ()) -> None:
        chosen = tuple(outputs) or backbone_tensors(file)
        self._network = FrozenNetwork(file, chosen, shown_to(file))
        self.name = f"{file.name} ({', '.join(chosen)})"
        self.sha256 = self._network.sha256

    def __call__(self, image: Tensor) -> tuple[Tensor, ...]:
        """See FeatureNetwork."""
        return self._network(image)

    def to(self, device: torch.device) -> OnnxFeatures:
        """See FeatureNetwork."""
        self._network.to(device)
        return self


def backbone_tensors(file: NetworkFile) -> tuple[str, str]:
    """The last tensors at 1/8 and at 1/16 of the image's size on the way down, before any coarser one is computed.

    SAM's two maps stand at 1/16, but a patch of 16 pixels in a network of convolutions has been looked at by many
    layers; at 1/8 it is nearer to textures and edges. One of each.

    Raises:
        ModelError: The network can't be looked through, or does not go down that way.
    """
    cut = [MASK_OUTPUT] if file.card and file.card.mask_classes and file.card.task == "perception" else None
    graph = look_through(file, cut)
    height, width = probe_size(graph)
    last: dict[int, str] = {}
    with torch.no_grad():
        for name, tensor in graph.walk(torch.zeros(1, 3, height, width)):
            stride = _stride(tensor, height, width)
            if stride and stride >= max(last, default=1):
                last[stride] = name
    if not set(STRIDES) <= last.keys():
        raise ModelError(
            f"{file.path} gives no maps at 1/8 and at 1/16 of the image's size one after the other, so its features "
            "must be named: FILE@TENSOR,TENSOR"
        )
    return last[STRIDES[0]], last[STRIDES[1]]


def _stride(tensor: Tensor, height: int, width: int) -> int:
    """How many pixels a cell of a map has; 0 for what is no map, a mean over the whole image among it."""
    if tensor.ndim != 4 or tensor.shape[1] < 2 or not tensor.is_floating_point():
        return 0
    return next((s for s in _DOWN if tuple(tensor.shape[2:]) == (height / s, width / s)), 0)


def load_feature_network(spec: str, models_path: Iterable[str | Path] = ()) -> FeatureNetwork:
    """A feature network as a user names it.

    Args:
        spec: A folder of SAM's weights (config.json of the type "sam"); an ONNX file; or the name or path of a model
            folder. The latter two may end in "@" and names of tensors, divided by commas.
        models_path: Folders searched before the package's own models/.

    Raises:
        ModelError: Nothing is there, or it can't be used so.
    """
    place, _, names = str(spec).partition("@")
    folder = Path(place).expanduser()
    if (folder / "config.json").is_file() and not (folder / CARD_NAME).is_file():
        return SamBlocks(folder)
    return OnnxFeatures(find_file(place, models_path), [name for name in names.split(",") if name])
