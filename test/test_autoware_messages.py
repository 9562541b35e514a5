"""Boxes and mask as Autoware's messages, field by field, and the files that map our classes to its own."""

import numpy as np
import pytest
from message_packages import messages_of
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.nodes.autoware_outputs import MASK_TABLE, AutowareMaps, detected_objects, mask_runs, object_labels
from sage_fusion_ros.nodes.messages import ns_to_stamp
from sage_fusion_ros.pipeline.classes import CITYSCAPES_CLASSES, COCO_CLASSES, DRIVING_CLASSES
from sage_fusion_ros.pipeline.mask_rle import decode_runs
from sage_fusion_ros.pipeline.types import Detections

CLASSES = ("person", "car")
HEADER = Header(stamp=ns_to_stamp(1_700_000_000_123_456_789), frame_id="rgb_optical")
BOXES = Detections(
    xyxy=np.array([[10, 20, 30, 60], [-5.5, 3.25, 700, 470.5]], np.float32),
    scores=np.array([0.9, 0.25], np.float32),
    class_ids=np.array([0, 1]),
)


@pytest.fixture(scope="module")
def tier4():
    return messages_of("tier4_perception_msgs")


@pytest.fixture(scope="module")
def autoware():
    return messages_of("autoware_perception_msgs")


@pytest.fixture(scope="module")
def maps(autoware):
    return AutowareMaps(autoware, "", "")


def sent(message):
    """A message as it arrives: what does not survive the wire does not count."""
    return deserialize_message(serialize_message(message), type(message))


def test_objects_lie_in_the_image(maps, tier4, autoware):
    message = sent(detected_objects(tier4, autoware, BOXES, maps.labels(CLASSES), HEADER, height=480, width=640))
    assert message.header == HEADER
    person, car = message.feature_objects
    roi = person.feature.roi
    assert (roi.x_offset, roi.y_offset, roi.width, roi.height, roi.do_rectify) == (10, 20, 20, 40, False)
    roi = car.feature.roi
    assert (roi.x_offset, roi.y_offset, roi.width, roi.height) == (0, 3, 640, 468)
    assert person.object.existence_probability == pytest.approx(0.9)
    assert [(c.label, c.probability) for c in person.object.classification] == [
        (autoware.ObjectClassification.PEDESTRIAN, 1.0)
    ]
    assert car.object.classification[0].label == autoware.ObjectClassification.CAR


def test_boxes_without_a_pixel_and_ignored_classes_are_no_objects(maps, tier4, autoware):
    boxes = Detections(
        np.array([[-40, 0, -1, 9], [640, 0, 700, 9], [5, 5, 5, 9], [1, 1, 9, 9], [1, 1, 9, 9]], np.float32),
        np.full(5, 0.5, np.float32),
        np.array([0, 0, 0, 1, 0]),
    )
    labels = maps.labels(("person", "traffic light"))
    message = detected_objects(tier4, autoware, boxes, labels, HEADER, height=480, width=640)
    assert len(message.feature_objects) == 1


def test_the_packages_own_files_map_every_class_there_is(maps):
    maps.check(CITYSCAPES_CLASSES, DRIVING_CLASSES)
    maps.check((), COCO_CLASSES)
    expected = {"person": 7, "bicycle": 6, "car": 1, "motorcycle": 5, "bus": 3, "truck": 2}
    assert dict(zip(DRIVING_CLASSES, maps.labels(DRIVING_CLASSES), strict=True)) == expected


def test_every_label_of_the_installed_messages_is_known(autoware):
    assert list(object_labels(autoware))[:8] == [
        *("UNKNOWN", "CAR", "TRUCK", "BUS", "TRAILER", "MOTORCYCLE", "BICYCLE", "PEDESTRIAN"),
    ]
    assert list(object_labels(autoware).values()) == list(range(len(object_labels(autoware))))


def test_a_bad_label_file_is_refused_with_the_known_labels(tmp_path, autoware):
    file = tmp_path / "labels.yaml"
    file.write_text("person: PEDESTRAIN\n", encoding="utf-8")
    with pytest.raises(ParameterError, match=r"PEDESTRAIN.*labels\.yaml|labels\.yaml.*PEDESTRAIN.*PEDESTRIAN"):
        AutowareMaps(autoware, str(file), "")
    with pytest.raises(ParameterError, match=r"labels\.yaml.*PEDESTRAIN.*OBSTACLE, TRAFFIC_LIGHT"):
        AutowareMaps(autoware, "", str(file))


def test_the_mask_in_autowares_table_is_this(maps):
    """Golden: one pixel of each Cityscapes class and two without one, in Autoware's ids and its bytes."""
    mask = np.array([[*range(19), 19, 255]], np.uint8)
    message = sent(mask_runs(mask, maps.mask_table(CITYSCAPES_CLASSES), HEADER))
    assert (message.encoding, message.height, message.width, message.step) == ("mono8", 1, 21, 21)
    assert message.header == HEADER
    assert bytes(message.data).hex() == (
        "0901000000" "0a01000000" "0101000000" "0201000000" "0302000000" "0401000000" "0501000000" "0e02000000"
        "0f01000000" "0602000000" "0704000000" "0802000000" "0002000000"
    )  # fmt: skip
    names = [MASK_TABLE[number] for number in decode_runs(message.data, 1, 21)[0]]
    assert names == [
        *("ROAD", "SIDEWALK", "BUILDING", "WALL", "OBSTACLE", "OBSTACLE", "TRAFFIC_LIGHT", "TRAFFIC_SIGN"),
        *("VEGETATION", "VEGETATION", "SKY", "PERSON", "PERSON", *["VEHICLE"] * 4, "BIKE", "BIKE"),
        *("UNKNOWN", "UNKNOWN"),
    ]


def test_runs_are_as_many_pixels_as_the_image_says(maps):
    rng = np.random.default_rng(3)
    mask = rng.integers(0, 256, (37, 53)).astype(np.uint8)
    message = mask_runs(mask, maps.mask_table(CITYSCAPES_CLASSES), HEADER)
    assert isinstance(message, Image)
    table = maps.mask_table(CITYSCAPES_CLASSES)
    assert (decode_runs(message.data, message.height, message.width) == table[mask]).all()
