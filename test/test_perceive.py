"""Mask and boxes of a fused image, by every kind of network that a user may bring."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from mock_perception import (
    BRIGHT,
    make_perception,
    write_fastestdet,
    write_rtdetr,
    write_rtdetr_deployed,
    write_segmenter,
    write_yolo_end2end,
    write_yolov8,
    write_yolox,
)
from onnx import TensorProto
from perception_rig import NONE, THREE, bright, load

from sage_fusion_ros.engines.card import sha256_of
from sage_fusion_ros.errors import ModelError
from sage_fusion_ros.pipeline.classes import (
    CITYSCAPES_CLASSES,
    DRIVING_CLASSES,
)
from sage_fusion_ros.pipeline.fusion_pipeline import Stopwatch
from sage_fusion_ros.pipeline.network import NetworkOptions
from sage_fusion_ros.pipeline.perceive import Perceiver, PerceptionChoice, load_perceiver
from sage_fusion_ros.pipeline.segment import SEGMENTATION_LAYOUTS
from sage_fusion_ros.pipeline.types import Detections


def boxes(perceiver: Perceiver, image: np.ndarray, score: float = 0.4, iou: float = 0.65) -> Detections:
    mask, found = perceiver.perceive(image, mask=False, detections=True, score_threshold=score, iou_threshold=iou)
    assert mask is None
    assert found is not None
    return found


def assert_on_the_square(found: Detections, margin: float) -> None:
    """Boxes cover the bright square of `bright()` and go no further than a cell's part beyond it."""
    xyxy = found.xyxy[found.scores > 0.9] if (found.scores > 0.9).any() else found.xyxy
    assert len(xyxy)
    assert (xyxy[:, :2].min(axis=0) <= [64, 32]).all()
    assert (xyxy[:, 2:].max(axis=0) >= [96, 64]).all()
    assert (xyxy[:, :2] >= [64 - margin, 32 - margin]).all()
    assert (xyxy[:, 2:] <= [96 + margin, 64 + margin]).all()
    assert set(found.class_ids) == {0}
    assert (found.xyxy.dtype, found.scores.dtype, found.class_ids.dtype) == (np.float32, np.float32, np.int64)
    assert (np.diff(found.scores) <= 0).all()


WRITERS = {
    "yolox": lambda path: write_yolox(path, 3),
    "yolov8": lambda path: write_yolov8(path, 3),
    "yolo_end2end": write_yolo_end2end,
    "rtdetr": lambda path: write_rtdetr(path, 3),
    "rtdetr joined": lambda path: write_rtdetr(path, 3, joined=True),
    "rtdetr deployed": write_rtdetr_deployed,
    "fastestdet": lambda path: write_fastestdet(path, 3),
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("named", [False, True])
def test_every_layout_finds_what_is_there(tmp_path: Path, kind: str, named: bool) -> None:
    path = WRITERS[kind](tmp_path / "mine.onnx")
    layout = kind.split()[0] if named else "auto"
    perceiver = load(detection_model=path, detection_classes=THREE, detection_layout=layout)
    assert perceiver.names == ("mine",)
    assert perceiver.detection_classes == THREE
    assert perceiver.mask_classes == ()
    assert perceiver.infos[0].device == "cpu"
    # The image is shown at half its size, or a little more where it is squeezed: a cell of stride 16 spans 32 pixels.
    assert_on_the_square(boxes(perceiver, bright(), iou=0.01 if kind == "yolox" else 0.65), margin=16)


def test_the_colours_come_in_the_order_that_the_network_knows(tmp_path: Path) -> None:
    """A network that sees red alone, in its first channel for RGB and in its last for BGR."""
    for kind, channel in (("yolov8", 0), ("yolox", 2)):
        path = WRITERS[kind](tmp_path / f"{kind}.onnx")
        model = onnx.load(path)
        for weight in model.graph.initializer:
            array = onnx.numpy_helper.to_array(weight).copy()
            if array.ndim == 4 and array.shape[1] == 3:
                array[:, [c for c in range(3) if c != channel]] = 0
                array *= 3
                weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
        onnx.save(model, path)
        perceiver = load(detection_model=path, detection_classes=THREE)
        for colour in range(3):
            image = np.zeros((96, 128, 3), np.uint8)
            image[32:64, 64:96, colour] = 255
            assert bool(len(boxes(perceiver, image).scores)) == (colour == 0), (kind, colour)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.UINT8])
def test_other_input_types_are_fed(tmp_path: Path, kind: int) -> None:
    path = write_yolov8(tmp_path / "d.onnx", 3, kind=kind)
    assert_on_the_square(boxes(load(detection_model=path, detection_classes=THREE), bright()), 16)
    path = write_segmenter(tmp_path / "s.onnx", 3, bright=2, unit=True, kind=kind)
    perceiver = load(segmentation_model=path, segmentation_classes=THREE, segmentation_layout="logits_unit")
    mask, _ = perceiver.perceive(bright(), **NONE | {"mask": True})
    np.testing.assert_array_equal(mask == 2, bright()[..., 0] > 0)


@pytest.mark.parametrize("size", [(96, 128), (50, 70), (33, 129)])
def test_open_sizes_take_the_image_as_it_is(tmp_path: Path, size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    image[16:32, 32:48] = 255
    perceiver = load(
        detection_model=write_yolov8(tmp_path / "d.onnx", 3, None),
        detection_classes=THREE,
        segmentation_model=write_segmenter(tmp_path / "s.onnx", side=None),
        segmentation_classes="cityscapes",
    )
    mask, found = perceiver.perceive(image, **NONE | {"mask": True, "detections": True})
    np.testing.assert_array_equal(mask == BRIGHT, image[..., 0] > 0)
    # The letterbox in the middle moves the cells, by up to half the padding.
    assert found.xyxy[0] == pytest.approx([32, 16, 48, 32], abs=16)
    assert perceiver.names == ("s", "d")


@pytest.mark.parametrize("layout", ["auto", *SEGMENTATION_LAYOUTS])
@pytest.mark.parametrize("side", [64, None])
def test_every_mask_is_where_the_thing_is(tmp_path: Path, layout: str, side: int | None) -> None:
    path = write_segmenter(tmp_path / "s.onnx", side=side, ids="ids" in layout, unit=layout.endswith("unit"))
    perceiver = load(segmentation_model=path, segmentation_classes=["cityscapes"], segmentation_layout=layout)
    assert perceiver.mask_classes == CITYSCAPES_CLASSES
    mask, found = perceiver.perceive(bright(), **NONE | {"mask": True, "detections": True})
    assert found is None
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, np.where(bright()[..., 0] > 0, BRIGHT, 0))


def test_ids_without_a_name_are_unlabelled(tmp_path: Path) -> None:
    path = write_segmenter(tmp_path / "s.onnx", ids=True)
    mask, _ = load(segmentation_model=path, segmentation_classes=THREE).perceive(bright(), **NONE | {"mask": True})
    np.testing.assert_array_equal(mask, np.where(bright()[..., 0] > 0, 255, 0))


@pytest.mark.parametrize("input_side", [0, 64, 128, 640])
def test_the_perception_model_gives_both(tmp_path: Path, input_side: int) -> None:
    perceiver = load(make_perception(tmp_path / "both", input_side=input_side))
    assert perceiver.names == ("both",)
    assert perceiver.mask_classes == CITYSCAPES_CLASSES
    assert perceiver.detection_classes == DRIVING_CLASSES
    mask, found = perceiver.perceive(bright(), **NONE | {"mask": True, "detections": True})
    scale = (input_side or 128) / 128
    np.testing.assert_array_equal(mask, np.where(bright()[..., 0] > 0, BRIGHT, 0))
    assert_on_the_square(found, margin=16 / scale)


def asked(perceiver: Perceiver) -> list[list[str]]:
    """Records the outputs that each run of each engine is asked for."""
    calls: list[list[str]] = []
    for network in perceiver._networks:
        run = network.engine.run

        def record(feeds, outputs=None, run=run):
            calls.append(list(outputs))
            return run(feeds, outputs)

        network.engine.run = record
    return calls


def test_only_what_is_wanted_is_computed_and_timed(tmp_path: Path) -> None:
    perceiver = load(make_perception(tmp_path / "both", input_side=128))
    calls = asked(perceiver)
    for mask, detections in ((True, False), (False, True), (True, True), (False, False)):
        watch = Stopwatch()
        result = perceiver.perceive(bright(), **NONE | {"mask": mask, "detections": detections, "watch": watch})
        assert [part is not None for part in result] == [mask, detections]
        assert list(watch.laps_ms) == ["perceive"] * (mask or detections)
    # The mask always has the boxes to agree with.
    assert calls == [["mask_logits", "boxes"], ["boxes"], ["mask_logits", "boxes"]]


def test_own_networks_replace_what_the_perception_model_gives(tmp_path: Path) -> None:
    """What it has to give alone is asked for; where both are replaced it is not even loaded."""
    folder = make_perception(tmp_path / "both", input_side=128)
    detector = {"detection_model": write_yolov8(tmp_path / "d.onnx", 3), "detection_classes": THREE}
    segmenter = {"segmentation_model": write_segmenter(tmp_path / "s.onnx", 3, bright=1), "segmentation_classes": THREE}
    everything = NONE | {"mask": True, "detections": True}

    perceiver = load(folder, **detector)
    assert (perceiver.names, perceiver.detection_classes) == (("both", "d"), THREE)
    assert perceiver.mask_classes == CITYSCAPES_CLASSES
    calls, watch = asked(perceiver), Stopwatch()
    mask, found = perceiver.perceive(bright(), **everything, watch=watch)
    assert mask.max() == BRIGHT
    assert_on_the_square(found, 16)
    assert calls == [["mask_logits", "boxes"], ["output0"]]
    assert list(watch.laps_ms) == ["perceive", "detect"]

    perceiver = load(folder, **segmenter)
    calls, watch = asked(perceiver), Stopwatch()
    assert perceiver.perceive(bright(), **everything, watch=watch)[0].max() == 1
    assert calls == [["boxes"], ["output"]]
    assert list(watch.laps_ms) == ["perceive", "segment"]

    perceiver = load("there is none of this name", **detector, **segmenter)
    assert perceiver.names == ("s", "d")


def test_nothing_chosen_is_nothing() -> None:
    assert load_perceiver(PerceptionChoice(perception_model="")) is None


def test_a_perception_model_may_give_one_of_both(tmp_path: Path) -> None:
    only_mask = load(make_perception(tmp_path / "m", detection_classes=()))
    assert only_mask.detection_classes == ()
    mask, found = only_mask.perceive(bright(), **NONE | {"mask": True, "detections": True})
    assert (mask is None, found is None) == (False, True)
    only_boxes = load(make_perception(tmp_path / "b", mask_classes=()))
    mask, found = only_boxes.perceive(bright(), **NONE | {"mask": True, "detections": True})
    assert (mask is None, found is None) == (True, False)


def test_thresholds_work_from_call_to_call(tmp_path: Path) -> None:
    perceiver = load(detection_model=write_yolov8(tmp_path / "d.onnx", 3), detection_classes=THREE)
    assert len(boxes(perceiver, bright(), score=0.9999).scores) < len(boxes(perceiver, bright(), score=0.4).scores)
    assert len(boxes(perceiver, bright(), iou=0.0).scores) < len(boxes(perceiver, bright(), iou=1.0).scores)


def test_images_of_changing_size_and_views_are_taken(tmp_path: Path) -> None:
    perceiver = load(make_perception(tmp_path / "both", input_side=128))
    for image in (bright(), bright(192, 256, 64, 128, 64), bright()[:, ::-1], bright()):
        before = image.copy()
        mask, _ = perceiver.perceive(image, **NONE | {"mask": True, "detections": True})
        np.testing.assert_array_equal(mask == BRIGHT, image[..., 0] > 0)
        np.testing.assert_array_equal(image, before)


def test_results_do_not_change_with_the_next_image(tmp_path: Path) -> None:
    perceiver = load(make_perception(tmp_path / "both", input_side=128))
    mask, found = perceiver.perceive(bright(), **NONE | {"mask": True, "detections": True})
    before = mask.copy(), found.xyxy.copy()
    perceiver.perceive(255 - bright(), **NONE | {"mask": True, "detections": True})
    np.testing.assert_array_equal(mask, before[0])
    np.testing.assert_array_equal(found.xyxy, before[1])


def test_model_folders_bring_their_classes(tmp_path: Path) -> None:
    """A detector in a folder with a card needs no class list; a list that is given goes before the card's."""
    folder = tmp_path / "mine"
    write_yolov8(folder / "model.onnx", 3)
    card = {"name": "mine", "task": "detection", "licence": "MIT", "sha256": sha256_of(folder / "model.onnx")}
    card |= {"inputs": [{"name": "images"}], "outputs": [{"name": "output0"}], "detection_classes": list(THREE)}
    (folder / "card.yaml").write_text(yaml.safe_dump(card))
    choice = PerceptionChoice("", detection_model="mine", detection_classes=("",))
    perceiver = load_perceiver(choice, NetworkOptions(device="cpu", models_path=[tmp_path]))
    assert (perceiver.names, perceiver.detection_classes) == (("mine",), THREE)
    assert load(detection_model=folder, detection_classes=["a", "b", "c"]).detection_classes == ("a", "b", "c")
    with pytest.raises(ModelError, match="is for the task 'detection'; a model for 'segmentation' is needed"):
        load(segmentation_model=folder, segmentation_classes=THREE)
