"""Boxes in torch: decoding, suppression, and the mask that they bear out, with the pipeline's own results.

Nothing here has a size that depends on what is seen when `most` is given, so that a GPU can record it. What such a
recording can't hold, more candidates or longer chains of boxes that suppress each other, is told by a flag, and the
caller does it again without a limit.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sage_fusion_ros.engines.device_pair import Looking, Place

CANDIDATES = 3000  # the pipeline's: of a network without sense, that many are looked at
RECORDED = 1024  # candidates that a recording holds
ROUNDS = 12  # and lengths of chains
_FAR = 1e5  # pixels; the pipeline's
_TINY = 1e-12  # square pixels, of boxes without a size


class Boxes(NamedTuple):
    """Candidates, surest first.

    Attributes:
        xyxy: float32 (N, 4), in pixels of the image, ending at its edges.
        scores: float32 (N,).
        classes: int64 (N,).
        kept: bool (N,), those that stay.
        whole: bool (), whether all there are were looked at.
    """

    xyxy: Tensor
    scores: Tensor
    classes: Tensor
    kept: Tensor
    whole: Tensor


class BoxFinder:
    """Boxes of the layout yolov8, suppressed class by class.

    Args:
        place: Where the image lies in the network's input.
        device: Where outputs are.
        most: Candidates to look at, whatever there are; None: as many as there are, up to the pipeline's limit.
    """

    def __init__(self, place: Place, device: torch.device, most: int | None) -> None:
        self._scale, self._offset = _mapping(place, device)
        self._edge = torch.tensor([place.width, place.height] * 2, dtype=torch.float32).to(device)
        self._most = most

    def __call__(self, raw: Tensor, score: Tensor, overlap: Tensor) -> Boxes:
        """What an image's output says.

        Args:
            raw: float32 (1, 4 + classes, cells): centre and size in pixels of the network's input, scores 0..1.
            score: float32 (), boxes that score no more are dropped.
            overlap: float32 (), of two boxes of a class that overlap more the surer one stays.
        """
        parts = raw[0]
        best, classes = parts[4:].max(dim=0)
        found = best > score
        order = best.masked_fill(~found, -1.0).sort(descending=True, stable=True).indices
        count = found.sum()
        if self._most is None:
            order = order[: min(int(count), CANDIDATES)]
            whole = torch.ones_like(count, dtype=torch.bool)
        else:
            order = order[: min(self._most, len(order))]
            whole = count <= len(order)
        best, classes, found = best[order], classes[order], found[order]
        centre, half = parts[:2, order].T, parts[2:4, order].T / 2
        corners = torch.cat([centre - half, centre + half], dim=1)
        kept, settled = _suppress(corners, classes, found, overlap, None if self._most is None else ROUNDS)
        xyxy = torch.minimum(((corners - self._offset) / self._scale).clamp(min=0), self._edge)
        inside = (xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1])
        return Boxes(xyxy, best, classes, kept & inside, whole & settled)


def _suppress(
    corners: Tensor, classes: Tensor, found: Tensor, overlap: Tensor, rounds: int | None
) -> tuple[Tensor, Tensor]:
    """Which boxes stay, surest first, and whether that is settled.

    A box stays if no surer one that stays overlaps it too much. In each round all boxes are judged by those that stayed
    in the round before; a box is right after as many rounds as there are surer ones in its chain.
    """
    square = corners.double().clamp(-_FAR, _FAR)
    size = (square[:, 2:] - square[:, :2]).clamp(min=0)
    area = size[:, 0] * size[:, 1]
    shared = torch.minimum(square[:, None, 2:], square[None, :, 2:]) - torch.maximum(
        square[:, None, :2], square[None, :, :2]
    )
    common = shared[..., 0].clamp(min=0) * shared[..., 1].clamp(min=0)
    both = area[:, None] + area[None, :]
    share = (common / (both - common).clamp(min=_TINY)).float()
    beaten = ((share > overlap) & (classes[:, None] == classes[None, :])).triu(diagonal=1).float()
    stays = before = found
    settled = torch.ones((), dtype=torch.bool, device=corners.device)
    for _ in range(len(found) if rounds is None else rounds):
        before, stays = stays, found & ~(stays.float()[None] @ beaten)[0].gt(0)
        settled = (before == stays).all()
        if rounds is None and bool(settled):
            break
    return stays, settled


class Mask:
    """Logits over a network's input to ids in the image's size.

    Args:
        looking: What is wanted.
        rows: Of the logits.
        columns: Likewise.
        device: Where they are.
    """

    def __init__(self, looking: Looking, rows: int, columns: int, device: torch.device) -> None:
        self._looking = looking
        self._rows, self._columns = (torch.from_numpy(each).to(device) for each in looking.place.cells(rows, columns))
        self._row, self._column = torch.arange(rows, device=device), torch.arange(columns, device=device)
        place = looking.place
        self._scale, self._offset = _mapping(place, device)
        per_pixel = [columns / place.net_width, rows / place.net_height]
        self._per_pixel = torch.tensor(per_pixel, dtype=torch.float32).to(device)

    def __call__(self, logits: Tensor, boxes: Boxes | None) -> Tensor:
        """float32 (1, C, rows, columns) to uint8 (H, W)."""
        planes = logits[0]
        if boxes is not None and self._looking.vehicles and self._looking.vehicle_kinds:
            bare = ~self._covered(boxes)
            vehicles = self._looking.vehicles
            planes = torch.stack(
                [plane.masked_fill(bare, -torch.inf) if i in vehicles else plane for i, plane in enumerate(planes)]
            )
        ids = planes.argmax(dim=0).to(torch.uint8)
        return ids.index_select(1, self._columns).index_select(0, self._rows)

    def _covered(self, boxes: Boxes) -> Tensor:
        """Cells that a box of a vehicle reaches, bool (rows, columns)."""
        looking = self._looking
        kind = torch.zeros_like(boxes.kept)
        for each in looking.vehicle_kinds:
            kind = kind | (boxes.classes == each)
        valid = boxes.kept & kind & (boxes.scores > looking.vehicle_score)
        xyxy = boxes.xyxy * self._scale + self._offset
        margin = looking.grown * (xyxy[:, 2:] - xyxy[:, :2])
        first = torch.floor((xyxy[:, :2] - margin) * self._per_pixel).clamp(min=0)
        last = torch.ceil((xyxy[:, 2:] + margin) * self._per_pixel).clamp(min=0)
        across = (self._column >= first[:, :1]) & (self._column < last[:, :1]) & valid[:, None]
        down = (self._row >= first[:, 1:]) & (self._row < last[:, 1:])
        return (down.float().T @ across.float()) > 0


def _mapping(place: Place, device: torch.device) -> tuple[Tensor, Tensor]:
    """Scale and offset from pixels of the image to those of the network's input."""
    scale = [place.inner_width / place.width, place.inner_height / place.height]
    numbers = torch.tensor([scale * 2, [place.left, place.top] * 2], dtype=torch.float32).to(device)
    return numbers[0], numbers[1]
