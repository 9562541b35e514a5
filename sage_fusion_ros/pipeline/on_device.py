"""The work on a pair where the engine keeps it on its device; the same results as by fuse.py and perceive.py."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.engines.device_pair import DevicePair, Limits, join
from sage_fusion_ros.errors import ModelError
from sage_fusion_ros.pipeline.perception_network import PerceptionNetwork, least_score, surer
from sage_fusion_ros.pipeline.registration import Registered
from sage_fusion_ros.pipeline.types import Detections

if TYPE_CHECKING:
    from sage_fusion_ros.pipeline.fuse import Fuser
    from sage_fusion_ros.pipeline.perceive import Perceiver

Pixels = npt.NDArray[np.uint8]
logger = logging.getLogger(__name__)


class OnDevice:
    """Fusion, and perception by the package's own kind of network, between one upload and one download.

    Attributes:
        perceives: Whether it gives mask and boxes; where not, the perceiver has to be asked for them.

    Args:
        pair: The networks, joined.
        fuser: The fusion model.
        perception: The network that looks at the fused image, if it is among those joined.
    """

    def __init__(self, pair: DevicePair, fuser: Fuser, perception: PerceptionNetwork | None) -> None:
        self._pair = pair
        self._fuser = fuser
        self._perception = perception
        self.perceives = perception is not None

    def prepare(self, height: int, width: int) -> None:
        """Readies everything that may be wanted of pairs of this size."""
        self._pair.prepare(height, width, None)
        if self._perception is not None:
            asked = [(False, True), (True, True)]
            found = [self._perception.looking(height, width, mask=mask, detections=boxes) for mask, boxes in asked]
            for looking in dict.fromkeys(found):
                if looking is not None:
                    self._pair.prepare(height, width, looking)

    def process(
        self, rgb: Pixels, registered: Registered, *, mask: bool, detections: bool, score: float, overlap: float
    ) -> tuple[Pixels, Pixels | None, Detections | None]:
        """Fuses a pair, and looks at the fused image.

        Args:
            rgb: uint8 HxWx3 RGB.
            registered: Its thermal image, which there must be.
            mask: Whether the mask is wanted.
            detections: Whether boxes are.
            score: As Perceiver.perceive's score_threshold.
            overlap: As its iou_threshold.

        Returns:
            The fused image, uint8 HxWx3; mask and boxes as Perceiver.perceive gives them.

        Raises:
            ImageFormatError: The pair is too small for the network.
            ModelError: The network gives values that are no numbers.
        """
        thermal = registered.thermal
        assert thermal is not None
        self._fuser.check(rgb.shape[:2], thermal)
        height, width = thermal.shape
        network, looking = self._perception, None
        if network is not None:
            looking = network.looking(height, width, mask=mask, detections=detections)
        limits = Limits(least_score(score, looking is not None and bool(looking.mask)), overlap)
        coverage = registered.coverage
        seam = None
        if coverage is not None and coverage.weight is not None and coverage.rest is not None:
            seam = (coverage.weight, coverage.rest)
        try:
            seen = self._pair.start(rgb, thermal, seam, looking, limits)()
        except RuntimeError as error:  # torch's: out of memory, a fault of the device
            raise ModelError(f"model {self._fuser.card.name} failed on a {width}x{height} pair: {error}") from error
        if not seen.finite:
            raise self._fuser.no_numbers(width, height)
        found = None
        if detections and seen.xyxy is not None and seen.scores is not None and seen.class_ids is not None:
            found = surer(Detections(seen.xyxy, seen.scores, seen.class_ids), score)
        return seen.fused, seen.mask, found


def on_device(fuser: Fuser, perceiver: Perceiver | None) -> OnDevice | None:
    """The two models joined on their device; None where their engine runs networks alone."""
    engine, colour = getattr(fuser, "engine", None), getattr(fuser, "colour", "")
    if engine is None or colour != "standard":
        return None
    network = perceiver.alone if perceiver is not None else None
    multiple = fuser.card.size_multiple
    pair = join(engine, network.network.engine if network else None, multiple)
    if pair is None and network is not None:  # of another kind, or elsewhere: the fusion alone then
        network, pair = None, join(engine, None, multiple)
    if pair is None:
        return None
    device = OnDevice(pair, fuser, network)
    if fuser.warm_size is not None:
        try:
            device.prepare(*fuser.warm_size)
        except RuntimeError as error:  # torch's: out of memory, for one
            logger.warning("a pair can't stay on the device: %s; the networks run one after the other", error)
            return None
    return device
