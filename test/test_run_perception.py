"""What a run's report and page say about masks and boxes, from events written by hand."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from run_files import (
    SOURCE,
    GreySource,
    StreetSource,
    perception_of,
    read_run,
    report_of,
    stamp,
    write_perception,
    write_run,
)

from sage_fusion_ros.evaluation.index_check import StampIndex, check_indexes
from sage_fusion_ros.evaluation.moments import collect_moments, name_by_index
from sage_fusion_ros.evaluation.recording import OUTPUTS, Recording, ReplayLog
from sage_fusion_ros.evaluation.run_perception import (
    RunPerception,
    source_index,
)
from sage_fusion_ros.evaluation.run_report import (
    build_report,
    write_page,
    write_report,
)
from sage_fusion_ros.pipeline.classes import CITYSCAPES_CLASSES


@pytest.fixture
def perceived(tmp_path: Path) -> tuple[Recording, ReplayLog]:
    return write_perception(tmp_path, write_run(tmp_path))


@pytest.fixture
def run(tmp_path: Path) -> tuple[Recording, ReplayLog]:
    return read_run(write_run(tmp_path))


@pytest.fixture
def report(run: tuple[Recording, ReplayLog]) -> dict:
    return report_of(*run)


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
