"""How near int8 comes to fp32: the figures, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sage_fusion_ros.evaluation.precision_loss import MOST_DB, box_agreement, psnr_db
from sage_fusion_ros.pipeline.types import Detections


def boxes(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Detections(table[:, :4].astype(np.float32), table[:, 4].astype(np.float32), table[:, 5].astype(np.int64))


def test_psnr_is_counted_by_hand() -> None:
    image = np.zeros((10, 10), np.uint8)
    other = image.copy()
    other[:5] = 10
    assert psnr_db(other, image) == pytest.approx(10 * np.log10(255**2 / 50))
    assert psnr_db(image, image) == MOST_DB


def test_boxes_agree_by_class_place_and_number() -> None:
    first = boxes((0, 0, 10, 10, 0.9, 0), (20, 20, 40, 40, 0.8, 1))
    moved = boxes((1, 0, 11, 10, 0.9, 0), (20, 20, 40, 40, 0.8, 1))
    other_class = boxes((0, 0, 10, 10, 0.9, 1), (20, 20, 40, 40, 0.8, 1))
    none = boxes()
    names = ("person", "car")
    assert box_agreement([first], [moved], names) == 1
    assert box_agreement([first], [other_class], names) == 0.5
    assert box_agreement([first], [none], names) == 0
    assert box_agreement([first, none], [first, first], names) == pytest.approx(4 / 6)
    assert box_agreement([none], [none], names) == 1
