"""A picture by which a person sees whether two cameras are aligned: a checkerboard of both, before and after."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.evaluation.alignment.features import View
from sage_fusion_ros.pipeline.pixel_maps import HomographyMap
from sage_fusion_ros.pipeline.registration import Registrar, resize_to

_CELLS = 10  # across the image
_WIDTH = 640  # of one checkerboard at the most
_WARM = np.array([1.0, 0.82, 0.6])  # thermal's cells are tinted, so that the eye knows which is which


def checkerboard(rgb: npt.NDArray[np.uint8], thermal: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Cells of the RGB image's luma and of the thermal image in turn: edges go on across the cells where they fit.

    Args:
        rgb: uint8 HxW.
        thermal: uint8 HxW, in the same geometry.

    Returns:
        uint8 HxWx3 RGB, thermal's cells tinted.
    """
    height, width = rgb.shape
    side = max(8, width // _CELLS)
    rows, columns = np.arange(height) // side, np.arange(width) // side
    warm = ((rows[:, None] + columns[None]) % 2 == 1)[..., None]
    equal = cv2.createCLAHE(3.0, (6, 6))  # dark parts show their edges too
    grey = equal.apply(rgb)[..., None].repeat(3, 2)
    tinted = equal.apply(thermal)[..., None] * _WARM
    return np.asarray(np.where(warm, tinted, grey), np.uint8)


def before_and_after(views: Sequence[View], names: Sequence[str], pixel_map: HomographyMap) -> npt.NDArray[np.uint8]:
    """A row for each frame: the thermal image stretched over the RGB image, and where the homography puts it.

    Returns:
        uint8 HxWx3 RGB.
    """
    registrar = Registrar(pixel_map, unready="stop")
    rows = []
    for view, name in zip(views, names, strict=True):
        height, width = view.rgb.shape
        boards = []
        registered = registrar(view.thermal, height, width)
        valid = registered.valid(height, width)
        for label, thermal in (("before", resize_to(view.thermal, height, width)), ("after", registered.thermal)):
            if thermal is None:
                continue
            if label == "after" and valid is not None:
                thermal = np.where(valid > 0, thermal, 0).astype(np.uint8)
            board = checkerboard(view.rgb, thermal)
            scale = min(1.0, _WIDTH / width)
            board = cv2.resize(board, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
            cv2.putText(board, f"{name}, {label}", (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (0, 0, 0), 4, cv2.LINE_AA)
            cv2.putText(board, f"{name}, {label}", (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (255,) * 3, 1, cv2.LINE_AA)
            boards.append(np.asarray(board, np.uint8))
        rows.append(np.hstack(boards))
    return np.vstack(rows)
