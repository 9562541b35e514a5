"""A run's files, its report and its page, from events written by hand."""

import base64
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from run_files import (
    COUNT,
    SOURCE,
    GreySource,
    read_run,
    report_of,
    stamp,
    write_lines,
    write_run,
)

from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.evaluation.index_check import StampIndex, check_indexes
from sage_fusion_ros.evaluation.machine import processor_name
from sage_fusion_ros.evaluation.moments import collect_moments, name_by_index
from sage_fusion_ros.evaluation.recording import Recording, ReplayLog, read_recording, read_replay_log
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


@pytest.fixture
def run_files(tmp_path: Path) -> tuple[Path, Path]:
    return write_run(tmp_path)


@pytest.fixture
def run(run_files: tuple[Path, Path]) -> tuple[Recording, ReplayLog]:
    return read_run(run_files)


@pytest.fixture
def report(run: tuple[Recording, ReplayLog]) -> dict:
    return report_of(*run)


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
