"""Files that somebody else wrote: nothing is unpickled, YAML can't blow up, paths stay in their folder."""

import ast
import json
import math
import os
import struct

import pytest
import yaml
from mock_models import make_model

from sage_fusion_ros import safe_yaml
from sage_fusion_ros.engines.card import read_card
from sage_fusion_ros.engines.external_data import check_external_files
from sage_fusion_ros.errors import ModelError


def calls(project):
    """Every call in the package and its tools, by its dotted name."""
    for folder in ("sage_fusion_ros", "tools", "launch"):
        for file in (project / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    words = {word.arg: ast.unparse(word.value) for word in node.keywords}
                    yield ast.unparse(node.func), words, f"{file}:{node.lineno}"


def test_nothing_is_unpickled_or_run(project):
    wrong, seen = [], set()
    for name, words, where in calls(project):
        seen.add(name)
        if name == "torch.load" and words.get("weights_only") != "True":
            wrong.append(f"{where}: torch.load without weights_only")
        if name.endswith(("np.load", "numpy.load")) and words.get("allow_pickle", "False") != "False":
            wrong.append(f"{where}: np.load with pickles")
        if name in ("eval", "exec", "os.system", "os.popen") or words.get("shell") == "True":
            wrong.append(f"{where}: {name} runs text")
        if name.split(".")[0] in ("pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"):
            wrong.append(f"{where}: {name}")
        if name.startswith("yaml.") and name in ("yaml.unsafe_load", "yaml.full_load", "yaml.load_all"):
            wrong.append(f"{where}: {name}")
        if name == "yaml.load" and not where.rpartition(":")[0].endswith("safe_yaml.py"):
            wrong.append(f"{where}: yaml.load")
    assert wrong == []
    assert {"torch.load", "np.load", "yaml.load"} <= seen, "the names that are looked for are those in use"


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
MERGES = "a0: &a0 {k: x}\n" + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 40))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LAUGHS, "aliases"),
        (MERGES, "aliases"),
        ("a: &a [*a]", "aliases"),
        ("[" * 100_000, "nests deeper"),
        ("{a: " * 100_000, "nests deeper"),
        ("a: 1\nb: 2\na: 3", "'a' is given twice"),
        ("x" * (safe_yaml.MAX_BYTES + 1), "more than"),
        ("!!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("!!python/name:os.system", "could not determine a constructor"),
        ("v: 2024-99-99", "can't be read"),
        ("v: !!int ''", "can't be read"),
        ("v: !!bool perhaps", "can't be read"),
        ("v: !!timestamp never", "can't be read"),
        ("v: " + "9" * 5000, "can't be read"),
        ("v: \0", "unacceptable character"),
        ("v: [1", "expected"),
    ],
    ids=range(16),
)
def test_yaml_that_is_a_trap_is_an_error_of_one_kind(text, words):
    with pytest.raises(yaml.YAMLError) as caught:
        safe_yaml.parse(text)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_yaml_from_a_file_is_bounded_and_never_a_pipe(tmp_path):
    (tmp_path / "good.yaml").write_text("a: {b: [1, 2.5, text]}", encoding="utf-8")
    assert safe_yaml.read(tmp_path / "good.yaml") == {"a": {"b": [1, 2.5, "text"]}}
    with (tmp_path / "huge.yaml").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(yaml.YAMLError, match="more than"):
        safe_yaml.read(tmp_path / "huge.yaml")
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(OSError, match="no regular file"):
        safe_yaml.read(tmp_path / "pipe.yaml")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("file", "../model.onnx"),
        ("file", "/etc/passwd"),
        ("file", ".."),
        ("file", "a\0b"),
        ("name", "x" * 1_000_000),
        ("task", "y" * 1_000_000),
        ("size_multiple", math.inf),
        ("input_side", math.nan),
        ("parameters", []),
        ("inputs", [{"name": "x", "range": [0, 10**400]}]),
        ("inputs", [{"name": "x", "range": [-math.inf, math.inf]}]),
        ("inputs", [{"name": ["x"]}]),
        ("inputs", None),
        ("mask_classes", ["z" * 1_000_000]),
        ("mask_classes", {"a": 1}),
        ("w" * 1_000_000, 1),
    ],
    ids=range(16),
)
def test_a_crafted_card_is_refused_in_few_words(tmp_path, field, value):
    folder = make_model(tmp_path / "model")
    card = yaml.safe_load((folder / "card.yaml").read_text(encoding="utf-8"))
    (folder / "card.yaml").write_text(yaml.safe_dump({**card, field: value}), encoding="utf-8")
    with pytest.raises(ModelError) as caught:
        read_card(folder)
    assert str(folder) in str(caught.value)
    assert len(str(caught.value)) < 1500


def field(number, content):
    """A field of protobuf with content."""
    size, out = len(content), bytearray()
    while size >= 0x80:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([number << 3 | 2]) + bytes([*out, size]) + content


def network(location, place="initializer"):
    """An ONNX file with a tensor whose values are said to lie in another file."""
    tensor = field(13, field(1, b"location") + field(2, location)) + field(8, b"w")
    if place == "initializer":
        return field(7, field(5, tensor))
    if place == "constant":
        return field(7, field(1, field(5, field(5, tensor))))
    return field(7, field(1, field(5, field(6, field(1, field(5, field(6, field(5, tensor))))))))


@pytest.mark.parametrize("place", ["initializer", "constant", "a graph in a graph"])
@pytest.mark.parametrize("location", [b"../secret", b"/etc/passwd", b"a/../../b", b"C:\\x", b"..\\x", b""])
def test_a_network_can_not_have_another_folders_file_read(tmp_path, location, place):
    (tmp_path / "model.onnx").write_bytes(network(location, place))
    with pytest.raises(ModelError, match="which is not in its folder"):
        check_external_files(tmp_path / "model.onnx")


@pytest.mark.parametrize("place", ["initializer", "constant", "a graph in a graph"])
def test_weights_in_the_networks_own_folder_are_fine(tmp_path, place):
    (tmp_path / "model.onnx").write_bytes(network(b"weights/part_1.bin", place))
    check_external_files(tmp_path / "model.onnx")


NO_NETWORKS = {
    "a number without end": b"\x3a\xff" + b"\xff" * 100_000,
    "a pickle": b"\x80\x04\x95pickled",
    "a field cut off": field(7, b"\x0a\x7f"),
    "four bytes": struct.pack("<I", 0xFFFFFFFF),
}


@pytest.mark.parametrize("data", NO_NETWORKS.values(), ids=NO_NETWORKS.keys())
def test_what_is_no_network_is_refused_quickly(tmp_path, data):
    (tmp_path / "model.onnx").write_bytes(data)
    with pytest.raises(ModelError, match="can't be loaded as a network"):
        check_external_files(tmp_path / "model.onnx")


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/x.safetensors", "weights.bin", 7])
def test_an_index_of_weights_names_files_of_its_folder(tmp_path, name):
    pytest.importorskip("torch")
    from sage_fusion_ros.training.priors.sam_model import weight_files

    (tmp_path / "config.json").write_text('{"model_type": "sam"}', encoding="utf-8")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}), encoding="utf-8")
    with pytest.raises(ModelError, match="in its own folder"):
        weight_files(tmp_path)
    index.write_text(json.dumps({"weight_map": {"a": "model-1.safetensors"}}), encoding="utf-8")
    assert weight_files(tmp_path) == [index, tmp_path / "model-1.safetensors"]
