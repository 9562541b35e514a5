"""Frozen object detectors in ONNX files, as readers of an image: what a detector sees is what a fused image is worth.

What they take and give is known to pipeline/detection_layouts.py. Here is what published evaluations of them ask for
and a robot does not: nearly every box, whatever its score, each for every class it may stand for, not cut at the edges.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.pipeline import detect
from sage_fusion_ros.pipeline.classes import COCO_CLASSES
from sage_fusion_ros.pipeline.letterbox import Letterbox
from sage_fusion_ros.pipeline.network import NetworkOptions

NMS_IOU = 0.65
# Below these scores nothing moves an average precision that is worth having.
SCORE_FLOOR = {"fastestdet": 0.05}
USUAL_FLOOR = 0.01

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class DetectedBoxes:
    """What a detector sees in one image.

    Attributes:
        xyxy: float32 Nx4, corners in pixels of the image.
        scores: float32 N in 0..1, falling.
        labels: N class names.
    """

    xyxy: Floats
    scores: Floats
    labels: list[str]


class Detector:
    """A frozen detector with the 80 COCO classes.

    Attributes:
        name: Its file's name.
        layout: One of DETECTION_LAYOUTS.

    Args:
        path: An ONNX file.
        layout: One of DETECTION_LAYOUTS; found by the shapes when None.
        threads: Processor threads.

    Raises:
        ModelError: The file can't be read, or its layout is none of the known ones.
    """

    def __init__(self, path: Path, layout: str | None = None, threads: int = 1) -> None:
        options = NetworkOptions(device="cpu", threads=threads)
        self._detector = detect.Detector(Path(path), COCO_CLASSES, layout or "auto", options, several=True, clip=False)
        self.name = self._detector.network.name
        self.layout = self._detector.layout
        self._floor = SCORE_FLOOR.get(self.layout, USUAL_FLOOR)

    def detect(self, rgb: npt.NDArray[np.uint8]) -> DetectedBoxes:
        """Finds the COCO objects.

        Args:
            rgb: uint8 HxWx3 RGB.

        Returns:
            The boxes after class-wise non-maximum suppression at IoU 0.65, best first.
        """
        found = self._detector.detect(rgb, self._floor, NMS_IOU)
        xyxy = found.xyxy
        if self.layout == "yolox":
            box = self._detector.network.letterbox(*rgb.shape[:2])
            xyxy = xyxy * _published_scale(box)
        return DetectedBoxes(xyxy, found.scores, [COCO_CLASSES[i] for i in found.class_ids])


def _published_scale(box: Letterbox) -> Floats:
    """Boxes as YOLOX's own evaluation maps them: by one scale, whatever whole sizes the image was rounded to.

    They end up to a pixel of the network's input short of where the thing was seen. AP50 of small boxes moves by up to
    0.007 with that, so figures that others measured are met only in the same way.
    """
    scales = np.array([box.inner_width / box.width, box.inner_height / box.height] * 2, np.float32)
    return scales / scales.max()
