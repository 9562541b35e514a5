"""models quantise: what the int8 file holds, that it runs and comes near, and that nothing is left half done."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from mock_models import make_model
from mock_perception import make_perception
from onnx import TensorProto, helper, numpy_helper
from quantisable_models import LAYERS, make_conv_model, make_sets

from sage_fusion_ros.cli.main import main
from sage_fusion_ros.engines.card import read_card, sha256_of
from sage_fusion_ros.engines.models import find_model, variant
from sage_fusion_ros.errors import ModelError, ParameterError
from sage_fusion_ros.pipeline.fuse import load_fuser
from sage_fusion_ros.pipeline.network import NetworkOptions
from sage_fusion_ros.training.quantisation import folder as folders
from sage_fusion_ros.training.quantisation.equalise import equalise
from sage_fusion_ros.training.quantisation.graph import Graph
from sage_fusion_ros.training.quantisation.quantise import QuantisationSettings, quantise, steps
from sage_fusion_ros.training.quantisation.ranges import leaky_low

INT8 = "model.int8.onnx"


def run(*words: object) -> int:
    return main(["models", "quantise", *map(str, words), "--threads", "1"])


def contents(folder: Path) -> dict[str, str]:
    return {path.name: sha256_of(path) for path in folder.iterdir()}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_sets(tmp_path_factory.mktemp("sets"), "here", "there")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, sets: list[Path]) -> Path:
    folder = make_conv_model(tmp_path_factory.mktemp("models") / "mine")
    before = contents(folder)
    assert run(folder, "--data", *sets, "--least-psnr", 35) == 0
    after = contents(folder)
    assert after.keys() == before.keys() | {INT8}
    assert after["model.onnx"] == before["model.onnx"]
    return folder


def weights_of(file: Path) -> dict[str, np.ndarray]:
    """By the layer's name, as they are stored: whole numbers where it computes in integers."""
    found = {}
    for tensor in onnx.load(file).graph.initializer:
        layer, _, rest = tensor.name.partition(".")
        if layer in LAYERS and rest in ("weight", "weight_quantized"):
            found[layer] = numpy_helper.to_array(tensor)
    return found


def test_the_layers_are_integers_of_seven_bits_but_the_last(made: Path) -> None:
    weights = weights_of(made / INT8)
    assert {layer: each.dtype for layer, each in weights.items()} == {
        "first": np.int8,
        "middle": np.int8,
        "last": np.float32,
    }
    assert max(int(np.abs(weights[layer].astype(int)).max()) for layer in ("first", "middle")) == 64


def test_each_channel_has_a_scale_and_the_input_the_images_own_steps(made: Path) -> None:
    model = onnx.load(made / INT8)
    scales = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert scales["middle.weight_scale"].shape == (8,)
    assert scales["pair_scale"] == pytest.approx(1 / 255)
    assert {entry.domain for entry in model.opset_import} == {""}


def test_the_card_names_the_file_and_how_it_was_made(made: Path, sets: list[Path]) -> None:
    card = read_card(made)
    entry = card.variants["int8"]
    assert (entry.file, entry.sha256) == (INT8, sha256_of(made / INT8))
    assert entry.made["kept_in_fp32"] == ["last"]
    assert entry.made["percentile"] in entry.made["percentiles_tried"]
    # Of six in each set, the first and the sixth are kept out.
    assert entry.made["calibrated_on"]["pairs"] == {"here": 4, "there": 4}
    assert entry.made["judged_on"]["pairs"] == {"here": 2, "there": 2}
    assert str(sets[0].parent) not in (made / "card.yaml").read_text()


def test_it_runs_and_is_as_near_as_the_card_says(made: Path) -> None:
    rng = np.random.default_rng(1)
    rgb, thermal = rng.integers(0, 256, (50, 71, 3)).astype(np.uint8), rng.integers(0, 256, (50, 71)).astype(np.uint8)
    images = []
    for precision in ("fp32", "int8"):
        fuser = load_fuser(made, NetworkOptions(device="cpu", precision=precision))
        images.append(fuser.fuse_luma(rgb[..., 1], thermal).astype(float))
        fuser.close()
    difference = np.abs(images[0] - images[1])
    assert 0 < difference.mean() < 3
    assert read_card(made).variants["int8"].made["against_fp32"]["psnr_db"] >= 35


def test_the_same_command_makes_the_same_file(made: Path, sets: list[Path], tmp_path: Path) -> None:
    again = make_conv_model(tmp_path / "mine")
    assert run(again, "--data", *sets, "--least-psnr", 35) == 0
    assert sha256_of(again / INT8) == sha256_of(made / INT8)


def test_what_is_too_far_from_fp32_is_not_written(sets: list[Path], tmp_path: Path, capsys) -> None:
    folder = make_conv_model(tmp_path / "mine")
    before = contents(folder)
    assert run(folder, "--data", *sets, "--least-psnr", 98) == 2
    assert "psnr_db is" in (error := capsys.readouterr().err)
    assert "--keep ends" in error
    assert contents(folder) == before


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_folder_that_is_cut_off_while_it_is_written_is_whole(made, tmp_path, monkeypatch, failing) -> None:
    """The second file over a first one: at each of the three moves the disk fails."""
    folder = tmp_path / "mine"
    folders.install(find_model(made), made / INT8, {}, folder)
    other = tmp_path / "other.onnx"
    other.write_bytes((made / INT8).read_bytes() + b"\0")
    moves = []
    real = folders.os.replace

    def replace(source: Path, target: Path) -> None:
        moves.append(target)
        if len(moves) == failing:
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(folders.os, "replace", replace)
    with pytest.raises(ModelError, match="No space left"):
        folders.install(find_model(folder), other, {}, None)
    assert {path.name for path in folder.iterdir()} == {"card.yaml", "model.onnx", INT8}
    model = find_model(folder)
    if failing == 1:
        assert variant(model, "int8").path == folder / INT8
    else:
        with pytest.raises(ModelError, match="models quantise"):
            variant(model, "int8")


def test_a_copy_is_made_where_it_is_asked_for(made: Path, tmp_path: Path) -> None:
    (source := tmp_path / "source").mkdir()
    for path in made.iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    (source / "training_log.csv").write_text("step,loss\n")
    before = contents(source)
    card = folders.install(find_model(source), made / INT8, {"note": 1}, tmp_path / "new" / "copy")
    assert contents(source) == before
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"copy"}
    copied = find_model(tmp_path / "new" / "copy")
    assert copied.card == card
    assert card.name == "copy"
    assert variant(copied, "int8").card.variants["int8"].made == {"note": 1}
    assert (tmp_path / "new" / "copy" / "training_log.csv").is_file()


def test_a_folder_that_holds_something_is_refused_before_any_work(made: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert run(made, "--data", tmp_path / "nothing", "--output", tmp_path) == 2
    assert "holds something" in capsys.readouterr().err
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_the_split_of_the_card_is_the_default(sets: list[Path], tmp_path: Path) -> None:
    split = {"split": {"exclude": ["here/00[0-4]"], "every_fifth": []}}
    folder = make_conv_model(tmp_path / "mine", training={"settings": split})
    assert run(folder, "--data", *sets, "--least-psnr", 30, "--percentiles", 99.99) == 0
    made = read_card(folder).variants["int8"].made
    assert made["judged_on"]["pairs"] == {"here": 5}
    assert made["calibrated_on"]["pairs"] == {"here": 1, "there": 6}


def test_models_that_have_nothing_to_gain_are_refused(sets: list[Path], tmp_path: Path, capsys) -> None:
    assert run(make_model(tmp_path / "max"), "--data", *sets) == 2
    assert "no convolution" in capsys.readouterr().err
    assert run(make_conv_model(tmp_path / "other", task="detection"), "--data", *sets) == 2
    assert "for fusion and perception" in capsys.readouterr().err


def test_layers_are_kept_by_word_or_name(made: Path, tmp_path: Path) -> None:
    graph = Graph(made / "model.onnx", tmp_path / "prepared.onnx")
    assert (graph.first, graph.last) == (["first"], ["last"])
    assert graph.kept(["none"]) == []
    assert graph.kept(["ends"]) == ["first", "last"]
    assert graph.kept(["middle", "last"]) == ["middle", "last"]
    with pytest.raises(ParameterError, match="no layer of the model"):
        graph.kept(["fourth"])
    with pytest.raises(ParameterError, match="keep fewer"):
        graph.kept(["ends", "middle"])
    assert graph.leaky_inputs() == {"first.raw": pytest.approx(0.01), "middle.raw": pytest.approx(0.01)}


@pytest.mark.parametrize("equalised", [True, False])
def test_the_progress_is_counted_right(made: Path, sets: list[Path], tmp_path: Path, equalised: bool) -> None:
    from sage_fusion_ros.evaluation.precision_loss import fusion_loss
    from sage_fusion_ros.sources.samples import draw_samples

    calibration, judged = draw_samples(sets, None, 3, 2, 0)
    settings = QuantisationSettings(percentiles=(99.0, 99.9), equalise=equalised, threads=1)
    ticks: list[int] = []
    tick = lambda: ticks.append(1)  # noqa: E731
    card = quantise(find_model(made), tmp_path / "copy", calibration, judged, fusion_loss, settings, {}, tick)
    assert card.variants["int8"].made["judged_on"]["of_these_calibrated_on"] == 0
    assert card.variants["int8"].made["tensors_with_equalised_channels"] == 2 * equalised
    assert len(ticks) == steps(settings, 3, 2) == 3 * (3 + equalised) + 2


def test_perception_is_shown_fused_images_and_its_boxes_stay_in_place(sets: list[Path], tmp_path: Path) -> None:
    make_model(tmp_path / "brighter")
    folder = make_perception(tmp_path / "eyes", input_side=96)
    words = ("--models-path", tmp_path, "--fusion", "brighter", "--percentiles", 100)
    assert run("eyes", "--data", *sets, *words) == 0
    made = read_card(folder).variants["int8"].made
    assert made["fused_by"] == "brighter"
    assert made["against_fp32"]["mask_agreement"] > 0.95
    assert made["against_fp32"]["box_agreement"] > 0.9
    assert len(made["kept_in_fp32"]) == 4
    operators = {node.op_type for node in onnx.load(folder / INT8).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear", "CumSum"} <= operators


def test_equalised_channels_are_nearer_and_the_network_the_same(made: Path, tmp_path: Path) -> None:
    model = onnx.load(made / "model.onnx")
    for tensor in model.graph.initializer:
        if tensor.name in ("first.weight", "first.bias"):
            values = numpy_helper.to_array(tensor).copy()
            values[0] *= 50
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, tmp_path / "uneven.onnx")
    graph = Graph(tmp_path / "uneven.onnx", tmp_path / "prepared.onnx")
    rng = np.random.default_rng(0)
    feeds = {name: rng.random((1, 1, 24, 32), dtype=np.float32) for name in graph.inputs}

    def compute() -> list[np.ndarray]:
        tapped = onnx.load(tmp_path / "prepared.onnx")
        tapped.graph.output.append(helper.make_tensor_value_info("first.out", TensorProto.FLOAT, None))
        return onnxruntime.InferenceSession(tapped.SerializeToString()).run(["fused_luma", "first.out"], feeds)

    before, uneven = compute()
    ticks: list[int] = []
    assert equalise(graph, [feeds], 1, lambda: ticks.append(1)) == 2
    after, even = compute()
    np.testing.assert_allclose(after, before, atol=1e-5)

    def spread(values: np.ndarray) -> float:
        sizes = np.abs(values).max(axis=(0, 2, 3))
        return float(sizes.max() / np.median(sizes))

    assert spread(even) < 0.5 * spread(uneven)
    assert ticks == [1]


def test_a_leaky_relus_input_is_cut_where_little_is_lost() -> None:
    values = np.random.default_rng(0).normal(-3, 2, 100_000)
    histogram = np.histogram(values, 2048, range=(-12, 12))
    high = float(np.quantile(values, 0.9999))
    assert values.min() + 3 < leaky_low(histogram, 0.01, high) < -0.5
    assert leaky_low(histogram, 1.0, high) < values.min() + 2
    assert leaky_low(np.histogram(np.abs(values), 64, range=(0, 12)), 0.01, 12.0) == 0
    assert leaky_low(histogram, 0.0, high) == 0


@pytest.mark.parametrize("wrong", [{"percentiles": ()}, {"percentiles": (40.0,)}, {"weight_bits": 4}])
def test_settings_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(ParameterError):
        QuantisationSettings(**wrong)
