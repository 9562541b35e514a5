"""How SAM is asked for the masks of an image."""

from __future__ import annotations

from dataclasses import dataclass, fields

from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.training.priors.masks import LEAST_AREA


@dataclass(frozen=True)
class SamSettings:
    """How masks are looked for. The defaults are those of the paper's tool where SAGE's release changed nothing.

    Attributes:
        points_per_side: Of the grid; SAGE's release has 128, which takes sixteen times as long.
        points_per_batch: Asked about at once; a matter of memory alone.
        predicted_iou: Least IoU, 0..1, that the network itself expects of its mask.
        stability: Least stability, 0..1.
        stability_offset: Distance of its two thresholds from 0, in logits.
        box_iou: Of two masks whose boxes overlap more, 0..1, the surer one stays.
        least_area: Pixels under which an island is removed, a hole filled and a mask dropped.
        crop_layers: Layers of parts looked at besides the image: layer i has 2^i parts a side; SAGE's release has 1.
        crop_points_divisor: By which the grid's points a side get fewer with each layer.
    """

    points_per_side: int = 32
    points_per_batch: int = 64
    predicted_iou: float = 0.86
    stability: float = 0.92
    stability_offset: float = 1.0
    box_iou: float = 0.7
    least_area: int = LEAST_AREA
    crop_layers: int = 0
    crop_points_divisor: int = 2

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("predicted_iou", "stability", "box_iou"):
                wrong, expected = not 0 <= value <= 1, "0 to 1"
            else:
                lowest = 0 if field.name in ("crop_layers", "least_area", "stability_offset") else 1
                wrong, expected = value < lowest, f"{lowest} or more"
            if wrong:
                raise ParameterError(f"sam: {field.name} is {value}; expected {expected}")
