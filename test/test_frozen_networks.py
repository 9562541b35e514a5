"""The frozen networks of SAGE's training: features inside SAM or an ONNX file, and a segmentation network's logits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from mock_models import make_model
from mock_perception import make_perception, write_yolox
from onnx import TensorProto, helper, numpy_helper

from sage_fusion_ros.engines.card import ModelCard, sha256_of, write_card
from sage_fusion_ros.errors import ModelError, ParameterError
from sage_fusion_ros.pipeline.classes import CITYSCAPES_CLASSES
from sage_fusion_ros.training.frozen.feature_networks import SamBlocks, load_feature_network
from sage_fusion_ros.training.frozen.task_network import load_task_network
from sage_fusion_ros.training.semantic_losses import feature_distance

PATCH = 16


def write_sam(folder: Path, layers: int = 3) -> Path:
    """A SamModel of random weights with windows of 2x2 patches, as transformers keeps it."""
    from transformers import SamConfig, SamModel

    vision = {
        **{"image_size": 64, "patch_size": PATCH, "hidden_size": 16, "num_hidden_layers": layers, "mlp_dim": 32},
        **{"num_attention_heads": 2, "output_channels": 16, "num_pos_feats": 8, "window_size": 2},
        "global_attn_indexes": [2],
    }
    prompts = {"hidden_size": 16, "image_size": 64, "patch_size": PATCH, "mask_input_channels": 4}
    decoder = {"hidden_size": 16, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = SamModel(SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder))
        with torch.no_grad():  # what would change the result if it were added
            model.vision_encoder.pos_embed.normal_()
    model.save_pretrained(folder)
    return folder


def write_backbone(
    path: Path,
    *,
    shape: tuple[object, ...] = ("n", 3, "h", "w"),
    classes: int = 0,
    flatten: bool = False,
    ids: bool = False,
) -> Path:
    """Convolutions down to a thirty-second, and a map of classes at a sixteenth where there are any.

    Args:
        path: The file.
        shape: Of its input.
        classes: How many it knows.
        flatten: With a reshape that fixes the size and one picture.
        ids: Gives ids in place of logits.
    """
    rng = np.random.default_rng(0)
    weights, nodes, name = [], [], "image"

    def value(array: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(array, f"w{len(weights)}"))
        return f"w{len(weights) - 1}"

    def conv(source: str, channels: int, outputs: int, stride: int, result: str) -> str:
        weight = rng.normal(0, 0.4, (outputs, channels, 3, 3)).astype(np.float32)
        sizes = {"pads": [1] * 4, "strides": [stride] * 2}
        nodes.append(helper.make_node("Conv", [source, value(weight)], [f"{result}_raw"], **sizes))
        nodes.append(helper.make_node("Relu", [f"{result}_raw"], [result]))
        return result

    channels = 3
    for stride in (2, 4, 8, 16, 32):
        name, channels = conv(name, channels, 4, 2, f"down{stride}"), 4
        if stride in (8, 16):
            # A mean over the whole image that gates it, as in squeeze and excitation.
            nodes.append(helper.make_node("GlobalAveragePool", [name], [f"mean{stride}"]))
            nodes.append(helper.make_node("Mul", [name, f"mean{stride}"], [f"gated{stride}"]))
            name = f"gated{stride}"
    nodes.append(helper.make_node("Resize", [name, "", value(np.array([1, 1, 2, 2], np.float32))], ["up16"]))
    nodes.append(helper.make_node("Add", ["up16", "gated16"], ["joined"]))
    result = "joined"
    if flatten:
        sizes = value(np.array([1, 4, -1, shape[3] // 16], np.int64))  # type: ignore[operator]
        nodes.append(helper.make_node("Reshape", [result, sizes], ["flat"]))
        result = "flat"
    result = conv(result, 4, classes, 1, "logits") if classes else result
    kind = TensorProto.FLOAT
    if ids:
        nodes.append(helper.make_node("ArgMax", [result], ["ids"], axis=1, keepdims=0))
        result, kind = "ids", TensorProto.INT64
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, list(shape))]
    outputs = [helper.make_tensor_value_info(result, kind, ["n", "h", "w"] if ids else ["n", "c", "h", "w"])]
    graph = helper.make_graph(nodes, "backbone", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path


def in_folder(path: Path, task: str, **card: object) -> Path:
    write_card(path.parent, ModelCard(path.parent.name, task, sha256_of(path), "Apache-2.0", **card))
    return path.parent


def runtime(path: Path, image: torch.Tensor, output: str) -> np.ndarray:
    model = onnx.load(str(path))
    if output not in {value.name for value in model.graph.output}:
        model.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run([output], {session.get_inputs()[0].name: image.numpy()})[0]


def pictures(count: int = 2, height: int = 64, width: int = 96) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(7))


def test_sam_gives_its_first_two_blocks_without_positions(tmp_path: Path) -> None:
    from transformers import SamModel

    network = load_feature_network(str(write_sam(tmp_path / "sam")))
    assert isinstance(network, SamBlocks)
    assert network.name == "sam:sam (blocks 1 and 2)"
    image = pictures(2, 48, 80)
    first, second = network(image)
    assert first.shape == second.shape == (2, 16, 3, 5)
    encoder = SamModel.from_pretrained(tmp_path / "sam").eval().vision_encoder
    with torch.no_grad():
        tokens = encoder.patch_embed.projection(image).permute(0, 2, 3, 1)
        one = encoder.layers[0](tokens)
        two = encoder.layers[1](one)
    assert torch.allclose(first, one.permute(0, 3, 1, 2), atol=1e-6)
    assert torch.allclose(second, two.permute(0, 3, 1, 2), atol=1e-6)


def test_a_picture_in_sam_does_not_depend_on_the_others(tmp_path: Path) -> None:
    network = SamBlocks(write_sam(tmp_path / "sam"))
    image = pictures(2, 48, 80)
    for alone, together in zip(network(image[1:]), network(image), strict=True):
        assert torch.allclose(alone[0], together[1], atol=1e-5)


def test_sam_with_one_block_or_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has 1 blocks; the first 2 are needed"):
        SamBlocks(write_sam(tmp_path / "sam", layers=1))
    (tmp_path / "sam" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"has neither model\.safetensors"):
        load_feature_network(str(tmp_path / "sam"))


@pytest.mark.parametrize("kind", ["sam", "onnx", "perception"])
def test_the_distance_of_features_has_a_gradient_to_the_picture_and_leaves_the_network_alone(
    tmp_path: Path, kind: str
) -> None:
    spec = {
        "sam": lambda: write_sam(tmp_path / "sam"),
        "onnx": lambda: write_backbone(tmp_path / "b.onnx"),
        "perception": lambda: "perception",
    }[kind]()
    network = load_feature_network(str(spec))
    image, other = pictures().requires_grad_(), pictures().flip(2).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        maps = network(image)
        loss = feature_distance(maps, network(other))
    assert all(x.dtype == torch.float32 for x in maps)
    loss.backward()
    for picture in (image, other):
        seen = picture.grad.abs().amax(dim=1).gt(0).float().mean()
        assert seen > 0.9
    weights = list(network._layers.parameters() if kind == "sam" else network._network._graph.buffers())
    assert weights
    assert all(not weight.requires_grad and weight.grad is None for weight in weights)
    # Downhill is downhill.
    with torch.no_grad():
        step = image - 1e-3 * image.grad / image.grad.norm()
        assert feature_distance(network(step), network(other)) < feature_distance(network(image), network(other))


def test_the_backbone_is_cut_before_it_goes_on_down(tmp_path: Path) -> None:
    path = write_backbone(tmp_path / "b.onnx")
    network = load_feature_network(str(path))
    assert network.name == "b (gated8, gated16)"
    assert network.sha256 == sha256_of(path)
    image = pictures()
    for maps, name, stride in zip(network(image), ("gated8", "gated16"), (8, 16), strict=True):
        assert maps.shape == (2, 4, 64 // stride, 96 // stride)
        assert np.allclose(maps.numpy(), runtime(path, image, name), atol=1e-4)


def test_tensors_can_be_named(tmp_path: Path) -> None:
    path = write_backbone(tmp_path / "b.onnx")
    network = load_feature_network(f"{path}@down2,up16")
    assert network.name == "b (down2, up16)"
    assert [tuple(x.shape) for x in network(pictures())] == [(2, 4, 32, 48), (2, 4, 4, 6)]
    with pytest.raises(ModelError, match=r"b\.onnx has no tensor nowhere"):
        load_feature_network(f"{path}@nowhere")


def test_the_shipped_perception_model_gives_features() -> None:
    network = load_feature_network("perception")
    assert [tuple(x.shape) for x in network(pictures())] == [(2, 64, 8, 12), (2, 128, 4, 6)]
    assert network.name.startswith("perception (")


def test_a_yolox_is_shown_levels_in_bgr(tmp_path: Path) -> None:
    path = write_yolox(tmp_path / "yolox.onnx")
    graph = onnx.load(str(path)).graph
    inner = next(node.output[0] for node in graph.node if node.op_type == "Conv")
    image = pictures(1, 64, 64)
    (maps,) = load_feature_network(f"{path}@{inner}")(image)
    assert np.allclose(maps.numpy(), runtime(path, image.flip(1) * 255, inner), atol=1e-3)


def test_a_file_of_one_size_is_shown_that_size_picture_by_picture(tmp_path: Path) -> None:
    path = write_backbone(tmp_path / "b.onnx", shape=(1, 3, 64, 64), classes=5, flatten=True)
    network = load_task_network(str(path))
    image = pictures(3, 64, 64)
    logits = network(image)
    assert logits.shape == (3, 5, 4, 4)
    wanted = runtime(path, normalised(image[1:2]), "logits")
    assert np.allclose(logits[1:2].numpy(), wanted, atol=1e-4)
    assert network(pictures(2, 40, 100)).shape == (2, 5, 4, 4)


def normalised(image: torch.Tensor) -> torch.Tensor:
    mean, deviation = (torch.tensor(x).view(1, 3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return (image - mean) / deviation


def test_the_task_networks_logits_are_onnx_runtimes(project: Path) -> None:
    network = load_task_network("perception")
    assert network.name == "perception"
    assert network.classes == CITYSCAPES_CLASSES
    path = project / "models" / "perception" / "model.onnx"
    assert network.sha256 == sha256_of(path)
    image = pictures(2, 64, 96).requires_grad_()
    logits = network(image)
    assert logits.shape == (2, 19, 16, 24)
    assert np.allclose(logits.detach().numpy(), runtime(path, image.detach(), "mask_logits"), atol=1e-4)
    logits[:, 11].sum().backward()
    assert image.grad.abs().amax(dim=1).gt(0).float().mean() > 0.9


def test_a_picture_that_does_not_fit_the_cells_is_enlarged_a_little() -> None:
    network = load_task_network("perception")
    assert network(pictures(1, 50, 70)).shape == (1, 19, 16, 24)
    # Nothing is padded: a picture of one colour stays one of one colour.
    grey = torch.full((1, 3, 50, 70), 0.4)
    assert torch.allclose(network(grey), network(torch.full((1, 3, 64, 96), 0.4)), atol=1e-4)


def test_a_segmenters_folder_is_shown_imagenets_mean(tmp_path: Path) -> None:
    path = write_backbone(tmp_path / "roads" / "model.onnx", classes=3)
    in_folder(path, "segmentation", mask_classes=("road", "sky", "rest"))
    network = load_task_network("roads", [tmp_path])
    assert network.classes == ("road", "sky", "rest")
    image = pictures()
    assert np.allclose(network(image).numpy(), runtime(path, normalised(image), "logits"), atol=1e-4)


def test_a_perception_folder_with_an_end_that_is_not_known(tmp_path: Path) -> None:
    """Its boxes count cells with CumSum, which only they need."""
    folder = make_perception(tmp_path / "mine")
    network = load_task_network(str(folder))
    logits = network(torch.ones(1, 3, 64, 64))
    assert (logits.argmax(dim=1) == CITYSCAPES_CLASSES.index("person")).all()


def test_classes_of_a_file_alone(tmp_path: Path) -> None:
    three, nineteen = (write_backbone(tmp_path / f"{n}.onnx", classes=n) for n in (3, 19))
    assert load_task_network(str(three)).classes == ("class 0", "class 1", "class 2")
    assert load_task_network(str(three), classes=["a", "b", "c"]).classes == ("a", "b", "c")
    assert load_task_network(str(nineteen)).classes == CITYSCAPES_CLASSES
    with pytest.raises(ModelError, match=r"3\.onnx gives 3 classes in 'logits', the class list has 2"):
        load_task_network(str(three), classes=["a", "b"])
    with pytest.raises(ParameterError, match=r"task_network\.classes"):
        load_task_network(str(three), classes=["a", "a", "b"])


def test_they_go_to_a_device(tmp_path: Path) -> None:
    device = torch.device("meta")
    sam = SamBlocks(write_sam(tmp_path / "sam"))
    features = load_feature_network(str(write_backbone(tmp_path / "b.onnx")))
    task = load_task_network("perception")
    for network in (sam, features, task):
        assert network.to(device) is network
    weights = [*sam._layers.parameters(), *features._network._graph.buffers(), *task._network._graph.buffers()]
    assert {weight.device for weight in weights} == {device}


@pytest.mark.parametrize("load", [load_feature_network, load_task_network])
def test_what_is_no_network_of_one_image(project: Path, tmp_path: Path, load: object) -> None:
    with pytest.raises(ModelError, match=r"none\.onnx does not exist"):
        load(str(tmp_path / "none.onnx"))
    with pytest.raises(ModelError, match="no model named 'nobody'"):
        load("nobody")
    folder = make_model(tmp_path / "fuser")
    with pytest.raises(ModelError, match="model fuser is for the task 'fusion'"):
        load(str(folder))
    with pytest.raises(ModelError, match="takes 'rgb_luma'.*expected one image"):
        load(str(project / "models" / "sage" / "model.onnx"))


def test_networks_that_give_no_logits_or_no_pyramid(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="gives 'ids' int64.*have no gradient"):
        load_task_network(str(write_backbone(tmp_path / "ids.onnx", classes=3, ids=True)))
    with pytest.raises(ModelError, match=r"expected the logits of classes"):
        load_task_network(str(write_yolox(tmp_path / "yolox.onnx")))
    boxes = make_perception(tmp_path / "boxes", mask_classes=())
    with pytest.raises(ModelError, match="model boxes gives no mask"):
        load_task_network(str(boxes))
    mask = make_perception(tmp_path / "mask", detection_classes=())
    with pytest.raises(ModelError, match="gives no maps at 1/8 and at 1/16.*FILE@TENSOR"):
        load_feature_network(str(mask))
