"""Boxes as messages, field by field: vision_msgs' and Foxglove's."""

from types import SimpleNamespace

import numpy as np
import pytest
from message_packages import messages_of
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header

from sage_fusion_ros.nodes.annotation_output import image_annotations
from sage_fusion_ros.nodes.detection_outputs import BoxMessages
from sage_fusion_ros.nodes.messages import OPTIONAL_PACKAGES, missing_text, ns_to_stamp
from sage_fusion_ros.pipeline.overlay import colour_of_class
from sage_fusion_ros.pipeline.types import Detections

CLASSES = ("person", "car")
HEADER = Header(stamp=ns_to_stamp(1_700_000_000_123_456_789), frame_id="rgb_optical")
BOXES = Detections(
    xyxy=np.array([[10, 20, 30, 60], [-5.5, 3.25, 700, 470.5]], np.float32),
    scores=np.array([0.9, 0.25], np.float32),
    class_ids=np.array([0, 1]),
)
NONE = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


def sent(message):
    """A message as it arrives: what does not survive the wire does not count."""
    return deserialize_message(serialize_message(message), type(message))


@pytest.fixture(scope="module")
def vision():
    return messages_of("vision_msgs")


@pytest.fixture(scope="module")
def foxglove():
    return messages_of("foxglove_msgs")


@pytest.mark.parametrize(("by_name", "ids"), [(True, ["person", "car"]), (False, ["0", "1"])])
def test_detections_have_centre_size_score_and_no_track(vision, by_name, ids):
    array = sent(BoxMessages(vision).array(BOXES, CLASSES, HEADER, by_name))
    assert array.header == HEADER
    assert [d.header for d in array.detections] == [HEADER, HEADER]
    assert [d.results[0].hypothesis.class_id for d in array.detections] == ids
    assert [len(d.results) for d in array.detections] == [1, 1]
    assert array.detections[0].results[0].hypothesis.score == pytest.approx(0.9)
    box = array.detections[0].bbox
    assert (box.center.position.x, box.center.position.y, box.center.theta) == (20, 40, 0)
    assert (box.size_x, box.size_y) == (20, 40)
    assert all(d.id == "" for d in array.detections)


def test_nothing_of_one_image_is_seen_in_the_next(vision):
    """Although the messages are filled again."""
    boxes = BoxMessages(vision)
    fewer = Detections(BOXES.xyxy[1:] + 5, BOXES.scores[1:] / 2, BOXES.class_ids[1:])
    later = Header(stamp=ns_to_stamp(7), frame_id="other")
    for detections, header in ((BOXES, HEADER), (fewer, later), (NONE, HEADER), (BOXES, later)):
        fresh = BoxMessages(vision).array(detections, CLASSES, header, True)
        assert sent(boxes.array(detections, CLASSES, header, True)) == sent(fresh)


def test_an_image_without_boxes_is_told_too(vision, foxglove):
    assert sent(BoxMessages(vision).array(NONE, CLASSES, HEADER, True)) == vision.Detection2DArray(header=HEADER)
    empty = sent(image_annotations(foxglove, NONE, CLASSES, HEADER))
    assert (empty.points, empty.texts) == ([], [])
    assert empty.timestamp == HEADER.stamp


def test_annotations_are_closed_lines_in_the_overlays_colours(foxglove):
    annotations = sent(image_annotations(foxglove, BOXES, CLASSES, HEADER))
    line = annotations.points[0]
    assert line.type == foxglove.PointsAnnotation.LINE_LOOP
    assert [(p.x, p.y) for p in line.points] == [(10, 20), (30, 20), (30, 60), (10, 60)]
    colour = [line.outline_color.r, line.outline_color.g, line.outline_color.b]
    assert colour == pytest.approx([value / 255 for value in colour_of_class("person")])
    assert line.outline_color.a == 1
    assert line.thickness > 0
    assert [t.text for t in annotations.texts] == ["person 0.90", "car 0.25"]
    assert {m.timestamp.nanosec for m in (*annotations.points, *annotations.texts)} == {123_456_789}


def test_annotations_for_a_release_without_a_stamp_of_their_own(foxglove):
    class Older(SimpleNamespace):
        def __init__(self):
            super().__init__(points=[], texts=[])

    older = SimpleNamespace(**{**vars(foxglove), "ImageAnnotations": Older})
    annotations = image_annotations(older, BOXES, CLASSES, HEADER)
    assert vars(annotations).keys() == {"points", "texts"}
    assert annotations.points[0].timestamp == HEADER.stamp


def test_missing_packages_are_named_with_their_topics():
    every = dict.fromkeys(OPTIONAL_PACKAGES)
    assert missing_text(every) == ""
    del every["foxglove_msgs"]
    assert missing_text(every) == "not installed, so not published: foxglove_msgs (~/output/annotations)"
