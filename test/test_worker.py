"""The worker's threads: the newest pair wins, everything else is counted."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from sage_fusion_ros.pipeline.degraded import DegradedSettings
from sage_fusion_ros.pipeline.fusion_pipeline import FusionPipeline, Wants
from sage_fusion_ros.pipeline.image_codec import encode
from sage_fusion_ros.pipeline.pairing import Pairing, PairingSettings
from sage_fusion_ros.pipeline.pixel_maps import HomographyMap
from sage_fusion_ros.pipeline.registration import Registrar
from sage_fusion_ros.pipeline.thermal import ThermalNormaliser
from sage_fusion_ros.pipeline.types import Detections, Frame, FramePair
from sage_fusion_ros.pipeline.worker import WORK, FusionWorker

MS = 1_000_000
BASE = 1_700_000_000_000 * MS


WARM = np.full((48, 64), 20, np.uint8)
WARM[16:32, 24:32] = 220
PAIR = FramePair(Frame(BASE, "rgb", np.full((48, 64, 3), 100, np.uint8)), Frame(BASE, "thermal", WARM))


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition never came true"
        time.sleep(0.002)


class FakeFuser:
    """Fuses by averaging; can be held, for all or for one level of RGB, to play a slow network, and told to fail."""

    def __init__(self):
        self.gate = threading.Event()
        self.gate.set()
        self.gates, self.errors = {}, {}
        self.error = None
        self.calls = 0

    def fuse(self, rgb, thermal):
        self.calls += 1
        level = int(rgb[0, 0, 0])
        assert self.gates.get(level, self.gate).wait(20)
        if error := self.errors.get(level, self.error):
            raise error
        return np.clip((rgb.astype(int) + thermal[..., None]) // 2, 0, 255).astype(np.uint8)


class FakePerceiver:
    """Calls the whole image class 0 and finds one box; keeps what it was asked."""

    def __init__(self, mask_classes=("road",), detection_classes=("person",)):
        self.mask_classes = mask_classes
        self.detection_classes = detection_classes
        self.asked = []

    def perceive(self, fused, *, mask, detections, score_threshold, iou_threshold, watch=None):
        self.asked.append((fused.copy(), mask, detections, score_threshold, iou_threshold))
        found = Detections(np.float32([[1, 2, 3, 4]]), np.float32([0.5]), np.array([0]))
        watch.lap("perceive")
        return (np.zeros(fused.shape[:2], np.uint8) if mask else None), (found if detections else None)


class Sink:
    def __init__(self):
        self.listens = Wants()
        self.results = []
        self.errors = []

    def wants(self):
        return self.listens

    def publish(self, match, result, wants, watch):
        self.results.append((match, result))

    def report(self, camera, error):
        self.errors.append((camera, error))


def image(value, shape=(12, 16, 3), **changes):
    return image_of(np.full(shape, value, np.uint8), **changes)


def image_of(pixels, **changes):
    encoded = encode(pixels)
    fields = {name: getattr(encoded, name) for name in ("height", "width", "encoding", "is_bigendian", "step", "data")}
    return SimpleNamespace(header=SimpleNamespace(frame_id="camera"), **{**fields, **changes})


@pytest.fixture(params=[1, 3], ids=["one_thread", "three_threads"])
def rig(request):
    fuser, sink = FakeFuser(), Sink()
    normaliser = ThermalNormaliser()
    pipelines = [FusionPipeline(fuser, normaliser) for _ in range(request.param)]
    worker = FusionWorker(Pairing(PairingSettings(hold_ns=30 * MS)), pipelines, sink)
    worker.start()
    yield SimpleNamespace(worker=worker, fuser=fuser, sink=sink, threads=request.param)
    for gate in (fuser.gate, *fuser.gates.values()):
        gate.set()
    worker.stop()


def offer(worker, index, rgb=None, thermal=None):
    worker.offer("rgb", BASE + index * 33 * MS, rgb or image(100))
    worker.offer("thermal", BASE + index * 33 * MS, thermal or image(200, (12, 16)))


def test_a_pair_becomes_a_result(rig):
    offer(rig.worker, 0)
    wait_until(lambda: rig.sink.results)
    match, result = rig.sink.results[0]
    assert match.stamp_ns == BASE
    assert result.fused.shape == (12, 16, 3)
    assert (result.fused == 150).all()
    assert {"normalise", "register", "fuse"} <= result.timings_ms.keys()


def test_overhead_is_what_a_pair_takes_beyond_the_work_itself(rig):
    """A slow sink is overhead, a slow network is not; the same pair's times are compared, not medians of many."""
    rig.fuser.fuse = lambda rgb, thermal: time.sleep(0.03) or np.asarray(rgb)
    rig.sink.publish = lambda *_: time.sleep(0.02) or rig.sink.results.append(1)
    offer(rig.worker, 0)
    wait_until(lambda: "overhead" in rig.worker.stages_ms and "since_arrival" in rig.worker.stages_ms)
    middle = {stage: times.percentiles(50)[0] for stage, times in rig.worker.stages_ms.items()}
    work = sum(middle.get(stage, 0.0) for stage in WORK)
    assert work >= 30
    assert middle["overhead"] >= 20
    assert middle["overhead"] == pytest.approx(middle["since_arrival"] - work)


def test_overload_keeps_the_newest_and_counts_the_rest(rig):
    rig.fuser.gate.clear()
    for i in range(rig.threads):
        offer(rig.worker, i)
        wait_until(lambda i=i: rig.fuser.calls == i + 1)  # a thread holds it
    for i in range(rig.threads, 20):
        offer(rig.worker, i)
    wait_until(lambda: rig.worker.pairing.matched == 20)
    rig.fuser.gate.set()
    wait_until(lambda: len(rig.sink.results) + sum(rig.worker.dropped.values()) == 20)
    stamps = [match.stamp_ns for match, _ in rig.sink.results]
    assert stamps == [BASE + i * 33 * MS for i in (*range(rig.threads), 19)], "in order, and the newest that waited"
    assert dict(rig.worker.dropped) == {"replaced by a newer pair": 19 - rig.threads}


@pytest.mark.parametrize("rig", [2, 3], indirect=True)
def test_a_pair_that_is_done_early_waits_for_the_ones_before_it(rig):
    rig.fuser.gates[100] = threading.Event()
    offer(rig.worker, 0)
    wait_until(lambda: rig.fuser.calls == 1)
    offer(rig.worker, 1, rgb=image(50))
    wait_until(lambda: rig.fuser.calls == 2)  # side by side
    assert rig.sink.results == []
    rig.fuser.gates[100].set()
    wait_until(lambda: len(rig.sink.results) == 2)
    assert [(match.stamp_ns, result.fused.max()) for match, result in rig.sink.results] == [
        (BASE, 150),
        (BASE + 33 * MS, 125),
    ]


@pytest.mark.parametrize("rig", [2, 3], indirect=True)
def test_a_pair_that_fails_lets_those_after_it_out(rig):
    rig.fuser.gates[100], rig.fuser.errors[100] = threading.Event(), RuntimeError("no")
    offer(rig.worker, 0)
    wait_until(lambda: rig.fuser.calls == 1)
    offer(rig.worker, 1, rgb=image(50))
    wait_until(lambda: rig.fuser.calls == 2)
    rig.fuser.gates[100].set()
    wait_until(lambda: len(rig.sink.results) == 1)
    assert rig.sink.results[0][0].stamp_ns == BASE + 33 * MS
    assert dict(rig.worker.dropped) == {"failed": 1}
    assert len(rig.sink.errors) == 1


def test_a_sink_that_fails_stops_nothing(rig):
    publish, rig.sink.publish = rig.sink.publish, lambda *_: 1 / 0
    offer(rig.worker, 0)
    wait_until(lambda: rig.worker.dropped["failed"] == 1)
    rig.sink.publish = publish
    offer(rig.worker, 1)
    wait_until(lambda: rig.sink.results)


def test_a_stop_brings_out_what_is_in_work(rig):
    rig.fuser.gate.clear()
    for i in range(rig.threads):
        offer(rig.worker, i)
        wait_until(lambda i=i: rig.fuser.calls == i + 1)
    offer(rig.worker, rig.threads)
    wait_until(lambda: rig.worker._slot._item is not None)
    stopping = threading.Thread(target=rig.worker.stop)
    stopping.start()
    rig.fuser.gate.set()
    stopping.join(20)
    assert not stopping.is_alive()
    assert [match.stamp_ns for match, _ in rig.sink.results] == [BASE + i * 33 * MS for i in range(rig.threads)]
    assert dict(rig.worker.dropped) == {"stopped": 1}


def test_thermal_ranges_follow_the_pairs_in_their_order(rig):
    """The smoothed range looks back at earlier images; several threads must not make it jump."""
    rig.fuser.gate.clear()
    counts = [np.linspace(20000 + 50 * i, 24000 + 80 * i, 12 * 16).reshape(12, 16).astype(np.uint16) for i in range(3)]
    alone = ThermalNormaliser()
    expected = [alone(each, BASE + i * 33 * MS) for i, each in enumerate(counts)][: rig.threads]
    for i, _ in enumerate(expected):
        offer(rig.worker, i, thermal=image_of(counts[i]))
        wait_until(lambda i=i: rig.fuser.calls == i + 1)
    rig.fuser.gate.set()
    wait_until(lambda: len(rig.sink.results) == rig.threads)
    for (_, result), grey in zip(rig.sink.results, expected, strict=True):
        assert (result.fused[..., 0] == (100 + grey.astype(int)) // 2).all()


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("detections", [False, True])
@pytest.mark.parametrize("fused", [False, True])
def test_only_what_is_wanted_is_asked_of_the_networks(rig, fused, mask, detections):
    perceiver = FakePerceiver()
    for pipeline in rig.worker.pipelines:
        pipeline.perceiver = perceiver
    rig.sink.listens = Wants(fused, mask, detections)
    offer(rig.worker, 0)
    if not (fused or mask or detections):
        wait_until(lambda: rig.worker.dropped["nobody listens"] == 1)
        assert not perceiver.asked
        return
    wait_until(lambda: rig.sink.results)
    result = rig.sink.results[0][1]
    assert (result.mask is not None, result.detections is not None) == (mask, detections)
    assert result.mask_classes == (("road",) if mask else ())
    assert result.detection_classes == (("person",) if detections else ())
    assert [asked[1:3] for asked in perceiver.asked] == ([(mask, detections)] if mask or detections else [])
    assert ("perceive" in result.timings_ms) == (mask or detections)


def test_what_a_perceiver_does_not_give_is_not_asked_of_it():
    perceiver = FakePerceiver(detection_classes=())
    pipeline = FusionPipeline(FakeFuser(), ThermalNormaliser(), perceiver=perceiver)
    result = pipeline.process(PAIR, Wants(True, True, True))
    assert [asked[1:3] for asked in perceiver.asked] == [(True, False)]
    assert result.detections is None


def test_the_networks_see_the_fused_image_without_the_tint_and_the_thresholds_of_the_moment():
    perceiver = FakePerceiver()
    pipeline = FusionPipeline(
        FakeFuser(), ThermalNormaliser(), 0.9, perceiver=perceiver, score_threshold=0.4, iou_threshold=0.5
    )
    plain = FusionPipeline(FakeFuser(), ThermalNormaliser()).process(PAIR).fused
    tinted = pipeline.process(PAIR, Wants(True, True, True)).fused
    assert (tinted != plain).any()
    pipeline.score_threshold = 0.6
    untinted = pipeline.process(PAIR, Wants(False, True, True)).fused
    assert (untinted == plain).all(), "nobody looks at it, so nothing is coloured"
    assert all((asked[0] == plain).all() for asked in perceiver.asked)
    assert [asked[3:] for asked in perceiver.asked] == [(0.4, 0.5), (0.6, 0.5)]


def test_nothing_is_computed_when_nobody_listens(rig):
    rig.sink.listens = Wants(fused=False)
    rig.fuser.error = AssertionError("fused for nobody")
    offer(rig.worker, 0)
    wait_until(lambda: rig.worker.dropped["nobody listens"] == 1)
    assert not rig.sink.errors


def test_an_unreadable_pair_that_nobody_hears_is_counted_once(rig):
    rig.sink.listens = Wants(fused=False)
    offer(rig.worker, 0, rgb=image(1, encoding="h264"))
    wait_until(lambda: rig.sink.errors)
    rig.worker.stop()
    assert sum(rig.worker.dropped.values()) == rig.worker.dropped["nobody listens"] == 1


@pytest.mark.parametrize(
    ("bad", "camera"),
    [({"rgb": image(1, encoding="h264")}, "rgb"), ({"thermal": image(1, (12, 16), data=b"")}, "thermal")],
)
def test_an_unreadable_image_is_counted_and_the_next_pair_is_fused(rig, bad, camera):
    offer(rig.worker, 0, **bad)
    wait_until(lambda: rig.worker.dropped[f"unreadable: {camera}"] == 1)
    assert rig.sink.errors[0][0] == camera
    offer(rig.worker, 1)
    wait_until(lambda: rig.sink.results)


@pytest.mark.parametrize(
    ("bad", "camera"),
    [({"rgb": image(1, encoding="h264")}, "rgb"), ({"thermal": image(1, (12, 16), data=b"")}, "thermal")],
)
def test_where_images_are_judged_an_unreadable_one_leaves_the_other_camera(rig, bad, camera):
    rig.worker.adjust(DegradedSettings(timeout_ns=0))
    noise = np.random.default_rng(0).integers(50, 150, (12, 16, 3), np.uint8)
    good = {"rgb": image_of(noise), "thermal": image_of(noise[..., 0])}
    offer(rig.worker, 0, **{**good, **bad})
    wait_until(lambda: rig.sink.results)
    pick = rig.sink.results[0][0]
    assert pick.mode == {"rgb": "thermal_only", "thermal": "rgb_only"}[camera]
    assert rig.sink.errors[0][0] == camera
    assert rig.worker.chooser.problem(camera) == "its images can't be read"
    assert not rig.worker.dropped
    offer(rig.worker, 1, **good)
    wait_until(lambda: len(rig.sink.results) == 2)
    assert rig.sink.results[1][0].mode == "pair"
    assert rig.worker.chooser.problem(camera) == ""


@pytest.mark.parametrize(("loss", "shape"), [("rgb", (6, 8)), ("thermal", (12, 16))])
def test_one_camera_alone_goes_to_the_networks_like_any_fused_image(loss, shape):
    """Thermal is fused with black, RGB goes out as it is; the perceiver sees either."""
    perceiver = FakePerceiver()
    pipeline = FusionPipeline(FakeFuser(), ThermalNormaliser(), perceiver=perceiver)
    if loss == "rgb":
        frame, expected = Frame(BASE, "thermal", np.full(shape, 120, np.uint8)), 60
    else:
        frame, expected = Frame(BASE, "rgb", np.full((*shape, 3), 90, np.uint8)), 90
    result = pipeline.process_alone(frame, (12, 16), Wants(True, True, True))
    assert result.fused.shape == (*shape, 3)
    assert (result.fused == expected).all()
    assert result.view == ("thermal" if loss == "rgb" else "rgb")
    assert (perceiver.asked[0][0] == result.fused).all()
    assert result.mask.shape == shape
    assert len(result.detections.scores) == 1
    assert (result.thermal_valid is None) == (loss == "rgb"), "no thermal anywhere"


def test_thermal_alone_is_registered_where_that_is_possible():
    pipeline = FusionPipeline(FakeFuser(), ThermalNormaliser())
    frame = Frame(BASE, "thermal", np.full((12, 16), 120, np.uint8))
    shifted = (1.0, 0.0, 8.0, 0.0, 1.0, 4.0, 0.0, 0.0, 1.0)
    pipeline.registrar = Registrar(HomographyMap(shifted, (32, 24), (16, 12)))
    result = pipeline.process_alone(frame, (24, 32))
    assert result.view == "rgb"
    assert result.fused.shape == (24, 32, 3)
    assert not result.fused[:, :7].any(), "black where thermal does not reach"
    assert pipeline.process_alone(frame, None).view == "thermal"
    pipeline.registrar = Registrar(None, "rgb_only", "not known yet")
    assert pipeline.process_alone(frame, (24, 32)).view == "thermal"


def test_a_network_that_fails_does_not_end_the_worker(rig):
    rig.fuser.error = RuntimeError("device lost")
    offer(rig.worker, 0)
    wait_until(lambda: rig.worker.dropped["failed"] == 1)
    rig.fuser.error = None
    offer(rig.worker, 1)
    wait_until(lambda: rig.sink.results)


def test_a_pair_that_waits_for_certainty_goes_out_at_its_deadline(rig):
    """Nothing else arrives: the worker's own clock must release the pair."""
    rig.worker.offer("rgb", BASE, image(100))
    rig.worker.offer("thermal", BASE + 9 * MS, image(200, (12, 16)))
    wait_until(lambda: rig.sink.results)


def test_every_pair_is_accounted_for(rig):
    for i in range(200):
        offer(rig.worker, i)
    wait_until(lambda: rig.worker.fused.total + sum(rig.worker.dropped.values()) == rig.worker.pairing.matched >= 190)
    rig.worker.stop()
    waiting = sum(rig.worker.pairing.dropped.values())
    assert 2 * rig.worker.pairing.matched + waiting == 400
