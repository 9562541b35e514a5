"""tools/bench: what is measured, what is kept of an interrupted run, and what the report makes of the figures."""

import json
import sys

import bench_modules
import pytest

from sage_fusion_ros.errors import ParameterError, SageFusionError

bench = bench_modules.load()
Config = bench.matrix.Config

STATE = {
    "machine": {"processor": "Test", "cores": 2, "units": ["avx2"], "memory_mb": 8000, "graphics": []},
    "versions": {"onnxruntime": "1.0"},
    "weights": {"sage": "a"},
    "threads": 2,
    "seconds": 1.0,
    "quick": False,
}
USUAL, FAST = Config("onnxruntime", "fp32", "cpu"), Config("openvino", "int8", "cpu")


def matrix(**changes):
    given = {
        "models": ("sage", "sage_fast"),
        "perception": "perception",
        "official": "",
        "checkpoint": "",
        "engines": ("onnxruntime", "openvino"),
        "precisions": ("fp32", "int8"),
        "devices": ("cpu",),
        "sizes": ("640x480", "1280x1024"),
        "threads": 2,
        "cores": 2,
        "rounds": 2,
        "cameras": 2,
    }
    return bench.matrix.Matrix(**{**given, **changes})


TIMES = {"sage": 100.0, "sage_fast": 10.0, "perception": 20.0}


def figures(cell, factor=1.0):
    """What a made-up machine measures: twice as fast in the fast way, `factor` slower in all, linear in the pixels."""
    width, height = map(int, cell.size.split("x"))
    p50 = sum(TIMES[name] for name in (cell.model, cell.perception) if name in TIMES) * factor
    p50 *= width * height / (640 * 480) / (2 if cell.config.precision == "int8" else 1)
    if cell.part == "machine":
        return {"bytes_s": 10e9} if cell.what == "copy" else {"operations_s": 100e9}
    if cell.part == "node":
        shares = {"alone": 1, "bare": 1, "node": 0.95, "workers_bare": 0.98, "workers": 1.1}
        shares |= {"both_bare": 1.2, "both": 1}
        rates = {f"{name}_hz": share * 1e3 / p50 for name, share in shares.items()}
        return rates | {"active_s": 2.0, "memory_mb": 300.0}
    return {"p50_ms": p50, "rate_hz": 1e3 / p50 * cell.cameras**0.5, "memory_mb": 100.0, "first_s": 1.0, "others": 0.0}


class Machine:
    """Stands in for the runner: counts what it is asked, refuses what it is told to, and stops after so many."""

    def __init__(self, refused=(), stop_after=None, signals=None, drift=1.0):
        self.asked, self.refused, self.stop_after, self.signals = [], dict(refused), stop_after, signals
        self.drift = drift

    def run(self, cell):
        self.asked.append(cell)
        if len(self.asked) == self.stop_after:
            self.signals.received = 2
        for name, (kind, reason) in self.refused.items():
            if name in cell.key:
                return {"refused": kind, "reason": reason}
        return figures(cell, self.drift ** len(self.asked))


class Signals:
    received = None


class Bar:
    def update(self, n=1):
        pass

    def set_description(self, text):
        pass


def blocks_of(asked, configs=(USUAL, FAST)):
    for number in range(1, asked.rounds + 1):
        yield from asked.networks_first(number, [])
    for number in range(1, asked.rounds + 1):
        yield from asked.pairs_after(number, list(configs))


def run(folder, asked, machine=None, state=STATE, fresh=False):
    """A whole bench on a made-up machine; the record and the machine."""
    record = bench.record.Record(folder, state, fresh)
    record.data |= {"matrix": vars(asked), "complete": False, "operations": {}}
    machine = machine or Machine()
    machine.signals = Signals()
    try:
        for block in blocks_of(asked):
            bench.main.measure_block(block, machine, record, machine.signals, Bar())
        record.data["complete"] = True
    except KeyboardInterrupt:
        pass
    return record, machine


def test_everything_asked_for_is_measured_once_a_round():
    cells = [cell for block in blocks_of(matrix(), [USUAL, FAST]) for cell in block.cells]
    keys = [cell.key for cell in cells]
    assert {keys.count(key) for key in keys} == {2}
    networks = {(c.model, str(c.config), c.size) for c in cells if c.part == "networks"}
    assert len(networks) == 3 * 4 * 2
    assert {(c.what, c.cameras, c.model, c.perception) for c in cells if c.part == "cameras"} == {
        (what, n, model, "perception") for what in ("pairs", "node") for n in (1, 2) for model in ("sage", "sage_fast")
    }
    node = {(c.model, str(c.config), c.perception, c.size) for c in cells if c.part == "node"}
    assert len(node) == 2 * 2 * 2
    assert {size for *_, size in node} == {"640x480"}
    assert {(c.threads, c.spinning) for c in cells if c.part == "threads" and c.config.engine == "onnxruntime"} == {
        (1, False), (1, True), (2, False), (2, True)
    }  # fmt: skip


def test_with_an_official_student_it_is_the_reference_in_every_engine_and_in_torch():
    asked = matrix(official="/o/official", checkpoint="/o/c.pt")
    assert asked.reference.model == "/o/official"
    cells = [cell for block in asked.networks_first(1, []) for cell in block.cells if cell.size == "640x480"]
    ways = {str(cell.config) for cell in cells if cell.model == "/o/official" and cell.part == "networks"}
    assert ways == {"onnxruntime fp32", "onnxruntime int8", "openvino fp32", "openvino int8"}
    assert [str(cell.config) for cell in cells if cell.model == "/o/c.pt"] == ["eager torch fp32"]


def test_an_interrupted_bench_goes_on_and_measures_no_finished_block_again(tmp_path):
    asked = matrix()
    whole = len(run(tmp_path / "whole", asked)[1].asked)
    record, first = run(tmp_path / "parts", asked, Machine(stop_after=20))
    assert not record.data["complete"]
    assert len(first.asked) == 20
    record, second = run(tmp_path / "parts", asked)
    assert record.data["complete"]
    finished = sum(len(block.cells) for block in list(blocks_of(asked))[:2])  # the machine, networks at the first size
    assert finished <= 20
    assert len(second.asked) == whole - finished
    assert run(tmp_path / "parts", asked)[1].asked == []


def test_a_block_whose_cells_have_changed_is_measured_anew(tmp_path):
    run(tmp_path, matrix())
    more = matrix(rounds=3)
    assert {block.round for block in blocks_of(more)} == {1, 2, 3}
    asked = run(tmp_path, more)[1].asked
    assert len(asked) == sum(len(block.cells) for block in blocks_of(more) if block.round == 3)
    fewer = matrix(rounds=3, engines=("onnxruntime",))
    assert {cell.part for cell in run(tmp_path, fewer)[1].asked} >= {"networks", "threads"}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"versions": {"onnxruntime": "1.1"}}, "versions onnxruntime was 1.0, is 1.1"),
        ({"weights": {"sage": "b"}}, "weights sage was a, is b"),
        ({"seconds": 2.0}, "seconds was 1.0, is 2.0"),
    ],
)
def test_figures_of_another_state_are_not_added_to(tmp_path, changes, text):
    run(tmp_path, matrix(rounds=1))[0].save()
    before = (tmp_path / "bench.json").read_bytes()
    with pytest.raises(ParameterError, match=text):
        run(tmp_path, matrix(), state={**STATE, **changes})
    assert (tmp_path / "bench.json").read_bytes() == before
    assert run(tmp_path, matrix(rounds=1), state={**STATE, **changes}, fresh=True)[1].asked


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 0}'])
def test_a_file_that_is_no_bench_is_refused(tmp_path, text):
    (tmp_path / "bench.json").write_text(text)
    with pytest.raises(SageFusionError, match="--fresh"):
        bench.record.Record(tmp_path, STATE)


def test_what_an_engine_has_not_is_tried_once_and_said_with_its_reason(tmp_path):
    refused = {"openvino int8": ("EngineError", "no such thing"), "sage, onnxruntime int8": ("ModelError", "no file")}
    record, machine = run(tmp_path, matrix(), Machine(refused))
    assert sum("openvino int8" in cell.key for cell in machine.asked) == 1
    assert sum(cell.model == "sage" and "onnxruntime int8" in cell.key for cell in machine.asked) == 1
    assert any(cell.model == "sage_fast" and "onnxruntime int8" in cell.key for cell in machine.asked)
    absent = bench.summary.summarise(record.data, matrix())["absent"]
    assert {(row["what"], row["reason"]) for row in absent} == {
        ("openvino int8", "no such thing"),
        ("sage: onnxruntime int8", "no file"),
    }


def test_what_crashed_is_tried_again_with_its_block_by_the_next_run(tmp_path):
    record, machine = run(tmp_path, matrix(), Machine({"threads, network, sage,": ("crash", "gone")}))
    assert any(row["reason"] == "gone" for row in bench.summary.summarise(record.data, matrix())["absent"])
    record, machine = run(tmp_path, matrix())
    assert {cell.part for cell in machine.asked} == {"threads"}
    assert bench.summary.summarise(record.data, matrix())["absent"] == []


def test_ratios_are_of_one_round(tmp_path):
    """Every measurement takes a hundredth longer than the one before: within a round that is little, over all much."""
    record, _ = run(tmp_path, matrix(rounds=3), Machine(drift=1.01))
    rows = bench.summary.summarise(record.data, matrix(rounds=3))["networks"]
    (row,) = (r for r in rows if (r["model"], r["config"], r["size"]) == ("sage_fast", "openvino int8", "640x480"))
    assert row["p50_ms"]["max"] / row["p50_ms"]["min"] > 1.5
    assert row["reference_over_this"]["max"] / row["reference_over_this"]["min"] == pytest.approx(1)
    assert row["reference_over_this"]["median"] == pytest.approx(20, rel=0.1)


def test_what_the_rows_say(tmp_path):
    summary = bench.summary.summarise(run(tmp_path, matrix())[0].data, matrix())
    fused = next(r for r in summary["node"] if (r["model"], r["perception"], r["config"]) == ("sage", "", str(USUAL)))
    assert fused["over_bare"]["median"] == pytest.approx(0.95)
    assert fused["over_reference"]["median"] == pytest.approx(0.95)  # the reference alone makes ten a second
    assert fused["workers_over_bare"]["median"] == pytest.approx(1.1 / 0.98)
    assert fused["workers_over_bare_workers"]["median"] == pytest.approx(1 / 1.2)
    assert fused["workers_over_reference"]["median"] == pytest.approx(1.1)
    two = next(r for r in summary["cameras"] if (r["model"], r["cameras"]) == ("sage", 2))
    assert two["cost_of_a_pair"]["median"] == pytest.approx(1 / 2**0.5)
    growth = next(r for r in summary["growth"] if r["model"] == "sage")
    assert growth["over_first"] == {"640x480": pytest.approx(1), "1280x1024": pytest.approx(1)}
    assert summary["disturbed"] == []


def test_others_on_the_machine_are_told(tmp_path):
    record, _ = run(tmp_path, matrix(rounds=1))
    key = next(iter(record.data["measurements"]))
    record.data["measurements"][key]["result"]["others"] = 0.5
    assert bench.summary.summarise(record.data, matrix())["disturbed"] == [key]
    assert key in bench.page.report(tmp_path, record.data)


def test_pairs_run_in_the_fastest_way_that_all_their_models_have(tmp_path):
    record, _ = run(tmp_path / "a", matrix())
    assert bench.summary.fastest(record.data, matrix()).precision == "int8"
    refused = {"perception, onnxruntime int8": ("ModelError", "no"), "perception, openvino int8": ("ModelError", "no")}
    record, _ = run(tmp_path / "b", matrix(), Machine(refused))
    assert bench.summary.fastest(record.data, matrix()) == USUAL
    assert bench.summary.fastest(bench.record.Record(tmp_path / "c", STATE).data, matrix()) == USUAL


def test_the_report_of_a_whole_bench(tmp_path):
    record, _ = run(tmp_path, matrix())
    record.data["operations"] = {
        "sage, float, 640x480": {
            "by_operator": {"Conv": 4e9},
            "by_unit": {"float": 4e9},
            "input_output_bytes": 1000,
            "weights": {"float": 1000},
            "unsized": 0,
            "layers": [],
        }
    }
    text = bench.page.report(tmp_path, record.data)
    page = (tmp_path / "index.html").read_text()
    for title in ("What the machine can do", "Networks alone, 640x480", "Threads", "The node over DDS, 640x480"):
        assert title in text
        assert title in page
    line = next(line for line in text.splitlines() if line.startswith("sage, onnxruntime fp32"))
    assert line.split()[3:] == ["4.00", "100.00", "40.00", "2.50", "0.00", "1.00", "100"]
    assert page.count("<svg") == 6
    assert "nan" not in page.lower().replace("nanum", "")
    assert "Interrupted" not in text


def test_the_report_of_an_interrupted_bench_can_be_read(tmp_path):
    run(tmp_path, matrix(), Machine(stop_after=5))
    text = bench.page.report(tmp_path, json.loads((tmp_path / "bench.json").read_text()) | {"operations": {}})
    assert "Interrupted" in text
    assert "Interrupted" in (tmp_path / "index.html").read_text()
    assert "Networks alone, 640x480" in text


def test_the_report_of_nothing_says_so(tmp_path):
    record = bench.record.Record(tmp_path, STATE)
    record.data |= {"matrix": vars(matrix()), "complete": False, "operations": {}}
    bench.page.report(tmp_path, record.data)
    assert "Nothing has been measured yet" in (tmp_path / "index.html").read_text()


def test_without_the_reports_libraries_the_tables_are_there(tmp_path, monkeypatch):
    record, _ = run(tmp_path, matrix(rounds=1))
    monkeypatch.setitem(sys.modules, "jinja2", None)
    text = bench.page.report(tmp_path, record.data)
    assert "Networks alone, 640x480" in text
    assert "sage_fusion_ros[report]" in text
    assert not (tmp_path / "index.html").exists()


def test_without_onnx_there_are_no_floors_and_the_report_says_why(tmp_path, monkeypatch):
    asked = matrix(rounds=1)
    record, _ = run(tmp_path, asked)
    del record.data["operations"]
    monkeypatch.setitem(sys.modules, "operations", None)
    text = bench.page.report(tmp_path, record.data)
    assert "floors: " in text
    assert "sage_fusion_ros[train]" in text
    assert "Networks alone, 640x480" in text
