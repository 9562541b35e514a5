"""One engine under several threads: each gets its own answer, alone or in a batch."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from sage_fusion_ros.engines.base import EngineInfo, Port
from sage_fusion_ros.engines.shared import SharedEngine, choose_batch, load_shared
from sage_fusion_ros.pipeline.fuse import load_fuser
from sage_fusion_ros.pipeline.network import NetworkOptions
from sage_fusion_ros.pipeline.perceive import PerceptionChoice, load_perceiver


class Doubler:
    """Doubles what it is given; waits where it is told to, and counts how many came in each run."""

    info = EngineInfo("none", "cpu", "none", {})
    inputs = (Port("x", "float32", (None, 1)),)
    outputs = (Port("y", "float32", (None, 1)),)

    def __init__(self, cost=lambda size: 1.0):
        self.sizes, self.asked, self.closed = [], [], False
        self.gate, self.begun = threading.Event(), threading.Event()
        self.gate.set()
        self.now, self._cost = 0.0, cost

    def run(self, feeds, outputs=None):
        self.begun.set()
        assert self.gate.wait(10)
        x = feeds["x"]
        self.sizes.append(len(x))
        self.asked.append(outputs)
        self.now += self._cost(len(x))
        if (x < 0).any():
            raise ValueError("a negative number")
        return [2 * x]

    def close(self):
        self.closed = True


def together(engine, shared, numbers, outputs=None):
    """Calls with one number each, all but the first while that one is in work; the results or errors by number."""
    found = {}

    def call(number):
        try:
            found[number] = shared.run({"x": np.full((1, 1), number, np.float32)}, outputs)[0].tolist()
        except ValueError as error:
            found[number] = error

    engine.gate.clear()
    engine.begun.clear()
    threads = [threading.Thread(target=call, args=(number,)) for number in numbers]
    threads[0].start()
    assert engine.begun.wait(10)
    for thread in threads[1:]:
        thread.start()
    while len(shared._waiting) < len(numbers) - 1:
        pass
    engine.gate.set()
    for thread in threads:
        thread.join(10)
    return found


def test_calls_that_wait_together_go_in_one_run_and_get_their_own_answers():
    engine = Doubler()
    found = together(engine, SharedEngine([engine], batch=4), range(5))
    assert engine.sizes == [1, 4]
    assert found == {number: [[2.0 * number]] for number in range(5)}


def test_a_batch_is_no_larger_than_it_may_be():
    engine = Doubler()
    found = together(engine, SharedEngine([engine], batch=2), range(6))
    assert sorted(engine.sizes) == [1, 1, 2, 2]
    assert found == {number: [[2.0 * number]] for number in range(6)}


def test_without_batches_each_goes_alone():
    engine = Doubler()
    found = together(engine, SharedEngine([engine]), range(4))
    assert engine.sizes == [1] * 4
    assert found == {number: [[2.0 * number]] for number in range(4)}


def test_other_shapes_do_not_share_a_run():
    engine = Doubler()
    shared = SharedEngine([engine], batch=4)
    small, large = (np.full((1, n), n, np.float32) for n in (1, 2))
    engine.gate.clear()
    threads = [threading.Thread(target=shared.run, args=({"x": x},)) for x in (small, small, large)]
    threads[0].start()
    assert engine.begun.wait(10)
    for thread in threads[1:]:
        thread.start()
    while len(shared._waiting) < 2:
        pass
    engine.gate.set()
    for thread in threads:
        thread.join(10)
    assert engine.sizes == [1] * 3


def test_an_error_reaches_all_that_were_in_the_batch_and_nobody_else():
    engine = Doubler()
    shared = SharedEngine([engine], batch=3)
    found = together(engine, shared, [1, -1, 2])
    assert found[1] == [[2.0]]
    assert "negative" in str(found[-1])
    assert found[-1] is found[2]
    assert shared.run({"x": np.ones((1, 1), np.float32)})[0].tolist() == [[2.0]], "it goes on"


def test_outputs_are_handed_on_and_closing_frees_the_engine():
    engine = Doubler()
    shared = SharedEngine([engine])
    shared.run({"x": np.ones((1, 1), np.float32)}, ["y"])
    assert engine.asked == [("y",)]
    shared.close()
    assert engine.closed


def test_engines_that_are_alike_run_side_by_side():
    engines = [Doubler(), Doubler()]
    shared = SharedEngine(engines)
    for engine in engines:
        engine.gate.clear()
    with ThreadPoolExecutor(5) as threads:
        found = threads.map(lambda number: shared.run({"x": np.full((1, 1), number, np.float32)})[0].item(), range(5))
        assert all(engine.begun.wait(10) for engine in engines), "both are in work before either is done"
        for engine in engines:
            engine.gate.set()
        assert list(found) == [2.0 * number for number in range(5)]
    assert sorted(engine.sizes.count(1) for engine in engines)[0] >= 1
    assert sum(len(engine.sizes) for engine in engines) == 5
    shared.close()
    assert all(engine.closed for engine in engines)


def test_a_call_that_another_took_into_its_batch_waits_for_that():
    """The second engine is free by then, and must not run it once more."""
    engines = [Doubler(), Doubler()]
    shared = SharedEngine(engines, batch=2)
    for engine in engines:
        engine.gate.clear()
    with ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(shared.run, {"x": np.full((1, 1), i, np.float32)}) for i in range(2)]
        assert all(engine.begun.wait(10) for engine in engines)
        calls += [threads.submit(shared.run, {"x": np.full((1, 1), i, np.float32)}) for i in (2, 3)]
        while len(shared._waiting) < 2:
            pass
        engines[0].gate.set()
        engines[1].gate.set()
        assert [call.result(10)[0].item() for call in calls] == [0.0, 2.0, 4.0, 6.0]
    assert sum(sum(engine.sizes) for engine in engines) == 4


def test_what_was_loaded_is_freed_where_the_next_one_can_not_be():
    first = Doubler()
    engines = iter([first])

    def load():
        try:
            return next(engines)
        except StopIteration:
            raise MemoryError("no room") from None

    with pytest.raises(MemoryError):
        load_shared(load, workers=2, pairs=1, call=lambda: ({}, None))
    assert first.closed


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        (lambda size: size, 1),  # twice the work, twice the time
        (lambda size: 1 + size, 4),  # a cost of each run, which a batch shares
        (lambda size: 0.97 * size if size == 2 else size, 1),  # within the noise
        (lambda size: size if size > 2 else 1, 2),  # what more than two cost, they cost in full
    ],
)
def test_the_batch_is_what_measures_fastest(cost, expected):
    engine = Doubler(cost)
    feeds = {"x": np.ones((1, 1), np.float32)}
    assert choose_batch(engine, feeds, ["y"], 4, clock=lambda: engine.now) == expected


def test_a_network_for_one_image_gets_no_batch():
    engine = Doubler(lambda size: 1.0)
    engine.inputs = (Port("x", "float32", (1, 1)),)
    assert choose_batch(engine, {"x": np.ones((1, 1), np.float32)}, None, 4) == 1
    assert engine.sizes == []


@pytest.mark.parametrize(("pairs", "workers"), [(4, 1), (1, 4), (2, 2)])
@pytest.mark.parametrize("library", ["onnxruntime", "openvino"])
def test_pairs_that_share_networks_get_what_each_would_alone(library, pairs, workers):
    """Four threads, each with images of its own, through models that take a batch."""
    options = NetworkOptions(name=library, device="cpu", threads=1, warm_up_size=(48, 64), pairs=pairs, workers=workers)
    alone = replace(options, pairs=1, workers=1)
    choice = PerceptionChoice()
    fuser, perceiver = load_fuser("sage_fast", options), load_perceiver(choice, options)
    for engine in (fuser.engine, perceiver._networks[0].engine):
        engine.batch = 4  # whatever has been measured
    one_fuser, one_perceiver = load_fuser("sage_fast", alone), load_perceiver(choice, alone)
    rng = np.random.default_rng(0)
    pairs = [(rng.integers(0, 256, (48, 64, 3), np.uint8), rng.integers(0, 256, (48, 64), np.uint8)) for _ in range(4)]
    wanted = {"mask": True, "detections": True, "score_threshold": 0.05, "iou_threshold": 0.5}

    def look(fuser, perceiver, pair):
        fused = fuser.fuse(*pair)
        return fused, *perceiver.perceive(fused, **wanted)

    with ThreadPoolExecutor(4) as threads:
        parts = [(fuser.sharing(), perceiver.sharing()) for _ in pairs]
        rounds = [list(threads.map(lambda part, pair: look(*part, pair), parts, pairs, timeout=60)) for _ in range(10)]
    for found in rounds:
        for pair, (fused, mask, boxes) in zip(pairs, found, strict=True):
            other_fused, other_mask, other_boxes = look(one_fuser, one_perceiver, pair)
            assert np.abs(fused.astype(int) - other_fused).max() <= 1
            assert (mask == other_mask).mean() > 0.999
            assert len(boxes.scores) == len(other_boxes.scores)
