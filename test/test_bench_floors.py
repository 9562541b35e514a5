"""What tools/bench counts in a network, and the floor it makes of that."""

import bench_modules
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from sage_fusion_ros.engines.models import find_model
from sage_fusion_ros.errors import ModelError
from sage_fusion_ros.networks.sage import SageStudent

bench = bench_modules.load()


def graph(path, nodes, inputs, outputs, **constants):
    values = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in side.items()]
        for side in (inputs, outputs)
    ]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "net", *values, tensors), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    onnx.save(model, str(path))
    return path


def as_declared(_, shape):
    return tuple(shape)


def test_each_kind_of_operator_is_counted_by_hand(tmp_path):
    nodes = [
        # 1x4x8x8 from 2 groups of 1 channel under 3x3, stride 2: 4*8*8*9 products, and the bias.
        helper.make_node("Conv", ["x", "w", "b"], ["a"], strides=[2, 2], pads=[1] * 4, group=2),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("ConvTranspose", ["p", "t"], ["u"], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["u"], ["g"]),
        helper.make_node("Reshape", ["g", "rows"], ["f"]),
        helper.make_node("MatMul", ["f", "m"], ["n"]),
        helper.make_node("Gemm", ["n", "c"], ["y"], transB=1),
    ]
    constants = {
        "w": np.zeros((4, 1, 3, 3), np.float32),
        "b": np.zeros(4, np.float32),
        "t": np.zeros((4, 3, 2, 2), np.float32),
        "rows": np.array([1, 3]),
        "m": np.zeros((3, 5), np.float32),
        "c": np.zeros((7, 5), np.float32),
    }
    path = graph(tmp_path / "a.onnx", nodes, {"x": [1, 2, 16, 16]}, {"y": [1, 7]}, **constants)
    counted = bench.operations.count(path, as_declared)
    assert counted.by_operator == {
        "Conv": 2 * 4 * 8 * 8 * 9 + 4 * 8 * 8,
        "Relu": 4 * 8 * 8,
        "MaxPool": 4 * 4 * 4 * 4,
        "ConvTranspose": 2 * (4 * 4 * 4) * (3 * 2 * 2),
        "GlobalAveragePool": 3 * 8 * 8,
        "MatMul": 2 * 3 * 5,
        "Gemm": 2 * 5 * 7,
    }
    assert counted.by_unit == {"float": counted.total}
    assert counted.input_output_bytes == 4 * (2 * 16 * 16 + 7)
    assert counted.weights == {"float": 4 * 9 + 4 * 3 * 4 + 15 + 35}
    assert counted.layers[0].values == 2 * 16 * 16 + 4 * 9 + 4 * 8 * 8
    assert counted.unsized == 0


def test_the_student_is_counted_as_torch_runs_it():
    network, products = SageStudent().eval(), []

    def note(module, _, given):
        kernel = module.in_channels // module.groups * module.kernel_size[0] * module.kernel_size[1]
        products.append(given.numel() * kernel)

    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(note)
    with torch.inference_mode():
        network(torch.zeros(1, 1, 48, 64), torch.ones(1, 1, 48, 64))
    model = find_model("sage")
    counted = bench.floors.count_model(model.path, model.card, "64x48")
    assert sum(layer.operations for layer in counted.layers) == 2 * sum(products)


def test_whole_numbers_are_a_unit_of_their_own(tmp_path):
    """And ONNX Runtime takes the probes of that form as whole numbers too: no convolution in floating point is left."""
    for form, path in bench.probes.write_probes(tmp_path):
        counted = bench.operations.count(path, as_declared)
        assert counted.by_unit == {form: counted.total}
        if form == "int8" and "convolutions" in path.name:
            options = onnxruntime.SessionOptions()
            options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
            onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            kinds = {node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node}
            assert "QLinearConv" in kinds
            assert "Conv" not in kinds


def test_a_product_without_a_size_is_refused(tmp_path):
    nodes = [helper.make_node("NonZero", ["x"], ["i"]), helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT)]
    nodes.append(helper.make_node("MatMul", ["f", "m"], ["y"]))
    path = graph(tmp_path / "a.onnx", nodes, {"x": [2]}, {"y": [None, None]}, m=np.zeros((2, 2), np.float32))
    with pytest.raises(ModelError, match="MatMul 'y' has no size"):
        bench.operations.count(path, as_declared)


def test_a_file_that_is_no_network_is_refused(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"\x00nothing")
    with pytest.raises(ModelError, match=r"a\.onnx can't be counted"):
        bench.operations.count(tmp_path / "a.onnx", as_declared)


@pytest.mark.parametrize(("size", "shape"), [("640x480", (544, 704)), ("1280x1024", (576, 704))])
def test_a_network_is_counted_at_what_its_card_makes_of_an_image(size, shape, monkeypatch):
    seen = []
    monkeypatch.setattr(
        bench.operations, "count", lambda path, shape_of: seen.append(shape_of("image", [None, 3, None, None]))
    )
    model = find_model("perception", task=None)
    bench.floors.count_model(model.path, model.card, size)
    assert seen == [(1, 3, *shape)]


def machine(what, precision, device="cpu", **result):
    return {"what": what, "config": {"engine": "any", "precision": precision, "device": device}, "result": result}


OPERATIONS = {
    "by_operator": {"Conv": 3e9},
    "by_unit": {"float": 1e9, "int8": 2e9},
    "input_output_bytes": 1_000_000,
    "weights": {"float": 1_000_000, "int8": 4_000_000},
    "unsized": 0,
    "layers": [
        {"operations": 1e9, "unit": "float", "values": 50_000_000},
        {"operations": 2e9, "unit": "int8", "values": 1_000_000},
    ],
}
PEAKS = [
    machine("blas", "fp32", operations_s=50e9),
    machine("probe", "fp32", operations_s=100e9),
    machine("probe", "int8", operations_s=400e9),
    machine("copy", "fp32", bytes_s=10e9),
]


def test_a_floor_is_the_greater_of_computing_and_moving():
    config = bench.matrix.Config("onnxruntime", "int8", "cpu")
    floor = bench.floors.Peaks(PEAKS).floor(OPERATIONS, config)
    assert floor["compute"] == pytest.approx(10 + 5)  # the most that any reached: 100 and 400 Gop/s
    assert floor["moved"] == pytest.approx((1e6 + 4e6 + 4e6) / 10e9 * 1e3)
    assert floor["floor"] == floor["compute"]
    assert floor["layers"] == pytest.approx(20 + 5)  # 200 MB take longer than the first layer's operations


def test_half_precision_moves_half_and_takes_its_own_peak():
    peaks = bench.floors.Peaks([*PEAKS, machine("probe", "bf16", operations_s=200e9)])
    only_float = {**OPERATIONS, "by_unit": {"float": 1e9}, "layers": OPERATIONS["layers"][:1]}
    floor = peaks.floor(only_float, bench.matrix.Config("openvino", "bf16", "cpu"))
    assert floor["compute"] == pytest.approx(5)
    assert floor["layers"] == pytest.approx(10)


@pytest.mark.parametrize(("precision", "device"), [("fp16", "cpu"), ("int8", "cuda")])
def test_without_a_peak_there_is_no_floor(precision, device):
    config = bench.matrix.Config("onnxruntime", precision, device)
    assert bench.floors.Peaks(PEAKS).floor(OPERATIONS, config) == {}
