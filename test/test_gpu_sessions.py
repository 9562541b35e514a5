"""ONNX Runtime on a GPU as far as that can be tested without one: bound memory, sizes, built engines and their keys."""

from __future__ import annotations

import ctypes
import json
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mock_models import make_model
from mock_perception import make_perception

from sage_fusion_ros.cli import main as cli
from sage_fusion_ros.engines import engine_cache, onnx_binding, onnx_engine
from sage_fusion_ros.engines.engine_cache import EngineKey, gpu_identity, is_built, tensorrt_version
from sage_fusion_ros.engines.load import load_engine
from sage_fusion_ros.engines.models import find_model
from sage_fusion_ros.engines.onnx_binding import BoundSession
from sage_fusion_ros.engines.onnx_session import PROVIDERS, fixed_lengths
from sage_fusion_ros.engines.options import EngineOptions
from sage_fusion_ros.errors import EngineError

KEY = EngineKey("a" * 64, ("mask",), "GPU, compute 9.0", {"x": (1, 1, 8, 8)}, "fp16", {"tensorrt": "1"})


class Session:
    """A session on the CPU that says it is on the GPU it was asked for."""

    def __init__(self, real, network, options, providers):
        self._real = real(network, options, providers=["CPUExecutionProvider"])
        self._providers = [each if isinstance(each, str) else each[0] for each in providers]

    def get_providers(self):
        return self._providers

    def __getattr__(self, name):
        return getattr(self._real, name)


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """An onnxruntime with a GPU made of the CPU; holds the arguments of the sessions that were made."""
    real = onnx_engine._onnxruntime()
    fake = types.ModuleType("onnxruntime")
    fake.__dict__.update(real.__dict__)
    fake.get_available_providers = lambda: list(PROVIDERS.values())
    fake.asked, fake.broken = [], False

    def start(network, options, providers):
        fake.asked.append(providers)
        if fake.broken and providers[0] != PROVIDERS["cpu"]:
            raise RuntimeError("no such library")
        return Session(real.InferenceSession, network, options, providers)

    fake.InferenceSession = start
    monkeypatch.setattr(onnx_engine, "_onnxruntime", lambda: fake)
    monkeypatch.setattr(onnx_binding, "MEMORY", "cpu")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # Profiles tell the truth, that the CPU ran it all.
    truth = onnx_engine._executed_operators

    def told(profile):
        provider = fake.asked[-1][0] if isinstance(fake.asked[-1][0], str) else fake.asked[-1][0][0]
        return [node._replace(provider=provider) for node in truth(profile)]

    monkeypatch.setattr(onnx_engine, "_executed_operators", told)
    return fake


def feeds(height, width, value=1.0):
    return {name: np.full((1, 1, height, width), value, np.float32) for name in ("rgb_luma", "thermal")}


def load(folder, device, **options):
    return load_engine(find_model(folder), EngineOptions(device=device, **options), lambda e: e.run(feeds(8, 8)))


def test_a_bound_session_gives_what_a_session_gives(project):
    ort = onnx_engine._onnxruntime()
    session = ort.InferenceSession(str(project / "models/sage_fast/model.onnx"), providers=["CPUExecutionProvider"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_binding, "MEMORY", "cpu")
        bound = BoundSession(ort, session)
    rng = np.random.default_rng(0)
    earlier = None
    for height, width in ((16, 24), (16, 24), (32, 16), (16, 24)):
        images = {name: rng.random((1, 1, height, width), np.float32) for name in ("rgb_luma", "thermal")}
        images["thermal"] = images["thermal"][:, :, ::-1]  # not in order in memory
        (found,) = bound.run(["fused_luma"], images)
        np.testing.assert_array_equal(found, session.run(["fused_luma"], images)[0])
        if earlier is not None:
            np.testing.assert_array_equal(*earlier)
        earlier = found, found.copy()


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_on_a_gpu_arrays_are_bound(gpu, tmp_path, monkeypatch, device):
    runs = []
    real = BoundSession.run
    monkeypatch.setattr(BoundSession, "run", lambda *args: runs.append(1) or real(*args))
    engine = load(make_model(tmp_path / "m"), device)
    assert engine.run(feeds(8, 8, 3.0))[0].max() == 3
    assert len(runs) == 3, "to see where it runs, to warm up, and the one above"
    assert engine.info.provider == PROVIDERS[device]


def folders(gpu):
    """The cache folders of the TensorRT sessions, in the order in which they were made."""
    return [each[0][1]["trt_engine_cache_path"] for each in gpu.asked if not isinstance(each[0], str)]


def test_tensorrt_has_a_session_and_a_folder_for_each_size(gpu, tmp_path):
    engine = load(make_model(tmp_path / "m"), "tensorrt", precision="fp16")
    for size in ((8, 8), (8, 16), (8, 8), (8, 16)):
        assert engine.run(feeds(*size))[0].shape == (1, 1, *size)
    first, *found = folders(gpu)
    assert first == found[0], "what serves finds in the cache what was built to see where it runs"
    assert len(found) == len(set(found)) == 2
    keys = [json.loads((tmp_path / "cache" / folder / "key.json").read_text()) for folder in found]
    assert [key["shapes"]["thermal"] for key in keys] == [[1, 1, 8, 8], [1, 1, 8, 16]]
    assert {key["model"] for key in keys} == {find_model(tmp_path / "m").card.sha256}
    assert {key["precision"] for key in keys} == {"fp16"}
    options = gpu.asked[-1][0][1]
    assert (options["trt_fp16_enable"], options["trt_bf16_enable"], options["trt_int8_enable"]) == (True, False, False)


def test_tensorrt_is_told_of_no_open_length(gpu, tmp_path, monkeypatch):
    fixed = []
    real = gpu.SessionOptions

    class Options(real):
        def add_free_dimension_override_by_name(self, name, length):
            fixed.append((name, length))
            super().add_free_dimension_override_by_name(name, length)

    gpu.SessionOptions = Options
    engine = load(make_model(tmp_path / "m"), "tensorrt")
    assert set(fixed) == {("n", 1), ("h", 8), ("w", 8)}
    assert [port.shape for port in engine.inputs] == [(None, 1, None, None)] * 2, "the file's own"


def test_lengths_by_their_words():
    declared = {"a": ("n", 3, "h", None), "b": ("n", 2)}
    assert fixed_lengths(declared, {"a": (1, 3, 480, 640), "b": (1, 2)}) == {"n": 1, "h": 480}


def test_a_gpu_that_fails_to_start_is_told(gpu, tmp_path):
    gpu.broken = True
    for device in ("cuda", "tensorrt"):
        with pytest.raises(EngineError, match=f"'{device}', which failed to start: no such library"):
            load(make_model(tmp_path / device), device)
        assert load(tmp_path / device, device, allow_cpu=True).info.device == "cpu"


@pytest.mark.parametrize(
    "change",
    [
        {"model": "b" * 64},
        {"outputs": ()},
        {"gpu": "GPU, compute 8.9"},
        {"shapes": {"x": (1, 1, 8, 16)}},
        {"precision": "fp32"},
        {"versions": {"tensorrt": "2"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_an_engine_depends_on_gives_another_folder(monkeypatch, tmp_path, change):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert KEY.folder() == replace(KEY).folder()
    assert replace(KEY, **change).folder() != KEY.folder()
    assert json.loads((KEY.folder() / "key.json").read_text())["gpu"] == "GPU, compute 9.0"
    assert not is_built(KEY.folder())
    (KEY.folder() / "graph_sm90.engine").touch()
    assert is_built(KEY.folder())


class Driver:
    """Of an H200, as the CUDA driver's functions tell of it."""

    def __init__(self, problem=0):
        self._problem = problem

    def cuInit(self, flags):
        return self._problem

    def cuDeviceGet(self, device, number):
        return 0

    def cuDeviceGetName(self, name, size, device):
        name.value = b"NVIDIA H200"
        return 0

    def cuDeviceGetAttribute(self, value, which, device):
        value._obj.value = {75: 9, 76: 0}[which]
        return 0

    def cuDriverGetVersion(self, value):
        value._obj.value = 12080
        return 0


def test_the_gpu_is_named_by_its_driver(monkeypatch):
    assert gpu_identity(library="libno_such_driver.so") == ("unknown", "unknown")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver())
    assert gpu_identity() == ("NVIDIA H200, compute 9.0", "12.8")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver(problem=100))
    assert gpu_identity() == ("unknown", "unknown")


def test_tensorrt_is_asked_for_its_version(monkeypatch):
    assert tensorrt_version(("libno_such_library.so",)) == "unknown"
    monkeypatch.setattr(
        engine_cache.ctypes, "CDLL", lambda name: types.SimpleNamespace(getInferLibVersion=lambda: 100300)
    )
    assert tensorrt_version() == "100300"


def build(*arguments):
    return cli.main(["models", "build", *map(str, arguments)])


def test_engines_are_built_beforehand_and_found_again(gpu, tmp_path, capsys):
    real = gpu.InferenceSession

    def start(network, options, providers):
        if not isinstance(providers[0], str):
            (Path(providers[0][1]["trt_engine_cache_path"]) / "graph.engine").touch()
        return real(network, options, providers)

    gpu.InferenceSession = start
    models = [make_model(tmp_path / "m"), make_perception(tmp_path / "p", input_side=0)]
    for how in ("built in", "was there, loaded in"):
        assert build(*models, "--size", "64x32", "32x64", "--precision", "fp16") == 0
        told = capsys.readouterr().out
        for model in models:
            for size in ("64x32", "32x64"):
                assert f"{model} {size} fp16: {how}" in told
        assert str(tmp_path / "cache") in told


def test_a_model_that_the_node_does_not_run_is_not_built(gpu, tmp_path, capsys):
    assert build(make_model(tmp_path / "m", card_task="exposure_fusion")) != 0
    assert "is for the task 'exposure_fusion', which the node does not run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["sage_fast", "--size", "640"], "--size is '640'; expected WxH"),
        (["sage_fast", "--size", "0x480"], "--size is '0x480'"),
        (["nope"], "no model named 'nope'"),
        (["sage_fast"], "engine.device is 'tensorrt', but this onnxruntime"),
    ],
)
def test_what_can_not_be_built_is_told(capsys, arguments, text):
    assert build(*arguments) != 0
    assert text in capsys.readouterr().err
