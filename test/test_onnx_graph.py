"""ONNX networks in torch: each operator and whole networks against ONNX Runtime, inner tensors, gradients, refusals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from sage_fusion_ros.engines.torch_engine.graph import OnnxGraph
from sage_fusion_ros.engines.torch_engine.operators import OPERATORS
from sage_fusion_ros.errors import ModelError
from sage_fusion_ros.training.onnx_file import write_onnx

IMAGE = (2, 8, 6, 10)


def save(
    path: Path,
    nodes: Sequence[Any],
    weights: dict[str, Any] | None = None,
    shape: Sequence[Any] = IMAGE,
    opset: int = 17,
) -> Path:
    """A file that takes "x" and gives "y"."""
    values = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape)),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
    ]
    arrays = [numpy_helper.from_array(np.asarray(array), name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(list(nodes), "g", values[:1], values[1:], arrays)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), str(path))
    return path


def runtime(path: Path, *images: np.ndarray, outputs: Sequence[str] | None = None) -> list[np.ndarray]:
    """What ONNX Runtime makes of it; inner tensors are declared as outputs first."""
    model = onnx.load(str(path))
    for name in outputs or ():
        if name not in {value.name for value in model.graph.output}:
            model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = {port.name: image for port, image in zip(session.get_inputs(), images, strict=True)}
    return session.run(list(outputs) if outputs else None, feeds)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


INT = np.int64
# Operator, what it takes beside the image, attributes, opset.
CASES: list[tuple[str, dict[str, Any], dict[str, Any], int]] = [
    ("Add", {"b": noise(8, 1, 1)}, {}, 17),
    ("AveragePool", {}, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}, 17),
    ("AveragePool", {}, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}, 17),
    ("AveragePool", {}, {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, 17),
    (
        "BatchNormalization",
        {"s": noise(8), "b": noise(8), "m": noise(8), "v": np.abs(noise(8)) + np.float32(0.1)},
        {"epsilon": 1e-3},
        17,
    ),
    ("Clip", {"low": np.float32(-0.5), "high": np.float32(0.25)}, {}, 17),
    ("Clip", {}, {"min": -0.5, "max": 0.25}, 7),
    ("Conv", {"w": noise(4, 4, 3, 3), "b": noise(4)}, {"pads": [1, 2, 1, 2], "strides": [2, 1], "group": 2}, 17),
    ("Conv", {"w": noise(4, 8, 3, 3)}, {"pads": [0, 0, 1, 2], "dilations": [1, 2]}, 17),
    ("Conv", {"w": noise(4, 8, 3, 3)}, {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, 17),
    ("Conv", {"w": noise(4, 8, 2, 2)}, {"auto_pad": "SAME_LOWER"}, 17),
    ("Conv", {"w": noise(4, 8, 3, 3)}, {"auto_pad": "VALID"}, 17),
    ("ConvTranspose", {"w": noise(8, 3, 4, 4), "b": noise(3)}, {"pads": [1, 1, 1, 1], "strides": [2, 2]}, 17),
    ("CumSum", {"axis": np.array(3, INT)}, {}, 17),
    ("DepthToSpace", {}, {"blocksize": 2, "mode": "DCR"}, 17),
    ("DepthToSpace", {}, {"blocksize": 2, "mode": "CRD"}, 17),
    ("Div", {"b": np.abs(noise(10)) + np.float32(0.5)}, {}, 17),
    ("Erf", {}, {}, 17),
    ("Exp", {}, {}, 17),
    ("Expand", {"shape": np.array([3, 1, 1, 6, 1], INT)}, {}, 17),
    ("Flatten", {}, {"axis": 2}, 17),
    ("Gather", {"i": np.array([[1, -1], [0, 2]], INT)}, {"axis": 1}, 17),
    ("Gather", {"i": np.array(-1, INT)}, {"axis": 3}, 17),
    ("GlobalAveragePool", {}, {}, 17),
    ("HardSigmoid", {}, {"alpha": 0.3}, 17),
    ("HardSwish", {}, {}, 17),
    ("Identity", {}, {}, 17),
    ("LeakyRelu", {}, {"alpha": 0.2}, 17),
    ("MatMul", {"b": noise(10, 3)}, {}, 17),
    ("Max", {"b": noise(6, 1), "c": noise(10)}, {}, 17),
    ("MaxPool", {}, {"kernel_shape": [3, 3], "pads": [0, 0, 1, 1], "strides": [2, 2]}, 17),
    ("MaxPool", {}, {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1, "dilations": [2, 1]}, 17),
    ("Mean", {"b": noise(6, 1), "c": noise(10)}, {}, 17),
    ("Min", {"b": noise(6, 1)}, {}, 17),
    ("Mul", {"b": noise(6, 1)}, {}, 17),
    ("Neg", {}, {}, 17),
    ("Pad", {"p": np.array([0, 0, 1, 2, 0, 1, 0, 3], INT), "v": np.float32(0.5)}, {}, 17),
    ("Pad", {"p": np.array([0, 0, 1, 2, 0, 0, 2, 1], INT)}, {"mode": "reflect"}, 17),
    ("Pad", {"p": np.array([0, 0, 1, 2, 0, 0, 2, 1], INT)}, {"mode": "edge"}, 17),
    ("Pow", {"b": np.float32(2)}, {}, 17),
    ("ReduceMean", {}, {"axes": [2, -1], "keepdims": 0}, 17),
    ("ReduceMean", {"axes": np.array([1], INT)}, {}, 18),
    ("Relu", {}, {}, 17),
    ("Reshape", {"s": np.array([0, 2, -1, 10], INT)}, {}, 17),
    ("Sigmoid", {}, {}, 17),
    ("Slice", {"a": np.array([1, -4], INT), "b": np.array([2**62, -1], INT), "axes": np.array([1, -1], INT)}, {}, 17),
    ("Softmax", {}, {"axis": 1}, 17),
    ("Softmax", {}, {"axis": 2}, 11),
    ("Softplus", {}, {}, 17),
    ("Sub", {"b": noise(2, 1, 1, 10)}, {}, 17),
    ("Sum", {"b": noise(6, 1), "c": noise(10)}, {}, 17),
    ("Tanh", {}, {}, 17),
    ("Transpose", {}, {"perm": [0, 2, 3, 1]}, 17),
    ("Transpose", {}, {}, 17),
    ("Unsqueeze", {"axes": np.array([0, -1], INT)}, {}, 17),
    ("Unsqueeze", {}, {"axes": [1]}, 11),
]


@pytest.mark.parametrize(("kind", "weights", "attributes", "opset"), CASES, ids=lambda value: str(value)[:24])
def test_operators(tmp_path: Path, kind: str, weights: dict, attributes: dict, opset: int) -> None:
    path = save(
        tmp_path / "g.onnx", [helper.make_node(kind, ["x", *weights], ["y"], **attributes)], weights, opset=opset
    )
    image = noise(*IMAGE, seed=1)
    result = OnnxGraph(path)(torch.from_numpy(image).requires_grad_())
    wanted = runtime(path, image)[0]
    assert result.shape == wanted.shape
    assert np.allclose(result.detach().numpy(), wanted, atol=2e-6, rtol=1e-5)
    result.sum().backward()  # a gradient comes back


@pytest.mark.parametrize(
    ("attributes", "scales", "sizes"),
    [
        ({"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, (2, 3), None),
        ({"mode": "nearest"}, (2, 2), None),
        ({"mode": "linear"}, (1.5, 2.2), None),
        ({"mode": "linear"}, None, (7, 5)),
        ({"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"}, None, (12, 13)),
        ({"mode": "linear", "coordinate_transformation_mode": "align_corners"}, None, (11, 19)),
    ],
)
def test_resizes(tmp_path: Path, attributes: dict, scales: Any, sizes: Any) -> None:
    weights: dict[str, Any] = {}
    if scales:
        weights["scales"] = np.array([1, 1, *scales], np.float32)
    else:
        weights["sizes"] = np.array([*IMAGE[:2], *sizes], INT)
    names = ["x", "", "scales"] if scales else ["x", "", "", "sizes"]
    path = save(tmp_path / "g.onnx", [helper.make_node("Resize", names, ["y"], **attributes)], weights)
    image = noise(*IMAGE, seed=2)
    assert np.allclose(OnnxGraph(path)(torch.from_numpy(image)).numpy(), runtime(path, image)[0], atol=1e-5)


def test_arithmetic_on_shapes(tmp_path: Path) -> None:
    """Rows' numbers times the image, doubled in size: what exporters write for a size that is left open."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "two"], ["rows"]),
        helper.make_node("Range", ["zero", "rows", "one"], ["numbers"]),
        helper.make_node("Cast", ["numbers"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["floats", "last"], ["column"]),
        helper.make_node("Mul", ["x", "column"], ["product"]),
        helper.make_node("Unsqueeze", ["rows", "first"], ["height"]),
        helper.make_node("Shape", ["x"], ["sides"], start=2, end=4),
        helper.make_node("Div", ["sides", "four"], ["quarters"]),
        helper.make_node("Squeeze", ["quarters"], ["quarters_again"]),
        helper.make_node("Mul", ["quarters_again", "eight"], ["twice"]),
        helper.make_node("Concat", ["count", "twice"], ["sizes"], axis=0),
        helper.make_node("Equal", ["sizes", "minus"], ["open"]),
        helper.make_node(
            "ConstantOfShape", ["length"], ["ones"], value=helper.make_tensor("v", TensorProto.INT64, [1], [1])
        ),
        helper.make_node("Where", ["open", "ones", "sizes"], ["wanted"]),
        helper.make_node("Constant", [], ["eight"], value_ints=[8, 8]),
        helper.make_node("Constant", [], ["minus"], value_int=-1),
        helper.make_node("Resize", ["product", "", "", "wanted"], ["bigger"], mode="linear"),
        helper.make_node("Split", ["bigger"], ["a", "b"], axis=1),
        helper.make_node("Split", ["a", "parts"], ["c", "d"], axis=1),
        helper.make_node("Sqrt", ["squares"], ["roots"]),
        helper.make_node("Mul", ["b", "b"], ["squares"]),
        helper.make_node("Concat", ["d", "roots", "c"], ["dropped"], axis=1),
        helper.make_node("Dropout", ["dropped"], ["y"]),
    ]
    order = [*nodes[15:17], *nodes[:15], *nodes[17:20], nodes[21], nodes[20], *nodes[22:]]
    weights = {
        **{"two": np.array(2, INT), "zero": np.array(0, INT), "one": np.array(1, INT), "last": np.array([-1], INT)},
        **{"first": np.array([0], INT), "four": np.array(4, INT), "count": np.array([2, 8], INT)},
        **{"length": np.array([4], INT), "parts": np.array([1, 3], INT)},
    }
    path = save(tmp_path / "g.onnx", order, weights, ["n", 8, "h", "w"])
    image = noise(2, 8, 9, 13, seed=4)
    result = OnnxGraph(path)(torch.from_numpy(image)).numpy()
    assert result.shape == (2, 8, 16, 24)
    assert np.allclose(result, runtime(path, image)[0], atol=1e-5)


def test_a_linear_layer(tmp_path: Path) -> None:
    weights = {"w": noise(5, 8), "b": noise(5)}
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], alpha=0.5, beta=2.0, transB=1)
    path = save(tmp_path / "g.onnx", [node], weights, (4, 8))
    image = noise(4, 8, seed=3)
    assert np.allclose(OnnxGraph(path)(torch.from_numpy(image)).numpy(), runtime(path, image)[0], atol=1e-5)


def test_every_operator_is_held_against_onnx_runtime_here() -> None:
    shapes = {"Shape", "Range", "Cast", "Squeeze", "Equal", "ConstantOfShape", "Where", "Split", "Sqrt", "Concat"}
    assert {case[0] for case in CASES} | shapes | {"Dropout", "Resize", "Gemm"} == OPERATORS.keys()


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("perception", [(2, 3, 64, 96)]),
        ("sage", [(1, 1, 37, 50), (1, 1, 37, 50)]),
        ("sage_fast", [(2, 1, 32, 48), (2, 1, 32, 48)]),
    ],
)
def test_the_packages_own_models(project: Path, name: str, shapes: list[tuple[int, ...]]) -> None:
    path = project / "models" / name / "model.onnx"
    images = [np.random.default_rng(i).random(shape, dtype=np.float32) for i, shape in enumerate(shapes)]
    names = [port.name for port in OnnxGraph(path).gives]
    tensors = [torch.from_numpy(image).requires_grad_() for image in images]
    results = OnnxGraph(path, names).tensors(*tensors)
    for result, wanted in zip(results, runtime(path, *images), strict=True):
        assert result.shape == wanted.shape
        assert np.abs(result.detach().numpy() - wanted).max() <= 1e-5 * np.abs(wanted).max()
    sum(result.square().sum() for result in results).backward()
    assert all(tensor.grad.abs().amax(dim=(0, 1)).gt(0).float().mean() > 0.9 for tensor in tensors)


@pytest.mark.parametrize("name", ["perception", "sage"])
def test_another_device_is_never_waited_for(project: Path, name: str) -> None:
    """On the device "meta" tensors have shapes and no values: sizes that were computed there could not be read."""
    path = project / "models" / name / "model.onnx"
    graph = OnnxGraph(path, [port.name for port in OnnxGraph(path).gives])
    images = [torch.zeros(1, port.shape[1], 64, 96) for port in graph.inputs]
    shapes = [tuple(result.shape) for result in graph.tensors(*images)]
    graph.to("meta")
    results = graph.tensors(*(image.to("meta") for image in images))
    assert [tuple(result.shape) for result in results] == shapes
    assert all(result.device.type == "meta" for result in results)


@pytest.mark.parametrize(("name", "white"), [("fastestdet_coco_352", 1.0), ("yolox_nano_coco_416", 255.0)])
def test_published_detectors(shared_data: Path, name: str, white: float) -> None:
    path = shared_data.parent / "weights" / f"{name}.onnx"
    if not path.is_file():
        pytest.skip("no shared data beside the project: the published detectors")
    graph = OnnxGraph(path)
    image = np.random.default_rng(0).random(graph.inputs[0].shape, dtype=np.float32) * np.float32(white)
    tensor = torch.from_numpy(image).requires_grad_()
    result, wanted = graph(tensor), runtime(path, image)[0]
    assert np.abs(result.detach().numpy() - wanted).max() <= 1e-4 * np.abs(wanted).max()
    result.square().sum().backward()
    assert tensor.grad.abs().max() > 0


def test_inner_tensors_and_what_leads_to_them_alone(project: Path) -> None:
    path = project / "models" / "perception" / "model.onnx"
    image = np.random.default_rng(5).random((1, 3, 64, 64), dtype=np.float32)
    whole = OnnxGraph(path, ["boxes"])
    inner = [name for name, value in whole.walk(torch.from_numpy(image)) if value.ndim == 4 and value.shape[2] == 8][:3]
    graph = OnnxGraph(path, inner[::-1])
    results = graph.tensors(torch.from_numpy(image))
    for result, wanted in zip(results, runtime(path, image, outputs=inner[::-1]), strict=True):
        assert np.allclose(result.numpy(), wanted, atol=1e-5)
    assert len(list(graph.buffers())) < len(list(whole.buffers())), "weights that are not needed are not kept"


def test_what_is_not_needed_may_be_of_any_kind(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["kept"]), helper.make_node("Hardmax", ["kept"], ["y"])]
    path = save(tmp_path / "g.onnx", nodes)
    image = torch.from_numpy(noise(*IMAGE))
    assert torch.equal(OnnxGraph(path, ["kept"])(image), image.relu())
    with pytest.raises(ModelError, match=r"g\.onnx has the operators Hardmax"):
        OnnxGraph(path)


def test_the_gradient_is_that_of_the_function(tmp_path: Path) -> None:
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3, padding=1),
        torch.nn.Softplus(),
        torch.nn.AvgPool2d(2),
        torch.nn.Upsample(scale_factor=2, mode="bilinear"),
        torch.nn.Conv2d(3, 2, 1),
        torch.nn.Sigmoid(),
    )
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Softplus", ["a"], ["p"]),
        helper.make_node("AveragePool", ["p"], ["q"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Resize", ["q", "", "s"], ["r"], mode="linear"),
        helper.make_node("Conv", ["r", "v"], ["t"]),
        helper.make_node("Sigmoid", ["t"], ["y"]),
    ]
    weights = {"w": noise(3, 1, 3, 3), "b": noise(3), "s": np.array([1, 1, 2, 2], np.float32), "v": noise(2, 3, 1, 1)}
    path = save(tmp_path / "g.onnx", nodes, weights, (1, 1, 4, 6))
    graph = OnnxGraph(path).double()
    image = torch.from_numpy(noise(1, 1, 4, 6, seed=6)).double().requires_grad_()
    assert torch.autograd.gradcheck(graph, (image,))
    with torch.no_grad():
        for layer, names in ((network[0], ("w", "b")), (network[4], ("v",))):
            for parameter, name in zip(layer.parameters(), names, strict=False):
                parameter.copy_(torch.from_numpy(weights[name]))
        network[4].bias.zero_()
    ours = torch.autograd.grad(graph(image).square().sum(), image)[0]
    theirs = torch.autograd.grad(network.double()(image).square().sum(), image)[0]
    assert torch.allclose(ours, theirs, atol=1e-7)


def test_a_network_of_ours_just_exported(tmp_path: Path) -> None:
    from sage_fusion_ros.networks.sage import SageStudent

    torch.manual_seed(0)
    network = SageStudent(dim=8).eval()
    write_onnx(network, tmp_path / "g.onnx")
    images = torch.rand(2, 1, 1, 21, 30)
    with torch.no_grad():
        assert torch.allclose(OnnxGraph(tmp_path / "g.onnx")(*images), network(*images), atol=1e-5)


def test_refusals(tmp_path: Path) -> None:
    relu = helper.make_node("Relu", ["x"], ["y"])
    path = save(tmp_path / "relu.onnx", [relu])
    image = torch.zeros(IMAGE)
    with pytest.raises(ModelError, match=r"relu\.onnx has no tensor z; its last ones are y"):
        OnnxGraph(path, ["z"])
    with pytest.raises(ModelError, match=r"relu\.onnx takes x; it was given 2 inputs"):
        OnnxGraph(path)(image, image)
    fixed = save(
        tmp_path / "fixed.onnx", [helper.make_node("Reshape", ["x", "s"], ["y"])], {"s": np.array([2, 480], INT)}
    )
    with pytest.raises(ModelError, match=r"fixed\.onnx fails at Reshape 'y' of \(2, 8, 6, 11\)"):
        OnnxGraph(fixed)(torch.zeros(2, 8, 6, 11))
    weights = {
        "a": np.array([-1], INT),
        "b": np.array([0], INT),
        "axes": np.array([3], INT),
        "step": np.array([-1], INT),
    }
    slices = save(tmp_path / "slice.onnx", [helper.make_node("Slice", ["x", *weights], ["y"])], weights)
    with pytest.raises(ModelError, match="a slice that runs backwards"):
        OnnxGraph(slices)(image)
    cubic = save(
        tmp_path / "cubic.onnx",
        [helper.make_node("Resize", ["x", "", "s"], ["y"], mode="cubic")],
        {"s": np.array([1, 1, 2, 2], np.float32)},
    )
    with pytest.raises(ModelError, match=r"cubic\.onnx fails at Resize .* a resize of mode b'cubic'"):
        OnnxGraph(cubic)(image)
    pools = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[3, 3], pads=[0, 0, 1, 1])
    with pytest.raises(ModelError, match="a mean whose padding differs"):
        OnnxGraph(save(tmp_path / "pool.onnx", [pools]))(image)
