"""Mask, detections, overlay and annotations of fusion_node over real DDS."""

import itertools
import os

import numpy as np
import pytest
from message_packages import messages_of
from mock_models import make_model
from mock_perception import BRIGHT, make_perception, write_segmenter, write_yolov8
from node_rig import stamp_of
from perception_node_rig import SIDE, Heard, PerceptionRig, pair_with_block
from sensor_msgs.msg import CameraInfo, Image

from sage_fusion_ros.pipeline.classes import CITYSCAPES_CLASSES, COCO_CLASSES, DRIVING_CLASSES
from sage_fusion_ros.pipeline.image_codec import decode
from sage_fusion_ros.pipeline.overlay import colour_of_class

BLOCK = (64, 64, 128, 128)  # a cell of 32 pixels of the network, which sees half of each side
PAIR = pair_with_block(240, 320, BLOCK)
PICTURES = ("fused", "mask", "overlay")


@pytest.fixture(scope="module")
def vision():
    return messages_of("vision_msgs")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    make_model(folder / "sage_fast", "Max")
    make_perception(folder / "perception", input_side=SIDE)
    make_perception(folder / "boxes", mask_classes=(), detection_classes=("car", "person"), input_side=SIDE)
    damaged = make_perception(folder / "damaged", input_side=SIDE)
    (damaged / "model.onnx").write_bytes((damaged / "model.onnx").read_bytes()[:-30])
    write_yolov8(folder / "coco.onnx")
    write_segmenter(folder / "segmenter.onnx", unit=True, side=None)
    return folder


@pytest.fixture(scope="module")
def rig(models):
    """One node for all tests that leave it as it was."""
    with PerceptionRig(models) as rig:
        rig.wait_for_subscriptions()
        yield rig


def boxes(array):
    """Left, top, right, bottom of each detection."""
    found = [(d.bbox.center.position, d.bbox.size_x / 2, d.bbox.size_y / 2) for d in array.detections]
    return [(p.x - w, p.y - h, p.x + w, p.y + h) for p, w, h in found]


def largest(array):
    return max(boxes(array), key=lambda box: box[2] - box[0])


def overlap(one, other):
    return max(one[0], other[0]) < min(one[2], other[2]) and max(one[1], other[1]) < min(one[3], other[3])


def class_map(message):
    return {entry.class_id: entry.class_name for entry in message.class_map}


def test_all_outputs_of_a_pair_have_one_header(rig, vision):
    info = CameraInfo(width=320, height=240)
    topics = {**dict.fromkeys(PICTURES, Image), "detections": vision.Detection2DArray, "camera_info": CameraInfo}
    heard = {topic: Heard(rig, kind, topic) for topic, kind in topics.items()}
    annotations = Heard(rig, messages_of("foxglove_msgs").ImageAnnotations, "annotations")

    def common():
        rig.info_publisher.publish(info)
        return set.intersection(*(set(one.by_stamp) for one in heard.values()))

    stamp = max(rig.until(common, "a pair on every topic", PAIR))
    headers = [one.by_stamp[stamp].header for one in heard.values()]
    assert all(header == headers[0] for header in headers)
    assert headers[0].frame_id == "rgb_optical"
    rig.until(lambda: any(m.timestamp == headers[0].stamp for m in annotations.messages), "its annotations")
    for one in (*heard.values(), annotations):
        one.__exit__()


@pytest.mark.parametrize(
    ("height", "width", "block"),
    [
        (240, 320, BLOCK),  # half of each side
        (120, 160, (32, 64, 64, 96)),  # as it is
        (60, 80, (16, 32, 32, 48)),  # twice
        (150, 250, (50, 100, 100, 150)),  # 0.64 times, the network's input full
        (101, 160, (96, 32, 128, 64)),  # with padding below
    ],
)
def test_boxes_and_mask_lie_in_the_rgb_image_whatever_the_networks_size(rig, vision, height, width, block):
    pair = pair_with_block(height, width, block)
    with Heard(rig, vision.Detection2DArray, "detections") as detections, Heard(rig, Image, "mask") as masks:
        array = rig.new(detections, pair, lambda m: m.detections)
        assert largest(array) == pytest.approx(block, abs=0.01)
        assert {d.results[0].hypothesis.class_id for d in array.detections} == {"person"}
        assert all(0.5 < d.results[0].hypothesis.score <= 1 for d in array.detections)
        mask = rig.new(masks, pair, lambda m: m.height == height)
        assert (mask.width, mask.encoding, mask.step) == (width, "mono8", width)
        ids = decode(mask)
        expected = np.zeros((height, width), np.uint8)
        expected[block[1] : block[3], block[0] : block[2]] = BRIGHT
        assert (ids == expected).mean() > 0.99
        assert set(np.unique(ids)) == {0, BRIGHT}


def test_with_several_workers_everything_of_a_pair_is_still_of_that_pair(models, vision):
    """Each pair has its block elsewhere, and several are in work at once."""
    blocks = [(left, top, left + 32, top + 32) for top in (32, 64) for left in (32, 64, 96)]
    turns = itertools.cycle([(block, pair_with_block(120, 160, block)) for block in blocks])
    with PerceptionRig(models, **{"rate.workers": "3"}) as rig:
        rig.wait_for_subscriptions()
        topics = {"fused": Image, "mask": Image, "detections": vision.Detection2DArray}
        heard = {topic: Heard(rig, kind, topic) for topic, kind in topics.items()}
        sent = {}

        def complete():
            for block, pair in itertools.islice(turns, 3):
                sent[rig.send(*pair)] = block
            return [stamp for stamp in sent if all(stamp in one.by_stamp for one in heard.values())]

        done = rig.until(lambda: (found := complete()) and len(found) >= 12 and found, "twelve whole pairs")
        for stamp in done:
            left, top, right, bottom = sent[stamp]
            fused, mask = (decode(heard[topic].by_stamp[stamp]) for topic in ("fused", "mask"))
            assert fused[top:bottom, left:right].min() > 200
            assert (mask[top:bottom, left:right] == BRIGHT).all()
            assert (mask == BRIGHT).sum() == 32 * 32
            assert largest(heard["detections"].by_stamp[stamp]) == pytest.approx(sent[stamp], abs=0.01)
        for one in heard.values():
            stamps = list(map(stamp_of, one.messages))
            assert stamps == sorted(set(stamps)), "in order, and none twice"


def test_a_late_subscriber_still_learns_what_the_numbers_mean(models, vision):
    with PerceptionRig(models) as rig:
        rig.wait_for_subscriptions()  # and no pair is sent
        for topic, classes in (("mask", CITYSCAPES_CLASSES), ("detections", DRIVING_CLASSES)):
            with Heard(rig, vision.LabelInfo, f"{topic}/label_info", latched=True) as info:
                rig.wait(lambda info=info: info.messages, "the latched labels")
                assert class_map(info.messages[-1]) == dict(enumerate(classes))
                assert info.messages[-1].threshold == pytest.approx(0.3 if topic == "detections" else 0)


def test_only_what_is_heard_is_computed(models, vision):
    with PerceptionRig(models) as rig:
        rig.wait_for_subscriptions()
        rig.fuse_one()
        rig.wait(lambda: "fuse" in rig.stages(), "the timing")
        assert not rig.stages() & {"perceive", "mask", "detections", "overlay", "annotations"}
        with Heard(rig, Image, "mask") as masks:
            rig.new(masks, PAIR)
            rig.wait(lambda: {"perceive", "mask"} <= rig.stages(), "the mask's time")
        assert not rig.stages() & {"detections", "overlay", "annotations"}
        with Heard(rig, vision.Detection2DArray, "detections") as detections:
            rig.new(detections, PAIR)
            rig.wait(lambda: "detections" in rig.stages(), "the detections' time")
        assert not rig.stages() & {"overlay", "annotations"}
        with Heard(rig, Image, "overlay") as overlays:
            rig.new(overlays, PAIR)
            rig.wait(lambda: "overlay" in rig.stages(), "the overlay's time")


def test_a_mask_comes_where_the_fused_image_is_not_heard(models):
    with PerceptionRig(models) as rig:
        rig.wait_for_subscriptions()
        fused = next(s for s in rig.node.subscriptions if s.topic_name.endswith("output/fused"))
        rig.node.destroy_subscription(fused)
        with Heard(rig, Image, "mask") as masks:
            assert (decode(rig.new(masks, PAIR)) == BRIGHT).any()
            rig.wait(lambda: "mask" in rig.stages(), "the mask's time")
        rig.until(lambda: rig.value("pairing", "dropped: pair: nobody listens"), "pairs that nobody hears")


def test_thresholds_change_while_streaming(rig, vision):
    with (
        Heard(rig, vision.Detection2DArray, "detections") as detections,
        Heard(rig, vision.LabelInfo, "detections/label_info", latched=True) as info,
    ):
        many = len(rig.new(detections, PAIR, lambda m: m.detections).detections)
        assert rig.set("detection.iou_threshold", 0.0) == (True, "")
        few = rig.new(detections, PAIR, lambda m: 0 < len(m.detections) < many)
        assert not any(overlap(one, other) for one, other in itertools.combinations(boxes(few), 2))
        assert rig.set("detection.iou_threshold", 0.65)[0]
        assert rig.set("detection.score_threshold", 1.0) == (True, "")
        rig.new(detections, PAIR, lambda m: not m.detections)
        rig.wait(lambda: info.messages[-1].threshold == 1, "the threshold beside the labels")
        assert rig.set("detection.score_threshold", 0.3)[0]
        rig.new(detections, PAIR, lambda m: len(m.detections) == many)
        successful, reason = rig.set("detection.score_threshold", 1.5)
        assert not successful
        assert "detection.score_threshold" in reason


def test_class_id_is_a_name_or_a_number(rig, vision):
    def ids(array):
        return {d.results[0].hypothesis.class_id for d in array.detections}

    with Heard(rig, vision.Detection2DArray, "detections") as detections:
        assert rig.set("detection.class_id", "number") == (True, "")
        rig.new(detections, PAIR, lambda m: ids(m) == {"0"})
        assert rig.set("detection.class_id", "name") == (True, "")
        rig.new(detections, PAIR, lambda m: ids(m) == {"person"})
        successful, reason = rig.set("detection.class_id", "label")
        assert not successful
        assert "expected name | number" in reason


def test_the_overlay_is_tinted_as_strongly_as_asked(rig):
    def road(message):
        return decode(message)[200, 20].astype(int)

    with Heard(rig, Image, "overlay") as overlays:
        assert rig.set("output.overlay_opacity", 1.0) == (True, "")
        rig.new(overlays, PAIR, lambda m: np.abs(road(m) - colour_of_class("road")).max() < 3)
        assert rig.set("output.overlay_opacity", 0.0) == (True, "")
        overlay = decode(rig.new(overlays, PAIR, lambda m: np.ptp(road(m)) == 0))
        assert len(np.unique(overlay.reshape(-1, 3), axis=0)) > 3, "the boxes are drawn all the same"
        assert rig.set("output.overlay_opacity", 0.5) == (True, "")
        overlay = rig.new(overlays, PAIR)
        assert (overlay.encoding, overlay.width, overlay.height) == ("rgb8", 320, 240)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("perception.model", "nope", "no model named 'nope'"),
        ("perception.model", "damaged", "has the sha256"),
        ("perception.model", "sage_fast", "is for the task 'fusion'"),
        ("detection.model", "coco.onnx", "detection.classes"),
        ("detection.model", "segmenter.onnx", "detection.classes"),
        ("detection.layout", "yolo", "expected auto | yolox"),
        ("output.autoware_labels", "x.yaml", "only while the node is unconfigured"),
    ],
)
def test_a_wrong_model_is_refused_and_nothing_changes(rig, models, vision, name, value, text):
    path = str(models / value) if value.endswith(".onnx") else value
    with (
        Heard(rig, vision.Detection2DArray, "detections") as detections,
        Heard(rig, vision.LabelInfo, "detections/label_info", latched=True) as info,
    ):
        successful, reason = rig.set(name, path)
        assert not successful
        assert text in reason
        assert largest(rig.new(detections, PAIR, lambda m: m.detections)) == pytest.approx(BLOCK, abs=0.01)
        assert class_map(info.messages[-1]) == dict(enumerate(DRIVING_CLASSES))
    rig.wait(lambda: rig.value("engine", "perception") == "perception", "the old model in diagnostics")


def test_models_change_while_streaming_and_labels_follow(rig, models, vision):
    with (
        Heard(rig, vision.Detection2DArray, "detections") as detections,
        Heard(rig, Image, "mask") as masks,
        Heard(rig, vision.LabelInfo, "detections/label_info", latched=True) as info,
        Heard(rig, vision.LabelInfo, "mask/label_info", latched=True) as mask_info,
    ):
        rig.new(detections, PAIR, lambda m: m.detections)
        assert rig.set("perception.model", "boxes") == (True, "")
        rig.wait(lambda: class_map(info.messages[-1]) == {0: "car", 1: "person"}, "the new labels")
        rig.new(detections, PAIR, lambda m: m.detections and m.detections[0].results[0].hypothesis.class_id == "car")
        rig.wait(lambda: class_map(mask_info.messages[-1]) == {}, "that there is no mask any more")
        rig.wait(lambda: rig.value("engine", "perception") == "boxes", "the new model in diagnostics")
        assert rig.value("engine", "boxes: provider") == "CPUExecutionProvider"

        assert rig.set("segmentation.classes", ["cityscapes"])[0], "a list alone changes nothing"
        assert rig.set("segmentation.layout", "logits_unit")[0]
        assert rig.set("segmentation.model", str(models / "segmenter.onnx")) == (True, "")
        assert (decode(rig.new(masks, PAIR)) == BRIGHT).any()
        rig.wait(lambda: class_map(mask_info.messages[-1]) == dict(enumerate(CITYSCAPES_CLASSES)), "the mask's labels")

        assert rig.set("detection.classes", ["coco"])[0]
        assert rig.set("detection.model", str(models / "coco.onnx")) == (True, "")
        rig.wait(lambda: class_map(info.messages[-1]) == dict(enumerate(COCO_CLASSES)), "COCO's labels")
        rig.new(detections, PAIR, lambda m: m.detections and m.detections[0].results[0].hypothesis.class_id == "person")
        rig.wait(lambda: rig.value("engine", "perception") == "segmenter, coco", "both models in diagnostics")
        rig.wait(lambda: {"segment", "detect"} <= rig.stages(), "the times of both")

        for name in ("detection.model", "segmentation.model"):
            assert rig.set(name, "") == (True, "")
        assert rig.set("perception.model", "perception") == (True, "")
        assert largest(rig.new(detections, PAIR, lambda m: m.detections)) == pytest.approx(BLOCK, abs=0.01)
        assert rig.set("segmentation.layout", "auto")[0]


def test_no_model_no_mask_and_one_may_come_later(models):
    with PerceptionRig(models, **{"perception.model": "''"}) as rig, Heard(rig, Image, "mask") as masks:
        rig.wait_for_subscriptions()
        rig.fuse_one(*PAIR)
        rig.wait(lambda: rig.value("engine", "perception") == "off", "that there is none")
        assert not masks.messages
        assert rig.set("perception.model", "perception") == (True, "")
        assert (decode(rig.new(masks, PAIR)) == BRIGHT).any()


def test_a_model_that_is_missing_at_the_start_is_told(models):
    with PerceptionRig(models, **{"perception.model": "nope"}) as rig:
        rig.wait(lambda: "no model named 'nope'" in rig.message("engine"), "the reason in diagnostics")
        assert rig.state() == "unconfigured"
        assert rig.set("perception.model", "perception")[0]
        assert rig.change_state("configure")


@pytest.mark.parametrize(
    "hidden",
    [
        ("foxglove_msgs", "tier4_perception_msgs"),
        ("vision_msgs", "foxglove_msgs", "tier4_perception_msgs", "autoware_perception_msgs"),
    ],
)
def test_missing_message_packages_are_told_once_and_cost_nothing(models, tmp_path, hidden):
    for package in hidden:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(
            f"raise ModuleNotFoundError('hidden', name={package!r})\n", encoding="utf-8"
        )
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    with PerceptionRig(models, environment={"PYTHONPATH": path}) as rig, Heard(rig, Image, "mask") as masks:
        rig.wait_for_subscriptions()
        assert (decode(rig.new(masks, PAIR)) == BRIGHT).any()
        rig.fuse_one(*PAIR)
        images = ("fused", "thermal_valid", "mask", "overlay")
        expected = {"camera_info", *images, *(f"{name}/compressed" for name in images)}
        if "vision_msgs" not in hidden:
            expected |= {"detections", "detections/label_info", "mask/label_info"}
        rig.wait(lambda: rig.topics() == expected, f"just these topics: {expected}; there are {rig.topics()}")
        for transition in ("deactivate", "cleanup", "configure", "activate"):
            assert rig.change_state(transition)
        rig.fuse_one(*PAIR)
        assert rig.log.count("not installed, so not published") == 1
        assert all(rig.log.count(f"{package} (") == 1 for package in hidden)
