"""Pairs, masks and a tiny SAM for the tests of semantic priors."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sage_fusion_ros.training.pairs import StoredPair
from sage_fusion_ros.training.priors.masks import Grey, PairMasks


def stored_pair(name: str = "set/001", level: int = 100, size: tuple[int, int] = (24, 30)) -> StoredPair:
    rgb = np.full((*size, 3), level, np.uint8)
    return StoredPair(name, rgb, rgb[..., 0], np.full(size, 90, np.uint8))


class CountingPrior:
    """One mask of each camera, as wide as the RGB image is bright; keeps the names it was asked for."""

    def __init__(self, key: str = "a key", stop_at: str = "") -> None:
        self.name, self.key, self.asked, self._stop_at = "counting", key, [], stop_at

    def masks(self, name: str, rgb: Grey, thermal: Grey) -> PairMasks:
        if name == self._stop_at:
            raise KeyboardInterrupt
        self.asked.append(name)
        masks = np.zeros((1, *thermal.shape), bool)
        masks[0, :, : max(1, int(rgb[0, 0, 0]) // 10)] = True
        return PairMasks(masks, ~masks)


def write_sam(folder: Path, safetensors: bool = True) -> Path:
    """A SamModel of random weights whose input has 32 pixels a side, as transformers keeps it."""
    import torch
    from transformers import SamConfig, SamModel

    vision = {
        "image_size": 32,
        "patch_size": 4,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "output_channels": 16,
        "num_pos_feats": 8,
        "window_size": 4,
        "global_attn_indexes": [1],
        "mlp_dim": 32,
    }
    prompts = {"hidden_size": 16, "image_size": 32, "patch_size": 4, "mask_input_channels": 4}
    decoder = {"hidden_size": 16, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = SamModel(SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder))
    model.save_pretrained(folder)
    if not safetensors:
        (folder / "model.safetensors").unlink()
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return folder
