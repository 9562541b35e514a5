"""Has a network a pattern of its own? Its energy at the periods of its grid, where both sources are flat."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import ImageFormatError

PERIODS = (2, 4, 8)
WINDOW = (
    32  # pixels a side; a multiple of twice the longest period, so that each period falls on a line of the spectrum
)
_STEP = WINDOW // 2  # the Hann window fades the edges out; with half overlap every pixel counts the same
_FLAT = 3.0  # greatest standard deviation of a flat window, in grey levels
_DIRECTIONS = 4
_LIT = (4.0, 245.0)  # where clipping hides neither a pattern nor the sources' noise: mean of the brighter source

Grey = npt.NDArray[np.uint8]


@dataclass
class FlatEnergy:
    """Sums spectral energy over flat windows, image by image; the sums of two objects add up with `+`.

    In each window of 32x32 pixels a plane is taken out, so that a soft gradient does not leak into the spectrum, and a
    Hann window laid over it. The energy of a period p is |F|^2 at the frequency 1/p along x, along y and on both
    diagonals. A window counts where both sources are flat (standard deviation under 3) and lit without being burnt out,
    whatever the fused image shows there, so that every way of fusing is measured on the same windows.

    Attributes:
        windows: How many counted.
        energy: By name ("rgb", "thermal", "fused"), the sums for the periods of 2, 4 and 8 pixels.
    """

    windows: int = 0
    energy: dict[str, npt.NDArray[np.float64]] = field(
        default_factory=lambda: {name: np.zeros(len(PERIODS)) for name in ("rgb", "thermal", "fused")}
    )

    def add(self, rgb_luma: Grey, thermal: Grey, fused: Grey) -> None:
        """Takes one image, uint8 HxW each.

        Raises:
            ImageFormatError: An image is no uint8 HxW, the sizes differ, or a side has fewer than 32 pixels.
        """
        images = {"rgb": rgb_luma, "thermal": thermal, "fused": fused}
        for name, image in images.items():
            if image.dtype != np.uint8 or image.shape != rgb_luma.shape or image.ndim != 2 or min(image.shape) < WINDOW:
                raise ImageFormatError(
                    f"{name} is {image.dtype} of shape {image.shape}; expected uint8 HxW in the size of rgb, "
                    f"{rgb_luma.shape}, with sides of {WINDOW} pixels or more"
                )
        rgb_windows, thermal_windows, fused_windows = (_windows(image) for image in images.values())
        # Row by row of windows: overlapping windows of a whole large image as floats would fill the memory.
        for row in range(len(rgb_windows)):
            rgb, thermal_ = (windows[row].astype(np.float32) for windows in (rgb_windows, thermal_windows))
            brighter = np.maximum(rgb, thermal_).mean(axis=(1, 2))
            chosen = (rgb.std(axis=(1, 2)) < _FLAT) & (thermal_.std(axis=(1, 2)) < _FLAT)
            chosen &= (brighter > _LIT[0]) & (brighter < _LIT[1])
            if chosen.any():
                self.windows += int(chosen.sum())
                self.energy["rgb"] += _energy(rgb[chosen])
                self.energy["thermal"] += _energy(thermal_[chosen])
                self.energy["fused"] += _energy(fused_windows[row][chosen])

    def ratios(self) -> dict[int, float]:
        """The fused image's energy over the greater of the sources', by period; nan where no window was flat.

        The sources' energy counts as at least that of rounding to 8 bits, which a synthetic image may lack.
        """
        if not self.windows:
            return dict.fromkeys(PERIODS, float("nan"))
        greater = np.maximum(np.maximum(self.energy["rgb"], self.energy["thermal"]), self.windows * _ROUNDING)
        return {period: float(r) for period, r in zip(PERIODS, self.energy["fused"] / greater, strict=True)}

    def __add__(self, other: FlatEnergy) -> FlatEnergy:
        """What both have seen."""
        energy = {name: self.energy[name] + other.energy[name] for name in self.energy}
        return FlatEnergy(self.windows + other.windows, energy)


def _windows(image: Grey) -> npt.NDArray[np.uint8]:
    """View of uint8 rows x columns x 32 x 32."""
    return np.lib.stride_tricks.sliding_window_view(image, (WINDOW, WINDOW))[::_STEP, ::_STEP]


def _hann() -> npt.NDArray[np.float64]:
    line = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    return np.outer(line, line)


def _waves() -> npt.NDArray[np.float64]:
    """1024 x (periods x directions x 2): cosine and sine along x, y and both diagonals, times the Hann window."""
    y, x = np.mgrid[:WINDOW, :WINDOW]
    phases = np.stack([2 * np.pi * phase / p for p in PERIODS for phase in (x, y, x + y, x - y)])
    waves = np.stack([np.cos(phases), np.sin(phases)], axis=1) * _HANN
    return waves.reshape(-1, WINDOW * WINDOW).T.copy()


_HANN = _hann()
_WAVES = _waves()
_RAMP = (np.arange(WINDOW) - (WINDOW - 1) / 2) / np.sqrt(WINDOW * (WINDOW**2 - 1) / 12)  # of norm 1
_PLANE = np.stack([v.reshape(-1) for v in np.meshgrid(_RAMP, _RAMP)], axis=1) / np.sqrt(WINDOW)  # 1024 x 2, orthonormal
_ROUNDING = _DIRECTIONS * (_HANN**2).sum() / 12  # in one window: rounding is white noise of variance 1/12


def _energy(windows: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """Energy at the periods, summed over windows (N x 32 x 32) and directions."""
    flat = windows.reshape(len(windows), -1).astype(np.float64)
    flat -= flat.mean(axis=1, keepdims=True)
    flat -= flat @ _PLANE @ _PLANE.T
    return ((flat @ _WAVES) ** 2).sum(axis=0).reshape(len(PERIODS), -1).sum(axis=1)
