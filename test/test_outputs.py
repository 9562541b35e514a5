"""The outputs of one pair as the worker calls them: what is wanted, and pairs that were begun with other models."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
import rclpy
from message_packages import messages_of
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Image

from sage_fusion_ros.nodes.messages import optional_messages
from sage_fusion_ros.nodes.outputs import Classes, Outputs
from sage_fusion_ros.nodes.parameters import FUSION_PARAMETERS
from sage_fusion_ros.nodes.qos import latched, profile
from sage_fusion_ros.pipeline.fusion_pipeline import Stopwatch, Wants
from sage_fusion_ros.pipeline.types import Detections, FusionResult

VALUES = {spec.name: spec.default for spec in FUSION_PARAMETERS}
BOTH = Classes(("road", "sky"), ("person",))
FUSED = np.zeros((6, 8, 3), np.uint8)


@pytest.fixture
def graph():
    context = rclpy.Context()
    rclpy.init(context=context)
    node, listener = (rclpy.create_node(name, context=context) for name in ("outputs", "listener"))
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(listener)
    outputs = Outputs(node, profile("reliable", 10), optional_messages(), None)

    def wait(condition):
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end, "the condition never came true"
            executor.spin_once(timeout_sec=0.02)

    def listen(kind, topic, qos=10):
        """Messages of a topic, once the publisher knows of the subscription."""
        messages = []
        listener.create_subscription(kind, f"/outputs/output/{topic}", messages.append, qos)
        publishers = [p for p in node.publishers if p.topic_name == f"/outputs/output/{topic}"]
        wait(lambda: publishers[0].get_subscription_count())
        return messages

    yield SimpleNamespace(outputs=outputs, listen=listen, wait=wait)
    outputs.close()
    assert not [p for p in node.publishers if p.topic_name.startswith("/outputs/output")], "all are destroyed"
    executor.shutdown()
    for one in (node, listener):
        one.destroy_node()
    rclpy.shutdown(context=context)


def publish(outputs, stamp_s, wants, **result):
    """Publishes a result of what was wanted; returns the names of its stages."""
    frame = SimpleNamespace(payload=SimpleNamespace(header=SimpleNamespace(frame_id="rgb")), stamp_ns=0)
    match = SimpleNamespace(stamp_ns=stamp_s * 1_000_000_000, rgb=frame, thermal=frame, dt_ns=0, frame_id="rgb")
    watch = Stopwatch()
    outputs.publish(match, FusionResult(fused=FUSED, **result), wants, watch)
    return set(watch.laps_ms)


def mask_of(*classes):
    return {"mask": np.ones((6, 8), np.uint8), "mask_classes": classes}


def boxes_of(*classes):
    found = Detections(np.float32([[1, 2, 3, 4]]), np.float32([0.5]), np.array([0]))
    return {"detections": found, "detection_classes": classes}


def test_wants_follow_the_subscribers_and_the_models(graph):
    assert not graph.outputs.wants()
    graph.listen(Image, "mask")
    assert not graph.outputs.wants(), "no model gives a mask"
    graph.outputs.configure(BOTH, VALUES)
    assert graph.outputs.wants() == Wants(fused=False, mask=True)
    graph.listen(messages_of("foxglove_msgs").ImageAnnotations, "annotations")
    assert graph.outputs.wants() == Wants(fused=False, mask=True, detections=True)
    graph.listen(Image, "overlay")
    assert graph.outputs.wants() == Wants(fused=True, mask=True, detections=True)
    graph.outputs.configure(Classes((), ("person",)), VALUES)
    assert graph.outputs.wants() == Wants(fused=True, detections=True)
    graph.outputs.configure(Classes(), VALUES)
    assert graph.outputs.wants() == Wants(fused=True), "the overlay shows what there is"


def test_a_pair_begun_with_other_models_is_left_out_where_numbers_would_lie(graph):
    masks = graph.listen(Image, "mask")
    arrays = graph.listen(messages_of("vision_msgs").Detection2DArray, "detections")
    overlays = graph.listen(Image, "overlay")
    graph.outputs.configure(BOTH, VALUES)
    wants = graph.outputs.wants()
    graph.outputs.configure(Classes(("sky", "road"), ("person",)), VALUES)
    assert publish(graph.outputs, 1, wants, **mask_of("road", "sky"), **boxes_of("person")) == {"overlay", "detections"}
    assert publish(graph.outputs, 2, wants, **mask_of("sky", "road"), **boxes_of("person")) == {
        *("overlay", "mask", "detections"),
    }
    assert publish(graph.outputs, 3, wants) == {"overlay"}, "begun when there was no model"
    graph.wait(lambda: len(overlays) == 3 and len(arrays) == 2 and masks)
    assert [m.header.stamp.sec for m in masks] == [2]
    assert [m.header.stamp.sec for m in arrays] == [1, 2]


def test_what_nobody_heard_when_the_pair_was_begun_is_not_sent(graph):
    graph.outputs.configure(BOTH, VALUES)
    before = graph.outputs.wants()
    masks = graph.listen(Image, "mask")
    after = graph.outputs.wants()  # of the next pair, which may be begun before this one is finished
    assert publish(graph.outputs, 1, before, **mask_of(*BOTH.mask)) == set()
    assert publish(graph.outputs, 2, after, **mask_of(*BOTH.mask)) == {"mask"}
    graph.wait(lambda: masks)
    assert masks[0].header.stamp.sec == 2


def test_labels_are_said_when_they_change_and_not_again(graph):
    info = messages_of("vision_msgs").LabelInfo
    graph.outputs.configure(Classes(), VALUES)
    found = graph.listen(info, "detections/label_info", latched())
    graph.outputs.configure(BOTH, VALUES)
    graph.wait(lambda: len(found) == 1)
    graph.outputs.configure(BOTH, VALUES)
    graph.outputs.configure(BOTH, {**VALUES, "detection.score_threshold": 0.5})
    graph.wait(lambda: len(found) == 2)
    graph.outputs.configure(Classes(), VALUES)
    graph.wait(lambda: len(found) == 3)
    assert [[entry.class_name for entry in m.class_map] for m in found] == [["person"], ["person"], []]
    assert [m.threshold for m in found[:2]] == pytest.approx([0.3, 0.5])
