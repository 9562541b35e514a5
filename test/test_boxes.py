"""Reading drawn boxes."""

import json
from pathlib import Path

import pytest

from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.sources.boxes import canonical, read_boxes


def test_boxes_are_read_in_cocos_words(tmp_path: Path) -> None:
    data = {
        "images": [{"id": 3, "file_name": "x.png"}, {"id": 4, "file_name": "empty.png"}],
        "annotations": [{"image_id": 3, "category_id": 0, "bbox": [1, 2, 3, 4]}],
        "categories": [{"id": 0, "name": "People"}],
    }
    (tmp_path / "b.json").write_text(json.dumps(data))
    (image,) = read_boxes(tmp_path / "b.json")
    assert (image.file_name, image.xyxy.tolist(), image.labels) == ("x.png", [[1, 2, 4, 6]], ["person"])
    assert [canonical(name) for name in ("Bike", "Motorbike", "Car", "Lamp")] == [
        "bicycle",
        "motorcycle",
        "car",
        "lamp",
    ]


@pytest.mark.parametrize("text", ["{", "[]", '{"images": []}', '{"images": [{}], "categories": [], "annotations": []}'])
def test_a_file_that_is_no_annotation_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(SourceError, match=r"b\.json are no COCO annotation"):
        read_boxes(tmp_path / "b.json")


def test_missing_boxes_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"gone\.json can't be read: No such file"):
        read_boxes(tmp_path / "gone.json")
