"""tools/gpu_bench.py: it says what it will measure, measures nothing without a GPU, and runs, tried on the CPU."""

from __future__ import annotations

import importlib.util
import json
import sys

import pytest
import torch


@pytest.fixture(scope="module")
def gpu_bench(project):
    spec = importlib.util.spec_from_file_location("gpu_bench", project / "tools" / "gpu_bench.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for path in [path for path in sys.path if path.endswith("tools/bench")]:
        sys.path.remove(path)


def test_it_says_what_it_will_measure(gpu_bench, capsys):
    assert gpu_bench.main(["--plan"]) == 0
    told = capsys.readouterr().out
    for word in ("held against ONNX Runtime", "2000 pairs a second", "800 pairs a second", "floor of sage is 0.6"):
        assert word in told


def test_without_a_gpu_nothing_is_measured(gpu_bench, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_bench.main([]) == 2
    assert "finds none, so nothing was measured" in capsys.readouterr().err


@pytest.fixture(scope="module")
def report(gpu_bench, tmp_path_factory):
    path = tmp_path_factory.mktemp("gpu") / "gpu.json"
    words = ["--device", "cpu", "--models", "sage_fast", "--precisions", "fp32", "--size", "160x120"]
    assert gpu_bench.main([*words, "--seconds", "0.05", "--rounds", "2", "--output", str(path)]) == 0
    return json.loads(path.read_text())


def test_everything_is_measured(report):
    assert report["results"]["sage_fast fp32"]["right"]
    assert report["networks"]["sage_fast fp32"]["floor"] > 0
    assert set(report["machine"]) >= {"gpu", "fp32", "memory", "upload", "download"}
    assert len(report["pairs"]) == 4
    assert all(len(rates) == 2 and min(rates) > 0 for rates in report["pairs"].values())


def test_a_wrong_result_is_found(gpu_bench):
    pairs = gpu_bench.street(160, 120)[:1]
    args = type("Arguments", (), {"device": "cpu", "perception": "perception"})
    wanted = gpu_bench.load(args, "sage_fast", "fp32", (120, 160), "onnxruntime")
    other = gpu_bench.load(args, "sage", "fp32", (120, 160))
    assert not gpu_bench.compare(other, wanted, pairs, "fp32")["right"]
