"""Models that are wrong in one way each, beside good ones."""

import pickle

import numpy as np
import yaml
from mock_models import make_model
from onnx import TensorProto, helper, numpy_helper

from sage_fusion_ros.engines.card import sha256_of


def edit_card(folder, **changes):
    path = folder / "card.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))


def rewrite(folder, content):
    """Puts another file in place, with a card that knows it."""
    (folder / "model.onnx").write_bytes(content)
    edit_card(folder, sha256=sha256_of(folder / "model.onnx"))


def regraph(folder, nodes, weights=()):
    """Another graph between the same inputs and output, which may be of any size."""
    shape = ["n", 1, "h", "w"]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("rgb_luma", "thermal")]
    output = helper.make_tensor_value_info("fused_luma", TensorProto.FLOAT, ["n", 1, "a", "b"])
    graph = helper.make_graph([helper.make_node(*node[:3], **node[3]) for node in nodes], "mock", inputs, [output])
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    rewrite(folder, model.SerializeToString())


def make_models(folder):
    """All of them, each a folder in this one."""
    make_model(folder / "sage_fast", "Max")
    make_model(folder / "mean", "Mean")
    make_model(folder / "slow", "Max", repeat=60)
    make_model(folder / "slowish", "Max", repeat=12)
    make_model(folder / "doomed", "Mean")
    make_model(folder / "other_inputs", inputs=("visible", "infrared"))
    make_model(folder / "other_task", card_task="detection")
    (make_model(folder / "no_card") / "card.yaml").unlink()
    (make_model(folder / "no_file") / "model.onnx").unlink()
    damaged = make_model(folder / "damaged") / "model.onnx"
    damaged.write_bytes(damaged.read_bytes()[:-30] + b"x" * 30)
    cut = make_model(folder / "cut")
    rewrite(cut, (cut / "model.onnx").read_bytes()[:-40])
    rewrite(make_model(folder / "pickled"), pickle.dumps({"weights": np.zeros(3)}))
    regraph(
        make_model(folder / "no_numbers"),
        [("Add", ["rgb_luma", "thermal"], ["x"], {}), ("Neg", ["x"], ["y"], {}), ("Sqrt", ["y"], ["fused_luma"], {})],
    )
    regraph(
        make_model(folder / "half"),
        [
            ("Max", ["rgb_luma", "thermal"], ["x"], {}),
            ("AveragePool", ["x"], ["fused_luma"], {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ],
    )
    regraph(
        make_model(folder / "hungry"),
        [
            ("Max", ["rgb_luma", "thermal"], ["x"], {}),
            ("Expand", ["x", "petabytes"], ["y"], {}),
            ("ReduceMax", ["y"], ["fused_luma"], {"axes": [0], "keepdims": 1}),
        ],
        [("petabytes", np.array([1 << 40, 1, 1, 1], np.int64))],
    )
    # Takes as long in its warm-up for a small image as for a large one: time for something to happen in the load.
    side = np.array([1200, 1200], np.int64)
    regraph(
        make_model(folder / "ponderous"),
        [
            ("Max", ["rgb_luma", "thermal"], ["x"], {}),
            ("ReduceMean", ["x"], ["mean"], {"keepdims": 0}),
            ("Expand", ["mean", "side"], ["m0"], {}),
            *[("MatMul", [f"m{i}", "m0"], [f"m{i + 1}"], {}) for i in range(4)],
            ("ReduceMax", ["m4"], ["largest"], {"keepdims": 0}),
            ("Mul", ["largest", "nothing"], ["zero"], {}),
            ("Add", ["x", "zero"], ["fused_luma"], {}),
        ],
        [("side", side), ("nothing", np.zeros(1, np.float32))],
    )
    for name, tail in (
        ("moody", [("Gather", ["nothing", "index"], ["offset"], {})]),
        ("fickle", [("Neg", ["whole"], ["minus"], {}), ("Sqrt", ["minus"], ["offset"], {})]),
    ):
        # Fails, or gives no numbers, where the thermal image is bright, and works on everything else.
        regraph(
            make_model(folder / name),
            [
                ("Max", ["rgb_luma", "thermal"], ["x"], {}),
                ("ReduceMean", ["thermal"], ["mean"], {"keepdims": 0}),
                ("Add", ["mean", "threshold"], ["sum"], {}),
                ("Floor", ["sum"], ["whole"], {}),
                ("Cast", ["whole"], ["index"], {"to": TensorProto.INT64}),
                *tail,
                ("Add", ["x", "offset"], ["fused_luma"], {}),
            ],
            [("threshold", np.float32(0.15)), ("nothing", np.zeros(1, np.float32))],
        )
    return folder
