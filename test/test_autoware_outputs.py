"""Autoware's forms of boxes and mask over real DDS, and the files that say what our classes are to it."""

import numpy as np
import pytest
from message_packages import messages_of
from mock_models import make_model
from mock_perception import BRIGHT, make_perception
from perception_node_rig import SIDE, Heard, PerceptionRig, pair_with_block
from sensor_msgs.msg import Image

from sage_fusion_ros.pipeline.image_codec import decode
from sage_fusion_ros.pipeline.mask_rle import decode_runs

BLOCK = (64, 64, 128, 128)
PAIR = pair_with_block(240, 320, BLOCK)
ROAD, PERSON, PEDESTRIAN = 9, 6, 7  # Autoware's numbers: two of its mask table, one of its objects


@pytest.fixture(scope="module")
def tier4():
    messages_of("autoware_perception_msgs")
    return messages_of("tier4_perception_msgs")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    make_model(folder / "sage_fast", "Max")
    make_perception(folder / "perception", input_side=SIDE)
    make_perception(folder / "trams", detection_classes=("person", "tram"), input_side=SIDE)
    make_perception(folder / "lava", mask_classes=("road", "lava"), input_side=SIDE)
    return folder


@pytest.fixture(scope="module")
def rig(models, tier4):
    """One node for all tests that leave it as it was."""
    with PerceptionRig(models) as rig:
        rig.wait_for_subscriptions()
        yield rig


def test_objects_and_runs_say_what_detections_and_mask_say(rig, tier4):
    vision = messages_of("vision_msgs")
    topics = {
        "objects": tier4.DetectedObjectsWithFeature,
        "detections": vision.Detection2DArray,
        "mask": Image,
        "mask_rle": Image,
    }
    heard = {topic: Heard(rig, kind, topic) for topic, kind in topics.items()}

    def common():
        stamps = set.intersection(*(set(one.by_stamp) for one in heard.values()))
        return [stamp for stamp in stamps if heard["detections"].by_stamp[stamp].detections]

    stamp = max(rig.until(common, "a pair on every topic", PAIR))
    objects, detections, mask, runs = (one.by_stamp[stamp] for one in heard.values())
    assert objects.header == detections.header == mask.header == runs.header

    assert len(objects.feature_objects) == len(detections.detections)
    for found, detection in zip(objects.feature_objects, detections.detections, strict=True):
        roi, box = found.feature.roi, detection.bbox
        assert (roi.width, roi.height) == (box.size_x, box.size_y), "whole pixels in this pair"
        assert roi.x_offset == box.center.position.x - box.size_x / 2
        assert roi.y_offset == box.center.position.y - box.size_y / 2
        assert found.object.existence_probability == pytest.approx(detection.results[0].hypothesis.score)
        assert [(c.label, c.probability) for c in found.object.classification] == [(PEDESTRIAN, 1.0)]
    assert BLOCK in {
        (roi.x_offset, roi.y_offset, roi.x_offset + roi.width, roi.y_offset + roi.height)
        for roi in (found.feature.roi for found in objects.feature_objects)
    }

    ids = decode(mask)
    assert (runs.encoding, runs.height, runs.width, runs.step) == ("mono8", 240, 320, 320)
    assert len(runs.data) % 5 == 0
    assert len(runs.data) < ids.size / 10
    assert (decode_runs(runs.data, 240, 320) == np.where(ids == BRIGHT, PERSON, ROAD)).all()
    for one in heard.values():
        one.__exit__()


def test_regions_of_interest_end_where_the_image_ends(rig, tier4):
    # 0.8 times: the network's cell of 32 pixels is one of 40, and the last one hangs over the lower edge.
    height, width = 150, 200
    pair = pair_with_block(height, width, (120, 120, 160, 150))
    rgb = pair[0]
    assert rgb.shape == (height, width, 3)
    with Heard(rig, tier4.DetectedObjectsWithFeature, "objects") as objects:

        def at_the_edge(message):
            rois = [found.feature.roi for found in message.feature_objects]
            return rois and max(roi.y_offset + roi.height for roi in rois) == height

        message = rig.new(objects, pair, at_the_edge)
        for found in message.feature_objects:
            roi = found.feature.roi
            assert roi.width > 0
            assert roi.height > 0
            assert roi.x_offset + roi.width <= width
            assert roi.y_offset + roi.height <= height


@pytest.mark.parametrize(("model", "name", "file"), [("trams", "tram", "labels"), ("lava", "lava", "mask")])
def test_a_model_with_a_class_that_the_file_lacks_is_refused_while_streaming(rig, tier4, model, name, file):
    successful, reason = rig.set("perception.model", model)
    assert not successful
    assert f"class '{name}' of the model" in reason
    assert f"autoware_{file}.yaml" in reason
    with Heard(rig, tier4.DetectedObjectsWithFeature, "objects") as objects:
        assert rig.new(objects, PAIR, lambda m: m.feature_objects)
    assert rig.value("engine", "perception") == "perception"


def test_a_label_that_autoware_lacks_is_refused_at_the_start(models, tier4, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("person: PEDESTRAIN\n", encoding="utf-8")
    with PerceptionRig(models, autostart="false", **{"output.autoware_labels": file}) as rig:
        assert not rig.change_state("configure")
        rig.wait(lambda: "PEDESTRAIN" in rig.message("engine"), "the reason in diagnostics")
        assert str(file) in rig.message("engine")
        assert "MOTORCYCLE, BICYCLE, PEDESTRIAN" in rig.message("engine")
        assert rig.state() == "unconfigured"

        file.write_text("person: PEDESTRIAN\n", encoding="utf-8")
        assert not rig.change_state("configure"), "the model has more classes"
        rig.wait(lambda: "'bicycle', 'car'" in rig.message("engine"), "the classes that are missing")

        names = ("person", "bicycle", "car", "motorcycle", "bus", "truck")
        file.write_text("".join(f"{name}: CAR\n" for name in names), encoding="utf-8")
        assert rig.change_state("configure")
        assert rig.change_state("activate")
        rig.wait_for_subscriptions()
        with Heard(rig, tier4.DetectedObjectsWithFeature, "objects") as objects:
            message = rig.new(objects, PAIR, lambda m: m.feature_objects)
            assert {found.object.classification[0].label for found in message.feature_objects} == {1}


def test_a_mask_file_of_ones_own(models, tier4, tmp_path):
    file = tmp_path / "mask.yaml"
    file.write_text("road: ROAD\nlava: OBSTACLE\n", encoding="utf-8")
    parameters = {"output.autoware_mask": file, "perception.model": "lava"}
    with PerceptionRig(models, **parameters) as rig, Heard(rig, Image, "mask_rle") as runs:
        rig.wait_for_subscriptions()
        message = rig.new(runs, PAIR)
        assert set(np.unique(decode_runs(message.data, 240, 320))) == {ROAD, 3}
