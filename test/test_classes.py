"""Class lists: from parameters, from text files, and those that the package knows."""

from pathlib import Path

import pytest
from mock_perception import (
    write_yolov8,
)
from perception_rig import THREE, load

from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.pipeline.classes import (
    CITYSCAPES_CLASSES,
    CITYSCAPES_COLOURS,
    COCO_CLASSES,
    DRIVING_CLASSES,
    NAMED_LISTS,
)
from sage_fusion_ros.pipeline.network import NetworkOptions
from sage_fusion_ros.pipeline.perceive import PerceptionChoice, load_perceiver


def test_classes_come_from_a_text_file(tmp_path: Path) -> None:
    path = write_yolov8(tmp_path / "d.onnx", 3)
    listed = tmp_path / "mine.txt"
    listed.write_text("person\r\n bicycle \ncar\n\n")
    for given in (str(listed), [str(listed)], listed):
        choice = PerceptionChoice("", detection_model=str(path), detection_classes=given)
        assert load_perceiver(choice, NetworkOptions(device="cpu")).detection_classes == THREE
    for content, text in (
        ("person\n\ncar\n", r"mine.txt\) has no name for the id 1"),
        ("a\nb\na", "has the name 'a' twice"),
        ("\n", "holds no class names"),
        ("\ufeffperson\nbicycle\ncar", ""),
    ):
        listed.write_text(content, encoding="utf-8")
        if text:
            with pytest.raises(ParameterError, match=text):
                load(detection_model=path, detection_classes=str(listed))
        else:
            assert load(detection_model=path, detection_classes=str(listed)).detection_classes == THREE
    for missing in ("gone.txt", "./gone"):
        with pytest.raises(ParameterError, match="detection.classes names the file .*gone.*, which can't be read"):
            load(detection_model=path, detection_classes=[missing])


@pytest.mark.parametrize("word", ["coco", "driving"])
def test_lists_that_the_package_knows_have_names(tmp_path: Path, word: str) -> None:
    path = write_yolov8(tmp_path / "d.onnx", len(NAMED_LISTS[word]))
    assert load(detection_model=path, detection_classes=[word]).detection_classes == NAMED_LISTS[word]


def test_the_lists_are_those_of_the_data_sets() -> None:
    assert [len(names) for names in (CITYSCAPES_CLASSES, COCO_CLASSES, DRIVING_CLASSES)] == [19, 80, 6]
    assert set(DRIVING_CLASSES) < set(COCO_CLASSES)
    assert set(DRIVING_CLASSES) < set(CITYSCAPES_CLASSES)
    assert CITYSCAPES_COLOURS.shape == (19, 3)
    assert len({tuple(colour) for colour in CITYSCAPES_COLOURS.tolist()}) == 19
    assert not CITYSCAPES_COLOURS.flags.writeable
