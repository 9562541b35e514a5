"""A run's files, its report and its page, from events written by hand."""

import base64
import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.evaluation.index_check import StampIndex, check_indexes
from sage_fusion_ros.evaluation.machine import processor_name
from sage_fusion_ros.evaluation.moments import collect_moments, name_by_index
from sage_fusion_ros.evaluation.output_check import check_outputs
from sage_fusion_ros.evaluation.recording import OUTPUTS, Recording, ReplayLog, read_recording, read_replay_log
from sage_fusion_ros.evaluation.run_perception import (
    RunPerception,
    count_boxes,
    perception_report,
    score_run,
    source_index,
)
from sage_fusion_ros.evaluation.run_plots import windowed_rate
from sage_fusion_ros.evaluation.run_report import (
    Moment,
    build_report,
    data_url,
    percentiles,
    spread,
    write_page,
    write_report,
)
from sage_fusion_ros.pipeline.classes import CITYSCAPES_CLASSES, DRIVING_CLASSES
from sage_fusion_ros.sources.base import SceneTruth, SourcePair

START_NS = 1_700_000_000_000_000_000
COUNT = 40
LATENCY_MS = 20
HEADER = {"frame_id": "rgb_camera", "size": [16, 12]}


class GreySource:
    """Pair i is RGB of grey i and thermal of 1000 x i counts with a hot left half. It does not know what it shows."""

    def read(self, index: int) -> SourcePair:
        thermal = np.full((12, 16), 1000 * index, np.uint16)
        thermal[:, :8] += 900
        return SourcePair(index, np.full((12, 16, 3), index, np.uint8), thermal)


class StreetSource(GreySource):
    """The same with a truth: a road below a sky, and a person. Day up to pair 19, then night."""

    def read(self, index: int) -> SourcePair:
        pair = super().read(index)
        return SourcePair(index, pair.rgb, pair.thermal, SceneTruth(MASK, BOX, ["person"]))

    def condition(self, index: int) -> str:
        return "day" if index < 20 else "night"


ROAD, SKY = CITYSCAPES_CLASSES.index("road"), CITYSCAPES_CLASSES.index("sky")
MASK = np.repeat(np.array([SKY, ROAD], np.uint8), 6)[:, None].repeat(16, axis=1)
BOX = np.array([[2, 2, 8, 10]], np.float32)
NAMES = {"mask": CITYSCAPES_CLASSES, "detections": DRIVING_CLASSES}


def stamp(index: int) -> int:
    return START_NS + index * 100_000_000


def write_lines(path: Path, events: list[dict]) -> Path:
    path.write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
    return path


@pytest.fixture
def run_files(tmp_path: Path) -> tuple[Path, Path]:
    """The files of a run at 10 Hz of which pair 7 was lost; images of every tenth pair."""
    images = tmp_path / "fused"
    images.mkdir()
    recording, replay = [{"event": "state", "state": "active", "arrival_ns": START_NS}], []
    for index in range(COUNT):
        for camera in ("rgb", "thermal"):
            replay.append({"camera": camera, "index": index, "stamp_ns": stamp(index)})
        if index == 7:
            continue
        arrival = stamp(index) + LATENCY_MS * 1_000_000
        recording.append({"event": "fused", "stamp_ns": stamp(index), "arrival_ns": arrival, **HEADER})
        recording.append({"event": "pair", "rgb_ns": stamp(index), "thermal_ns": stamp(index)})
        recording.append({"event": "value", "name": "processing_time_ms", "value": float(index), "arrival_ns": arrival})
        if index % 10 == 0:
            name = f"{stamp(index)}.png"
            cv2.imwrite(str(images / name), np.full((12, 16, 3), 100 + index, np.uint8))
            recording.append({"event": "frame", "stamp_ns": stamp(index), "file": name})
    statuses = [
        {"name": "fusion_node: pairing", "level": 0, "message": "", "values": PAIRING},
        {"name": "fusion_node: engine", "level": 0, "message": "", "values": ENGINE},
        {"name": "fusion_node: timing", "level": 0, "message": "", "values": {"fuse_ms_p50": "11.5", "rate_hz": "10"}},
    ]
    recording.append({"event": "diagnostics", "arrival_ns": START_NS, "statuses": statuses})
    recording.append({"event": "finished", "fused": COUNT - 1, "pair": COUNT - 1})
    replay.append({"event": "finished", "pairs": COUNT, "skipped": [["broken.png", "the PNG data ends early"]]})
    return write_lines(tmp_path / "recording.jsonl", recording), write_lines(tmp_path / "replay.jsonl", replay)


PAIRING = {"matched": "39", "fused": "39", "dropped": "2", "dropped: rgb: no partner": "2", "dt_ms_p50": "0.1"}
ENGINE = {
    "model": "sage_fast",
    "device": "cpu",
    "provider": "CPUExecutionProvider",
    "library": "onnxruntime 1",
    "perception": "mock",
}
SOURCE = {
    "name": "<street & smoke>",
    "spec": "x",
    "kind": "video",
    "seed": None,
    "pairs": COUNT,
    "rate_hz": 10.0,
    "sent_hz": 9.8,
}


@pytest.fixture
def perceived(tmp_path: Path, run_files: tuple[Path, Path]) -> tuple[Recording, ReplayLog]:
    """The same run with a mask and detections for each pair: by day right, by night all sky, and a truck. Every fifth
    mask was kept, that of pair 11 never came.
    """
    (tmp_path / "masks").mkdir()
    events = [
        {"event": "classes", "output": o, "names": dict(enumerate(n)), "threshold": 0.3} for o, n in NAMES.items()
    ]
    for index in range(COUNT):
        header = {"stamp_ns": stamp(index), "frame_id": "rgb_camera"}
        box = [*BOX[0].tolist(), 0.9, "person"] if index < 20 else [9, 2, 15, 10, 0.4, "truck"]
        if index == 7:
            continue
        events.append({"event": "detections", **header, "boxes": [box]})
        if index != 11:
            events.append({"event": "mask", **header, "size": [16, 12]})
        if index % 5 == 0:
            cv2.imwrite(str(tmp_path / "masks" / f"{index}.png"), MASK if index < 20 else np.full_like(MASK, SKY))
            events.append({"event": "mask_file", "stamp_ns": stamp(index), "file": f"{index}.png"})
    with run_files[0].open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)
    return read_recording(run_files[0]), read_replay_log(run_files[1])


def perception_of(recording: Recording, log: ReplayLog, folder: Path, source: GreySource) -> dict:
    """The perception's part of the report, as the demo puts it together."""
    stamps, condition = StampIndex(log), getattr(source, "condition", lambda _: "")
    perception = RunPerception(recording, folder / "masks")
    return perception_report(
        recording,
        check_outputs(recording, OUTPUTS),
        counts=count_boxes(recording, lambda stamp_ns: condition(source_index(stamps, stamp_ns))),
        truth=score_run(perception, source, stamps, condition),
    )


@pytest.fixture
def run(run_files: tuple[Path, Path]) -> tuple[Recording, ReplayLog]:
    return read_recording(run_files[0]), read_replay_log(run_files[1])


@pytest.fixture
def report(run: tuple[Recording, ReplayLog]) -> dict:
    recording, log = run
    check = check_indexes(StampIndex(log), recording)
    return build_report(recording, log, check, source=SOURCE, settings={}, cores={"fusion_node": 0.7})


def test_the_figures_follow_from_the_events(report):
    assert report["pairs"] == {
        "in": 40,
        "paired": 39,
        "fused": 39,
        "not_back": 1,
        "dropped_messages": 2,
        "dropped_by_reason": {"rgb: no partner": 2},
        "skipped_by_source": [["broken.png", "the PNG data ends early"]],
    }
    assert report["latency_ms"] == {"p50": 20.0, "p95": 20.0, "p99": 20.0}
    assert report["rate_hz"] == pytest.approx(38 / 3.9, abs=0.01)
    assert report["debug_ms"]["processing_time_ms"]["p50"] == 20.0
    assert report["stages_ms_p50"] == {"fuse": 11.5}
    assert (report["model"], report["provider"], report["device"]) == ("sage_fast", "CPUExecutionProvider", "cpu")
    assert report["index_check"]["matched"] == 39
    assert report["processor"]["name"] == processor_name()
    assert report["processor"]["busy_cores"] == {"fusion_node": 0.7}


def test_report_json_is_the_report(tmp_path, report):
    assert json.loads(write_report(tmp_path, report).read_text(encoding="utf-8")) == report


def test_moments_show_the_sources_of_the_fused_image(tmp_path, run):
    recording, log = run
    stamps, folder = StampIndex(log), tmp_path / "fused"
    frames = name_by_index(folder, recording.frames, stamps)
    assert sorted(path.name for path in folder.iterdir()) == ["000000.png", "000010.png", "000020.png", "000030.png"]
    moments = collect_moments(GreySource(), folder, frames, recording, stamps, count=2, describe=lambda i: f"grey {i}")
    assert [m.title for m in moments] == ["0.0 s, grey 0, source index 0", "3.0 s, grey 30, source index 30"]
    last = moments[-1]
    assert (last.rgb == 30).all()
    assert (last.fused == 130).all()
    assert (last.thermal[:, :8] == 255).all()
    assert (last.thermal[:, 8:] == 0).all()
    assert last.link == "fused/000030.png"


def test_a_mixed_pair_is_shown_as_the_two_images_it_was_made_of(tmp_path, run):
    recording, log = run
    position = next(i for i, pair in enumerate(recording.pairs) if pair.rgb_ns == stamp(30))
    recording.pairs[position] = type(recording.pairs[0])(stamp(30), stamp(33))
    stamps, folder = StampIndex(log), tmp_path / "fused"
    frames = name_by_index(folder, recording.frames, stamps)
    moment = collect_moments(GreySource(), folder, frames, recording, stamps, count=4)[-1]
    assert moment.title == "3.0 s, mixed: RGB index 30 with thermal index 33"


def test_images_of_a_second_loop_keep_a_name_of_their_own(tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "b.png").touch()
    recording = read_recording(
        write_lines(
            tmp_path / "recording.jsonl",
            [{"event": "frame", "stamp_ns": stamp(n), "file": f"{name}.png"} for n, name in ((0, "a"), (1, "b"))],
        )
    )
    log = read_replay_log(
        write_lines(
            tmp_path / "replay.jsonl",
            [{"camera": camera, "index": 5, "stamp_ns": stamp(n)} for n in (0, 1) for camera in ("rgb", "thermal")],
        )
    )
    names = [frame.file for frame in name_by_index(tmp_path, recording.frames, StampIndex(log))]
    assert names == ["000005.png", "000005_loop1.png"]


def test_the_page_holds_everything_and_needs_nothing(tmp_path, run, report):
    shape = (12, 16, 3)
    moment = Moment(
        "noon", np.zeros(shape, np.uint8), np.zeros(shape[:2], np.uint8), np.zeros(shape, np.uint8), "a.png"
    )
    page = write_page(tmp_path, report, run[0], [moment]).read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 3
    assert page.count("<svg") == 2
    assert 'href="a.png"' in page
    assert "&lt;street &amp; smoke&gt;" in page
    for text in (
        "39 of 40",
        "97.50 % of 40",
        "CPUExecutionProvider",
        "rgb: no partner",
        "kept busy",
        "prefers-color-scheme: dark",
    ):
        assert text in page
    # Nothing is fetched: the only addresses are names of XML vocabularies.
    addresses = set(re.findall(r'(?:src|href)="([^"]{1,40})', page))
    assert all(a.startswith(("data:", "#")) or a == "a.png" for a in addresses)
    assert not re.search(r"@import|<script|<link", page)


def test_what_was_found_is_counted_and_scored_by_act(tmp_path, perceived):
    found = perception_of(*perceived, tmp_path, StreetSource())
    assert found["models"] == "mock"
    assert found["score_threshold"] == 0.3
    assert found["masks_kept"] == 8
    mask, detections = (found["outputs"][name] for name in OUTPUTS)
    assert (mask["arrived"], mask["missing"], detections["arrived"], detections["missing"]) == (38, 1, 39, 0)
    assert mask["classes"] == list(CITYSCAPES_CLASSES)
    assert found["boxes_found"] == {
        "day": {"pairs": 19, "boxes": {"person": 19}},
        "night": {"pairs": 20, "boxes": {"truck": 20}},
        "all": {"pairs": 39, "boxes": {"truck": 20, "person": 19}},
    }
    truth = found["against_truth"]
    assert {act: (own["pairs"], own["boxes"], own["ap50"]) for act, own in truth.items()} == {
        "day": (4, 4, 1.0),
        "night": (4, 4, 0.0),
        "all": (8, 8, pytest.approx(51 / 101, abs=1e-4)),
    }
    assert (truth["day"]["miou"], truth["night"]["miou"]) == (1.0, 0.25)
    assert truth["night"]["ious"] == {"road": 0.0, "sky": 0.5}


def test_the_page_shows_counts_scores_and_overlays(tmp_path, perceived):
    recording, log = perceived
    source, stamps, folder = StreetSource(), StampIndex(log), tmp_path / "fused"
    report = build_report(
        recording,
        log,
        check_indexes(stamps, recording),
        source=SOURCE,
        settings={},
        cores={},
        perception=perception_of(recording, log, tmp_path, source),
    )
    assert json.loads(write_report(tmp_path, report).read_text(encoding="utf-8")) == report
    moments = collect_moments(
        source,
        folder,
        name_by_index(folder, recording.frames, stamps),
        recording,
        stamps,
        count=2,
        perception=RunPerception(recording, tmp_path / "masks"),
        describe=source.condition,
    )
    assert [moment.title.split(", ")[1] for moment in moments] == ["day", "night"]
    for moment in moments:
        assert moment.overlay.shape == moment.truth.shape == moment.fused.shape
        assert (moment.overlay != moment.fused).any()
    assert (moments[1].overlay != moments[1].truth).any()
    path = write_page(tmp_path, report, recording, moments, lambda s: source.condition(source_index(stamps, s)))
    page = path.read_text(encoding="utf-8")
    assert page.count("What was found</figcaption>") == page.count("What is there</figcaption>") == 2
    assert "1 missing" in page
    assert "38 of 39 fused images have a mask" in page
    assert "Boxes over the run" in page
    assert page.count("<svg") == 3
    assert ">night</th><td>4</td><td>4</td><td>0.0</td>" in page
    assert 'background: #dc143c"></span>person' in page
    assert "does not know what is really in its pictures" not in page


def test_a_source_without_a_truth_is_counted_only_and_the_page_says_so(tmp_path, perceived):
    recording, log = perceived
    found = perception_of(recording, log, tmp_path, GreySource())
    assert found["against_truth"] is None
    assert list(found["boxes_found"]) == ["all"]
    check = check_indexes(StampIndex(log), recording)
    report = build_report(recording, log, check, source=SOURCE, settings={}, cores={}, perception=found)
    page = write_page(tmp_path, report, recording, []).read_text(encoding="utf-8")
    assert "does not know what is really in its pictures" in page
    assert "AP50" not in page
    assert "39</b><span>boxes found" in page


def test_what_could_not_be_recorded_is_said_on_the_page(tmp_path, perceived):
    recording, log = perceived
    recording.detections, recording.unavailable = [], {"detections": "the recorder has no vision_msgs"}
    found = perception_of(recording, log, tmp_path, StreetSource())
    assert found["boxes_found"] == {}
    assert found["against_truth"]["all"].keys() == {"pairs", "miou", "ious"}
    check = check_indexes(StampIndex(log), recording)
    report = build_report(recording, log, check, source=SOURCE, settings={}, cores={}, perception=found)
    page = write_page(tmp_path, report, recording, []).read_text(encoding="utf-8")
    assert "The detections could not be recorded: the recorder has no vision_msgs" in page
    assert "AP50" not in page
    assert ">mIoU</th>" in page


def test_a_run_without_perception_says_that_it_was_off(tmp_path, run, report):
    assert report["perception"] is None
    assert "were turned off" in write_page(tmp_path, report, run[0], []).read_text(encoding="utf-8")


def test_nothing_found_at_all_still_makes_a_page(tmp_path, perceived):
    recording, log = perceived
    recording.detections = [
        replace(one, xyxy=one.xyxy[:0], scores=one.scores[:0], labels=[]) for one in recording.detections
    ]
    recording.mask_files = []
    found = perception_of(recording, log, tmp_path, StreetSource())
    assert found["boxes_found"]["all"] == {"pairs": 39, "boxes": {}}
    assert found["against_truth"]["all"]["ap50"] == 0.0
    check = check_indexes(StampIndex(log), recording)
    report = build_report(recording, log, check, source=SOURCE, settings={}, cores={}, perception=found)
    assert '<th scope="row">none</th>' in write_page(tmp_path, report, recording, []).read_text(encoding="utf-8")


def test_moments_are_shared_out_among_the_acts_and_have_something_found_in_them(tmp_path, perceived):
    recording, log = perceived
    recording.detections = [one for one in recording.detections if one.stamp_ns != stamp(0)]
    recording.mask_files = [one for one in recording.mask_files if one.stamp_ns != stamp(0)]
    stamps, folder, source = StampIndex(log), tmp_path / "fused", StreetSource()
    frames = name_by_index(folder, recording.frames, stamps)
    perception = RunPerception(recording, tmp_path / "masks")

    def titles(**options):
        return [m.title for m in collect_moments(source, folder, frames, recording, stamps, count=2, **options)]

    assert [title.split("index ")[1] for title in titles(describe=source.condition)] == ["0", "20"]
    assert [t.split("index ")[1] for t in titles(describe=source.condition, perception=perception)] == ["10", "20"]


def test_a_source_that_went_out_too_slowly_is_said_on_the_page(tmp_path, run, report):
    note = "went out at 6.0 Hz instead of"
    assert note not in write_page(tmp_path, report, run[0], []).read_text(encoding="utf-8")
    report["source"]["sent_hz"] = 6.0
    assert note in write_page(tmp_path, report, run[0], []).read_text(encoding="utf-8")


def test_the_page_of_a_run_without_any_image_says_so(tmp_path, run):
    empty = Recording()
    check = check_indexes(StampIndex(run[1]), empty)
    report = build_report(empty, run[1], check, source=SOURCE, settings={}, cores={})
    assert report["rate_hz"] is None
    page = write_page(tmp_path, report, empty, []).read_text(encoding="utf-8")
    assert "No fused image arrived" in page
    assert "<svg" not in page


def test_plots_take_the_pages_colours_and_share_no_ids(tmp_path, run, report):
    page = write_page(tmp_path, report, run[0], []).read_text(encoding="utf-8")
    figures = re.findall(r"<svg.*?</svg>", page, re.S)
    assert all("var(--ink)" in figure for figure in figures)
    ids = [set(re.findall(r'\bid="([^"]+)"', figure)) for figure in figures]
    assert ids[0]
    assert not ids[0] & ids[1]
    for figure, known in zip(figures, ids, strict=True):
        assert set(re.findall(r'href="#([^"]+)"', figure)) <= known


def test_page_images_keep_their_colours_and_stay_small():
    image = np.zeros((100, 1600, 3), np.uint8)
    image[:] = (200, 30, 30)
    data = base64.b64decode(data_url(image, width=400).split(",")[1])
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == (25, 400, 3)
    assert decoded[10, 10, 2] > 180 > 60 > decoded[10, 10, 0]


def test_a_line_cut_short_at_the_end_is_left_out_and_one_before_it_is_an_error(tmp_path, run_files):
    whole = run_files[0].read_text(encoding="utf-8")
    cut = tmp_path / "cut.jsonl"
    cut.write_text(whole + '{"event": "fus', encoding="utf-8")
    assert len(read_recording(cut).fused) == COUNT - 1
    cut.write_text("{\n" + whole, encoding="utf-8")
    with pytest.raises(SourceError, match=r"line 1 of .*cut\.jsonl"):
        read_recording(cut)
    with pytest.raises(SourceError, match="can't be read"):
        read_recording(tmp_path / "missing.jsonl")


def test_the_rate_of_a_stream_that_pauses():
    seconds = np.concatenate([np.arange(0, 3, 0.1), np.arange(5, 8, 0.1)])
    middles, rate = windowed_rate(seconds)
    assert rate[0] == pytest.approx(10)
    assert rate[(middles > 3.6) & (middles < 4.4)].max() == 0
    assert windowed_rate(np.zeros(1))[0].size == 0


@pytest.mark.parametrize(("count", "wanted", "expected"), [(0, 3, []), (2, 3, [0, 1]), (10, 3, [0, 4, 9])])
def test_spread(count, wanted, expected):
    assert spread(count, wanted) == expected


def test_percentiles_of_nothing_are_none():
    assert percentiles([]) == {"p50": None, "p95": None, "p99": None}


def test_the_processors_name_is_read_where_the_kernel_tells_it(tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n", encoding="utf-8")
    assert processor_name(info) == "Some CPU @ 2 GHz"
    assert processor_name(tmp_path / "missing") != ""
