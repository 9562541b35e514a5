"""Mask and boxes of a fused image, by every kind of network that a user may bring."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from mock_models import make_model
from mock_perception import (
    BRIGHT,
    Graph,
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

from sage_fusion_ros.engines import onnx_engine
from sage_fusion_ros.engines.card import sha256_of
from sage_fusion_ros.errors import EngineError, ModelError, ParameterError
from sage_fusion_ros.pipeline.classes import (
    CITYSCAPES_CLASSES,
    CITYSCAPES_COLOURS,
    COCO_CLASSES,
    DRIVING_CLASSES,
    NAMED_LISTS,
)
from sage_fusion_ros.pipeline.fusion_pipeline import Stopwatch
from sage_fusion_ros.pipeline.perceive import Perceiver, PerceptionChoice, load_perceiver
from sage_fusion_ros.pipeline.segment import SEGMENTATION_LAYOUTS
from sage_fusion_ros.pipeline.types import Detections

THREE = ("person", "bicycle", "car")
NONE = {"mask": False, "detections": False, "score_threshold": 0.4, "iou_threshold": 0.65}


def bright(height: int = 96, width: int = 128, top: int = 32, left: int = 64, side: int = 32) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    image[top : top + side, left : left + side] = 255
    return image


def load(perception: str | Path = "", **others) -> Perceiver:
    texts = {key: str(value) if isinstance(value, Path) else value for key, value in others.items()}
    choice = PerceptionChoice(str(perception), **texts)
    perceiver = load_perceiver(choice, device="cpu", threads=1, warm_up_size=(96, 128))
    assert perceiver is not None
    return perceiver


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
    assert calls == [["mask_logits"], ["boxes"], ["mask_logits", "boxes"]]


def test_own_networks_replace_what_the_perception_model_gives(tmp_path: Path) -> None:
    """Its remaining output alone is computed; where both are replaced it is not even loaded."""
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
    assert calls == [["mask_logits"], ["output0"]]
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
    perceiver = load_perceiver(choice, device="cpu", models_path=[tmp_path])
    assert (perceiver.names, perceiver.detection_classes) == (("mine",), THREE)
    assert load(detection_model=folder, detection_classes=["a", "b", "c"]).detection_classes == ("a", "b", "c")
    with pytest.raises(ModelError, match="is for the task 'detection'; a model for 'segmentation' is needed"):
        load(segmentation_model=folder, segmentation_classes=THREE)


def nan_network(path: Path) -> Path:
    graph = Graph(("x", TensorProto.FLOAT, [1, 3, 64, 64]))
    below = graph.add("Sub", [graph.add("AveragePool", ["x"], kernel_shape=[4, 4], strides=[4, 4]), graph.value(2.0)])
    graph.add("Sqrt", [below], "y")
    graph.give("y", [1, 3, 16, 16])
    return graph.save(path)


def plain_network(path: Path, shape: list[int | str], kind: int = TensorProto.FLOAT) -> Path:
    """One that gives back what it takes."""
    graph = Graph(("x", kind, shape))
    graph.add("Identity", ["x"], "y")
    graph.give("y", shape, kind)
    return graph.save(path)


def test_networks_that_are_none_of_it_are_refused_by_name(tmp_path: Path) -> None:
    cases = [
        (write_yolov8(tmp_path / "a.onnx", 20), THREE, r"a.onnx takes 'images' float32 1x3x64x64 and gives 'output0' "),
        (write_yolov8(tmp_path / "b.onnx", 20), THREE, "as yolov8 it gives 20 classes, while the class list has 3"),
        (write_rtdetr_deployed(tmp_path / "c.onnx", label=7), THREE, "as rtdetr it gives class 7"),
        (plain_network(tmp_path / "d.onnx", [1, 64, 64, 3]), THREE, r"takes 'x' float32 1x64x64x3; expected one image"),
        (plain_network(tmp_path / "e.onnx", [4, 3, 64, 64]), THREE, "takes 'x' float32 4x3x64x64; expected one image"),
        (plain_network(tmp_path / "f.onnx", [1, 3, 64, 64], TensorProto.DOUBLE), THREE, "'x' float64 1x3x64x64; exp"),
        (plain_network(tmp_path / "g.onnx", [1, 3, "h", "w"]), THREE, r"takes 'x' float32 1x3x\?x\? and gives"),
        (make_model(tmp_path / "fuse") / "model.onnx", THREE, "takes 'rgb_luma' .*, 'thermal' .*; expected one image"),
        (tmp_path / "gone.onnx", THREE, r"the network .*gone\.onnx does not exist"),
        (write_yolov8(tmp_path / "h.onnx", 3), ("",), "classes are not known; give their names in detection.classes"),
        (write_yolov8(tmp_path / "i.onnx", 3), "3", "while the class list has 1 names"),
    ]
    for path, classes, text in cases:
        with pytest.raises(ModelError, match=text):
            load(detection_model=path, detection_classes=classes)
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(ModelError, match=r"text\.onnx can't be loaded as a network"):
        load(detection_model=tmp_path / "text.onnx", detection_classes=THREE)


def test_segmenters_that_are_none_are_refused_by_name(tmp_path: Path) -> None:
    logits, ids = write_segmenter(tmp_path / "a.onnx"), write_segmenter(tmp_path / "b.onnx", ids=True)
    cases = [
        (logits, THREE, "auto", "'output' gives 19 classes, while the class list has 3 names"),
        (logits, THREE, "auto", r"expected floats 1 x 3 x h x w or whole numbers 1 x h x w"),
        (logits, "cityscapes", "ids", r"gives 'output' float32 1x19x16x16.*; expected whole numbers 1 x h x w$"),
        (ids, "cityscapes", "logits", "expected floats 1 x 19 x h x w$"),
        (ids, "cityscapes", "colours", "segmentation.layout is 'colours'; expected auto, logits"),
        (ids, (), "auto", "classes are not known; give their names in segmentation.classes"),
        (nan_network(tmp_path / "c.onnx"), THREE, "auto", r"c\.onnx gives values in 'y' that are no numbers"),
    ]
    for path, classes, layout, text in cases:
        with pytest.raises(ModelError, match=text):
            load(segmentation_model=path, segmentation_classes=classes, segmentation_layout=layout)


def edit_card(folder: Path, **changes) -> Path:
    card = yaml.safe_load((folder / "card.yaml").read_text())
    (folder / "card.yaml").write_text(yaml.safe_dump(card | changes))
    return folder


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"mask_classes": list(THREE)}, "'mask_logits' gives 19 classes, while the class list has 3 names"),
        ({"detection_classes": list(THREE)}, "as yolov8 it gives 6 classes, while the class list has 3 names"),
        ({"mask_classes": []}, r"with 0 mask_classes and 6 detection_classes; expected 'mask_logits' with the first"),
        ({"outputs": [{"name": "boxes"}]}, r"gives \['boxes'\] with 19 mask_classes"),
        ({"mask_classes": ["a", "a"]}, "mask_classes has the name 'a' twice, for the ids 0 and 1"),
        ({"mask_classes": "abc"}, "mask_classes is 'abc'; expected a list of names"),
        ({"detection_classes": ["a", ""]}, "detection_classes has no name for the id 1"),
        ({"mask_classes": [str(i) for i in range(256)]}, "has 256 names; expected at most 255"),
        ({"input_side": 100}, "input_side is 100; expected 0, or a multiple of 32 from 32 to 8192"),
        ({"task": "fusion"}, "is for the task 'fusion'; a model for 'perception' is needed"),
    ],
)
def test_a_perception_model_that_is_not_what_its_card_says_is_refused(tmp_path: Path, changes: dict, text: str) -> None:
    with pytest.raises(ModelError, match=text):
        load(edit_card(make_perception(tmp_path / "both"), **changes))


def test_classes_come_from_a_text_file(tmp_path: Path) -> None:
    path = write_yolov8(tmp_path / "d.onnx", 3)
    listed = tmp_path / "mine.txt"
    listed.write_text("person\r\n bicycle \ncar\n\n")
    for given in (str(listed), [str(listed)], listed):
        choice = PerceptionChoice("", detection_model=str(path), detection_classes=given)
        assert load_perceiver(choice, device="cpu").detection_classes == THREE
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


def test_a_device_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And with allow_cpu the note says so, as for fusion models."""
    choice = PerceptionChoice(str(make_perception(tmp_path / "both")))
    real = onnx_engine._onnxruntime()
    monkeypatch.setattr(real, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(EngineError, match="engine.device is 'cuda'"):
        load_perceiver(choice, device="cuda")
    assert "cuda" in load_perceiver(choice, device="cuda", allow_cpu=True).infos[0].note


def test_a_size_that_a_network_can_not_take_is_named_when_it_comes(tmp_path: Path) -> None:
    """Open sizes in the file are a promise that some exports break: this one's mask has fixed 24x32 cells."""
    path = write_segmenter(tmp_path / "s.onnx", 3, bright=2, side=None, unit=True)
    model = onnx.load(path)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 3, 24, 32], np.int64), "fixed"))
    model.graph.node[-1].CopyFrom(
        onnx.helper.make_node("Reshape", [model.graph.node[-1].input[0], "fixed"], ["output"])
    )
    onnx.save(model, path)
    perceiver = load(segmentation_model=path, segmentation_classes=THREE, segmentation_layout="logits_unit")
    with pytest.raises(ModelError, match="network s failed on an image of 256x192"):
        perceiver.perceive(bright(192, 256), **NONE | {"mask": True})


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
