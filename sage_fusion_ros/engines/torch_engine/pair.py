"""A pair's whole way in torch: colour split, fusion, colour merge, scaling, perception, boxes and mask, on one device.

Two stages, so that on a GPU the fused image is on its way back while the other network looks at it. What they give is
what the pipeline's numpy and OpenCV give, by test: the fused image within a level, masks and boxes as near as that.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sage_fusion_ros.engines.base import Array
from sage_fusion_ros.engines.device_pair import Floats, Limits, Looking, Pixels, Seen
from sage_fusion_ros.engines.torch_engine.boxes import RECORDED, Boxes, BoxFinder, Mask
from sage_fusion_ros.engines.torch_engine.engine import TorchEngine
from sage_fusion_ros.engines.torch_engine.images import Scaler, blend, luma, recolour
from sage_fusion_ros.engines.torch_engine.program import Program, Tensors, make_program, records, step_by_step

_KEPT = 6  # programs, one for each size and choice of what is wanted
_USUAL = Limits()
Size = tuple[int, int]
Seam = tuple[Floats, Floats]


@dataclass
class _Ready:
    """A program, and what it depends on besides the images."""

    program: Program
    weights: list[Tensor]  # of a seam, on the device; empty without one
    seam: Seam | None = None  # whose values they have


class TorchPair:
    """See DevicePair.

    Args:
        fusion: The fusion network.
        perception: The network that looks at the fused image, on the same device; None: there is none.
        size_multiple: Height and width are padded to a multiple of this for the fusion network.
    """

    def __init__(self, fusion: TorchEngine, perception: TorchEngine | None, size_multiple: int) -> None:
        self._fusion = fusion
        self._perception = perception
        self._multiple = size_multiple
        self._device = fusion.device
        self._lock = threading.Lock()  # guards what is ready
        self._ready: OrderedDict[object, _Ready] = OrderedDict()

    def prepare(self, height: int, width: int, looking: Looking | None) -> None:
        """See DevicePair."""
        self._find((height, width), False, looking)

    def start(
        self,
        rgb: Pixels,
        thermal: Pixels,
        seam: Seam | None = None,
        looking: Looking | None = None,
        limits: Limits = _USUAL,
    ) -> Callable[[], Seen]:
        """See DevicePair."""
        size = (rgb.shape[0], rgb.shape[1])
        ready = self._find(size, seam is not None, looking)
        if seam is not None and (ready.seam is None or any(a is not b for a, b in zip(seam, ready.seam, strict=True))):
            for weight, values in zip(ready.weights, seam, strict=True):
                weight.copy_(torch.from_numpy(values.copy()))
            ready.seam = seam
        arrays: list[Array] = [rgb, thermal, np.array([limits.score, limits.overlap], np.float32)]
        pending = ready.program.start(arrays)

        def wait() -> Seen:
            seen, whole = _seen(pending.result(), looking)
            if whole:
                return seen
            # More candidates than a recording holds: once more, step by step and without a limit.
            stages = self._stages(size, ready.weights, looking, None)
            return _seen(step_by_step(stages, arrays, self._device, self._fusion.threads), looking)[0]

        return wait

    def _find(self, size: Size, with_seam: bool, looking: Looking | None) -> _Ready:
        """The program for a size and what is wanted, made where there is none."""
        key = (size, with_seam, looking)
        with self._lock:
            if key not in self._ready:
                weights = [torch.ones(size, device=self._device) for _ in range(2 * with_seam)]
                stages = self._stages(size, weights, looking, RECORDED if records(self._device) else None)
                arrays: list[Array] = [np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8), np.ones(2, np.float32)]
                program = make_program(stages, arrays, self._device, self._fusion.threads)
                self._ready[key] = _Ready(program, weights)
                if len(self._ready) > _KEPT:
                    self._ready.popitem(last=False)
            self._ready.move_to_end(key)
            return self._ready[key]

    def _stages(
        self, size: Size, weights: list[Tensor], looking: Looking | None, most: int | None
    ) -> list[Callable[[Tensors, Tensors], Tensors]]:
        fuse = self._fuse_stage(size, weights)
        if looking is None:
            return [lambda given, _: fuse(given)]
        look = self._look_stage(looking, most)
        return [lambda given, _: fuse(given), lambda given, made: look(made[0], given[2])]

    def _fuse_stage(self, size: Size, weights: list[Tensor]) -> Callable[[Tensors], Tensors]:
        """(rgb, thermal) to the fused image and whether the network gave numbers."""
        height, width = size
        pads = (0, -width % self._multiple, 0, -height % self._multiple)
        shape = (1, 1, height + pads[3], width + pads[1])
        names = [port.name for port in self._fusion.inputs]
        output = [self._fusion.outputs[0].name]
        network = self._fusion.stage(output, [torch.zeros(shape, device=self._device) for _ in names])

        def fuse(given: Tensors) -> Tensors:
            rgb, thermal = given[:2]
            before = luma(rgb)
            shown = {"rgb_luma": before, "thermal": thermal.float() * (1 / 255)}
            padded = [F.pad(shown[name][None, None], pads, mode="replicate") for name in names]
            after = network(*padded)[0][0, 0, :height, :width]
            fused = recolour(rgb, before, after)
            if weights:
                fused = blend(fused, rgb, *weights)
            return fused, torch.isfinite(after).all()

        return fuse

    def _look_stage(self, looking: Looking, most: int | None) -> Callable[[Tensor, Tensor], Tensors]:
        """(the fused image, the limits) to the mask and a table of boxes, as far as they are wanted."""
        network_engine = self._perception
        assert network_engine is not None
        place, device = looking.place, self._device
        scale = Scaler(place, looking.padding, device)
        example = torch.zeros(1, 3, place.net_height, place.net_width, device=device)
        names = [name for name in (looking.mask, looking.boxes) if name]
        network = network_engine.stage(names, [example])
        find = BoxFinder(place, device, most) if looking.boxes else None
        choose = None
        if looking.mask:
            with torch.inference_mode():
                rows, columns = network(example)[0].shape[2:]
            choose = Mask(looking, rows, columns, device)

        def look(fused: Tensor, limits: Tensor) -> Tensors:
            outputs = network(scale(fused))
            boxes = find(outputs[-1], limits[0], limits[1]) if find else None
            mask = (choose(outputs[0], boxes),) if choose else ()
            return mask if boxes is None else (*mask, _table(boxes), boxes.whole)

        return look


def _table(boxes: Boxes) -> Tensor:
    """float32 (N, 7), a row a box, in one piece for the way back: corners, score, class, and 1 where it stays."""
    columns = [boxes.xyxy, *(each.float()[:, None] for each in (boxes.scores, boxes.classes, boxes.kept))]
    return torch.cat(columns, dim=1)


def _seen(arrays: list[Array], looking: Looking | None) -> tuple[Seen, bool]:
    """What came back, and whether all boxes were looked at."""
    fused, finite, *rest = arrays
    mask = rest.pop(0) if looking is not None and looking.mask else None
    if not rest:
        return Seen(fused, bool(finite), mask), True
    table, whole = rest
    table = table[table[:, 6] > 0]
    scores, ids = np.ascontiguousarray(table[:, 4]), table[:, 5].astype(np.int64)
    return Seen(fused, bool(finite), mask, np.ascontiguousarray(table[:, :4]), scores, ids), bool(whole)
