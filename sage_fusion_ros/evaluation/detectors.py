"""Frozen object detectors in ONNX files, as readers of an image: what a detector sees is what a fused image is worth.

Two layouts of published COCO detectors are known, told by their output shapes:
- yolox (Ge et al. 2021): (1, cells, 5 + classes) over strides 8, 16 and 32, box centres and logarithmic sizes not yet
  decoded, input BGR 0..255, scaled to fit the top left corner, the rest 114;
- fastestdet (Xuehao Ma 2022): (1, 5 + classes, rows, columns), offsets by tanh and sizes by sigmoid, input BGR 0..1,
  squeezed to a square.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import ModelError

COCO_CLASSES = (  # noqa: SIM905 - a list literal of eighty names takes eighty lines
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,parking meter,"
    "bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,frisbee,"
    "skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,"
    "cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,"
    "potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,"
    "refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"
).split(",")

YOLOX_STRIDES = (8, 16, 32)
YOLOX_PADDING = 114
NMS_IOU = 0.65
# Below these scores nothing moves an average precision that is worth having.
SCORE_FLOOR = {"yolox": 0.01, "fastestdet": 0.05}

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
    """A frozen detector.

    Args:
        path: An ONNX file with the 80 COCO classes.
        layout: "yolox" or "fastestdet"; found from the output's shape when None.
        threads: Processor threads.

    Raises:
        ModelError: The file can't be read, or its layout is none of the known ones.
    """

    def __init__(self, path: Path, layout: str | None = None, threads: int = 1) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # each of onnxruntime's errors is a class of its own, none of them public
            raise ModelError(f"the detector {path} can't be loaded: {error}") from error
        self.name = Path(path).stem
        given, wanted = self._session.get_inputs()[0], self._session.get_outputs()[0]
        self._input, self._side = given.name, given.shape[-1]
        self.layout = layout or find_layout(path, given.shape, wanted.shape)

    def detect(self, rgb: npt.NDArray[np.uint8]) -> DetectedBoxes:
        """Finds the COCO objects.

        Args:
            rgb: uint8 HxWx3 RGB.

        Returns:
            The boxes after class-wise non-maximum suppression at IoU 0.65, best first.
        """
        bgr = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), np.uint8)
        if self.layout == "yolox":
            image, scale = letterbox(bgr, self._side)
            xyxy, scores = decode_yolox(self._run(image)[0], self._side)
            xyxy /= scale
        else:
            image = cv2.resize(bgr, (self._side, self._side), interpolation=cv2.INTER_AREA)
            xyxy, scores = decode_fastestdet(self._run(image.astype(np.float32) / 255)[0])
            xyxy *= np.array(bgr.shape[1::-1] * 2, np.float32)
        return suppress(xyxy, scores, SCORE_FLOOR[self.layout])

    def _run(self, image: npt.NDArray[Any]) -> Floats:
        feed = np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)
        return np.asarray(self._session.run(None, {self._input: feed})[0], np.float32)


def find_layout(path: Path, given: list[Any], wanted: list[Any]) -> str:
    """The layout of a detector by the shapes of its input and output.

    Raises:
        ModelError: None of the known ones.
    """
    if len(given) == 4 and given[1] == 3 and isinstance(given[2], int) and given[2] == given[3]:
        channels, side = 5 + len(COCO_CLASSES), given[2]
        if wanted == [1, sum((side // stride) ** 2 for stride in YOLOX_STRIDES), channels]:
            return "yolox"
        if len(wanted) == 4 and wanted[1] == channels:
            return "fastestdet"
    raise ModelError(
        f"the detector {path} takes {given} and gives {wanted}; known are YOLOX (1 x cells x 85) and FastestDet "
        "(1 x 85 x rows x columns) with a fixed square input and the 80 COCO classes"
    )


def letterbox(bgr: npt.NDArray[np.uint8], side: int) -> tuple[npt.NDArray[np.uint8], float]:
    """Scales an image to fit a square from its top left corner; the rest is 114.

    Returns:
        uint8 side x side x 3, and the scale: pixels of the square for one of the image.
    """
    scale = side / max(bgr.shape[:2])
    width, height = (min(side, max(1, int(length * scale))) for length in bgr.shape[1::-1])
    square = np.full((side, side, 3), YOLOX_PADDING, np.uint8)
    square[:height, :width] = cv2.resize(bgr, (width, height), interpolation=cv2.INTER_LINEAR)
    return square, scale


def decode_yolox(raw: Floats, side: int) -> tuple[Floats, Floats]:
    """Boxes and scores of YOLOX's raw output.

    Args:
        raw: float32 (cells, 5 + classes): centre, logarithmic size, objectness, class probabilities.
        side: Side of the square input in pixels.

    Returns:
        float32 Nx4 corners in pixels of the square, float32 N x classes: objectness x class.
    """
    grids, strides = [], []
    for stride in YOLOX_STRIDES:
        rows, columns = np.mgrid[: side // stride, : side // stride].reshape(2, -1)
        grids.append(np.stack([columns, rows], axis=1))
        strides.append(np.full((rows.size, 1), stride))
    grid, stride = np.concatenate(grids), np.concatenate(strides)
    centre, size = (raw[:, :2] + grid) * stride, np.exp(raw[:, 2:4]) * stride
    xyxy = np.concatenate([centre - size / 2, centre + size / 2], axis=1).astype(np.float32)
    return xyxy, raw[:, 4:5] * raw[:, 5:]


def decode_fastestdet(raw: Floats) -> tuple[Floats, Floats]:
    """Boxes and scores of FastestDet's raw output.

    Args:
        raw: float32 (5 + classes, rows, columns): objectness, offsets, sizes, class probabilities.

    Returns:
        float32 Nx4 corners as shares of the image's width and height, float32 N x classes: objectness^0.6 x class^0.4.
    """
    rows, columns = raw.shape[1:]
    row, column = np.mgrid[:rows, :columns]
    centre = np.stack([(column + np.tanh(raw[1])) / columns, (row + np.tanh(raw[2])) / rows], axis=-1)
    size = 1 / (1 + np.exp(-raw[3:5].transpose(1, 2, 0)))
    xyxy = np.concatenate([centre - size / 2, centre + size / 2], axis=-1).reshape(-1, 4).astype(np.float32)
    return xyxy, (raw[0] ** 0.6 * raw[5:] ** 0.4).reshape(raw.shape[0] - 5, -1).T


def suppress(xyxy: Floats, scores: Floats, floor: float) -> DetectedBoxes:
    """Class-wise non-maximum suppression at IoU 0.65.

    Args:
        xyxy: float32 Nx4 corners.
        scores: float32 N x classes. A box may stand for several classes, as in the detectors' own evaluations.
        floor: Scores at or below it are dropped.
    """
    boxes, classes = np.nonzero(scores > floor)
    best, corners = scores[boxes, classes], np.asarray(xyxy, np.float64)[boxes]
    rectangles = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    kept = np.array(cv2.dnn.NMSBoxesBatched(rectangles, best, classes, floor, NMS_IOU), int)
    kept = kept[np.argsort(-best[kept], kind="stable")]
    return DetectedBoxes(xyxy[boxes[kept]], best[kept], [COCO_CLASSES[i] for i in classes[kept]])
