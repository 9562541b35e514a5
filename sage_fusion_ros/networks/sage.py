"""The SAGE student (CVPR 2025), exactly as published: a plain three-level U-shaped network of 135,617 parameters.

The sub-module names are those of the published state dict, so that a checkpoint of the authors' can be imported
(as a teacher for distillation, or for a parity test). The paper's figure calls the blocks dense; the published
network has no dense connections and no attention, and neither has this one.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sage_fusion_ros.errors import ModelError

PARAMETERS = 135_617


def _cbl(channels_in: int, channels_out: int, kernel: int) -> list[nn.Module]:
    """Convolution, batch norm, leaky ReLU of slope 0.01; the size stays."""
    return [
        nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2),
        nn.BatchNorm2d(channels_out),
        nn.LeakyReLU(0.01),
    ]


class SageStudent(nn.Module):
    """The network that SAGE runs at inference time.

    Args:
        dim: Channels of every level. The published network has 32.
    """

    size_multiple = 1

    def __init__(self, dim: int = 32) -> None:
        super().__init__()
        self.feature_channels: tuple[int, ...] = (dim,) * 5
        self.module1 = self._three(2, dim)
        self.module2 = self._three(dim, dim)
        self.module3 = self._three(dim, dim)
        self.adjust_channels4 = nn.Sequential(*_cbl(2 * dim, dim, 1))
        self.module4 = self._three(dim, dim)
        self.adjust_channels5 = nn.Sequential(*_cbl(2 * dim, dim, 1))
        self.module5 = self._three(dim, dim)
        self.final_decoder = nn.Sequential(nn.Conv2d(dim, 1, 3, padding=1), nn.Tanh())

    @staticmethod
    def _three(channels_in: int, dim: int) -> nn.Sequential:
        return nn.Sequential(*_cbl(channels_in, dim, 3), *_cbl(dim, dim, 3), *_cbl(dim, dim, 3))

    def features(self, rgb_luma: Tensor, thermal: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The fused luma before clamping, and the five features that distillation compares.

        Args:
            rgb_luma: float32 (N, 1, H, W) in 0..1, BT.601 full-range luma of the RGB image; H, W at least 4.
            thermal: float32 (N, 1, H, W) in 0..1.

        Returns:
            Fused luma (N, 1, H, W) in -1..1, and (x1, x2, x3, x4, x5), 32 channels each, at scales
            1, 1/2, 1/4, 1/2 and 1.
        """
        x0 = torch.cat([rgb_luma, thermal], dim=1)  # (N, 2, H, W)
        x1 = self.module1(x0)  # (N, 32, H, W)
        x2 = self.module2(F.max_pool2d(x1, 2))  # (N, 32, H/2, W/2), halves rounded down
        x3 = self.module3(F.max_pool2d(x2, 2))  # (N, 32, H/4, W/4)
        up3 = F.interpolate(x3, size=x2.shape[-2:], mode="bilinear", align_corners=False)  # (N, 32, H/2, W/2)
        x4 = self.module4(self.adjust_channels4(torch.cat([up3, x2], dim=1)))  # (N, 32, H/2, W/2)
        up4 = F.interpolate(x4, size=x1.shape[-2:], mode="bilinear", align_corners=False)  # (N, 32, H, W)
        x5 = self.module5(self.adjust_channels5(torch.cat([up4, x1], dim=1)))  # (N, 32, H, W)
        return self.final_decoder(x5), (x1, x2, x3, x4, x5)  # (N, 1, H, W)

    def forward(self, rgb_luma: Tensor, thermal: Tensor) -> Tensor:
        """Fused luma (N, 1, H, W), clamped to 0..1 (tanh reaches down to -1)."""
        return self.features(rgb_luma, thermal)[0].clamp(0.0, 1.0)


def load_published_student(path: Path) -> SageStudent:
    """Reads a checkpoint of the authors' (or one of the same names), for teaching, import and comparison.

    Nothing but tensors is unpickled, so that a file from anywhere can't run code.

    Args:
        path: A state dict of 121 tensors.

    Returns:
        The network in eval mode, its parameters frozen.

    Raises:
        ModelError: The file is missing, unreadable, or holds no SAGE student.
    """
    if not path.is_file():
        raise ModelError(f"no file at {path}; the weights of a SAGE student are needed (checkpoints.pt of the authors)")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch's own text is a page long and ends with how to run the code in the file.
        raise ModelError(
            f"{path} can't be read as a torch file of tensors alone ({type(error).__name__}); download it again, or "
            "save the network's state_dict()"
        ) from error
    network = SageStudent()
    if reason := _why_other(state, network.state_dict()):
        raise ModelError(f"{path} holds no SAGE student (121 tensors of the published names): {reason}")
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


def _why_other(state: object, wanted: dict[str, Tensor]) -> str:
    """What keeps a file's content from being the state dict of a network; empty when nothing does."""
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        if isinstance(state, dict) and {"recipe", "ema"} <= state.keys():
            return "it is the checkpoint of a training run, which sage-fusion export turns into a model"
        return "it is no plain state dict"
    for what, names in (("lacks", wanted.keys() - state.keys()), ("also has", state.keys() - wanted.keys())):
        if names:
            return f"it {what} {len(names)} tensors, such as {min(map(str, names))}"
    for name, tensor in wanted.items():
        if state[name].shape != tensor.shape:
            return f"{name} is {tuple(state[name].shape)} and not {tuple(tensor.shape)}"
    return ""
