"""What the demo makes of its arguments, and what it reads in the nodes' files; no node is started."""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mock_perception import make_perception

from sage_fusion_ros.cli import demo
from sage_fusion_ros.cli.demo_nodes import (
    PERCEPTION_DEFAULT,
    RunPaths,
    RunPlan,
    child_environment,
    fusion_command,
    recorder_command,
)
from sage_fusion_ros.cli.demo_report import wanted_outputs
from sage_fusion_ros.cli.demo_run import Outcome
from sage_fusion_ros.cli.watch import EventTail, Watch
from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.nodes.parameters import FUSION_PARAMETERS
from sage_fusion_ros.pipeline.classes import CITYSCAPES_CLASSES, DRIVING_CLASSES

PAIRS = 20


def lose_the_masks(events: list[dict]) -> list[dict]:
    return [event for event in events if event["event"] != "mask"]


def move_a_stamp(events: list[dict]) -> list[dict]:
    moved = next(event for event in events if event["event"] == "detections")
    moved["stamp_ns"] += 1
    return events


def change_a_frame(events: list[dict]) -> list[dict]:
    next(event for event in events if event["event"] == "mask")["frame_id"] = "thermal_camera"
    return events


def lose_everything(events: list[dict]) -> list[dict]:
    return [event for event in events if event["event"] not in ("mask", "detections", "classes")]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (list, ""),
        (lose_the_masks, "20 of 20 fused images have no mask"),
        (move_a_stamp, "1 messages of detections have a header that no fused image had"),
        (change_a_frame, "frame_id 'thermal_camera' beside 'rgb_camera'"),
        (lose_everything, "no class names came on ~/output/mask/label_info"),
    ],
)
def test_the_check_wants_a_mask_and_detections_for_every_pair(tmp_path, monkeypatch, capsys, spoil, message):
    """The nodes' files are written by hand: what they would be, and with something missing."""

    def perform(plan, paths, signals):
        assert plan.perception
        events, sent = [], []
        for output, names in (("mask", CITYSCAPES_CLASSES), ("detections", DRIVING_CLASSES)):
            events.append({"event": "classes", "output": output, "names": dict(enumerate(names)), "threshold": 0.3})
        for index in range(PAIRS):
            stamp = 10**18 + index * 10**8
            header = {"stamp_ns": stamp, "frame_id": "rgb_camera"}
            sent += [{"camera": camera, "index": index, "stamp_ns": stamp} for camera in ("rgb", "thermal")]
            events.append({"event": "fused", **header, "arrival_ns": stamp + 10**7, "size": [32, 24]})
            events.append({"event": "pair", "rgb_ns": stamp, "thermal_ns": stamp})
            events.append({"event": "mask", **header, "size": [32, 24]})
            events.append({"event": "detections", **header, "boxes": [[1, 1, 9, 9, 0.5, "car"]]})
        for path, lines in ((paths.recording, spoil(events)), (paths.replay_log, sent)):
            path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return Outcome(plan.settings(), replayed=True, sent_hz=plan.rate_hz)

    monkeypatch.setattr(demo, "perform", perform)
    for camera in ("rgb", "thermal"):
        (tmp_path / "pairs" / camera).mkdir(parents=True)
        for index in range(PAIRS):
            cv2.imwrite(str(tmp_path / "pairs" / camera / f"{index:03d}.png"), np.zeros((24, 32), np.uint8))
    common = [
        "--source",
        str(tmp_path / "pairs"),
        "--output",
        str(tmp_path / "out"),
        "--perception-model",
        "some/model",
    ]
    assert demo.run(parse(*common)) == 0
    capsys.readouterr()
    assert demo.run(parse(*common, "--check")) == (1 if message else 0)
    printed = capsys.readouterr().out
    assert message in printed
    assert ("failed: " in printed) is bool(message)


class Stills:
    """A source of five stills, which have no rate."""

    name, kind, frame_rate = "stills", "folder", None

    def __len__(self) -> int:
        return 5


class Video(Stills):
    name, kind, frame_rate = "video", "video", 25.0


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    demo.add_parser(parser.add_subparsers())
    return parser.parse_args(["demo", *arguments])


def plan(source: Stills, *arguments: str):
    return demo.make_plan(parse(*arguments), source)


@pytest.mark.parametrize(
    ("source", "arguments", "rate", "pairs"),
    [
        (Stills(), [], 10.0, 5),
        (Video(), [], 25.0, 5),
        (Video(), ["--speed", "3"], 75.0, 5),
        (Video(), ["--rate", "10", "--duration", "0.3"], 10.0, 3),
        (Video(), ["--duration", "2"], 25.0, 5),
        (Video(), ["--duration", "2", "--loop"], 25.0, 50),
    ],
)
def test_rate_and_length_follow_from_the_source_and_the_arguments(source, arguments, rate, pairs):
    made = plan(source, *arguments)
    assert (made.rate_hz, made.pairs) == (rate, pairs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rate", "0"], "--rate is 0"),
        (["--duration", "-1"], "--duration is -1"),
        (["--loop"], "--loop has no end"),
        (["--set", "engine.threads=1"], "expected NAME:=VALUE"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ParameterError, match=message):
        plan(Video(), *arguments)


def test_parameters_reach_the_node_as_they_were_given():
    command = fusion_command(
        plan(
            Video(),
            "--model",
            "my model",
            "--perception-model",
            "",
            "--set",
            "engine.threads:=2",
            "--compensate-ms",
            "40",
        )
    )
    assert 'fusion.model:="my model"' in command
    assert 'perception.model:=""' in command
    assert "engine.threads:=2" in command
    assert "pairing.thermal_offset_ms:=40.0" in command


def test_several_pairs_of_cameras_get_the_same_images_and_are_heard_as_one():
    command = fusion_command(RunPlan({}, {}, [], pairs=1, rate_hz=1.0, startup_s=1.0, cameras=2))
    assert "pairs:=['pair_0', 'pair_1']" in command
    for name in ("pair_0", "pair_1"):
        assert f"~/{name}/input/thermal:=/replay_node/thermal/image_raw" in command
        assert f"~/{name}/output/mask:=/fusion_node/output/mask" in command
    assert not any("output" in word for word in fusion_command(RunPlan({}, {}, [], 1, rate_hz=1.0, startup_s=1.0)))


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], {"mask", "detections"}),
        (["--perception-model", ""], set()),
        (["--perception-model", "/no/such/folder"], {"mask", "detections"}),
        (["--perception-model", "BOXES"], {"detections"}),
        (["--perception-model", "BOXES", "--set", "segmentation.model:=my.onnx"], {"mask", "detections"}),
        (["--set", "perception.model:=''", "--set", "detection.model:=yolox.onnx"], {"detections"}),
        (["--set", 'perception.model:=""'], set()),
    ],
)
def test_what_has_to_come_back_follows_from_what_the_node_is_started_with(tmp_path, arguments, wanted):
    boxes = make_perception(tmp_path / "boxes", mask_classes=())
    arguments = [str(boxes) if argument == "BOXES" else argument for argument in arguments]
    made = plan(Video(), *arguments)
    assert set(wanted_outputs(made.settings())) == wanted
    assert made.perception is bool(wanted)
    assert f"perception:={str(bool(wanted)).lower()}" in recorder_command(made, RunPaths(tmp_path))


def test_the_default_of_the_perception_model_is_the_nodes():
    assert FUSION_PARAMETERS["perception.model"].default == PERCEPTION_DEFAULT


def test_what_the_user_has_set_about_ros_stays(monkeypatch, tmp_path):
    monkeypatch.setenv("ROS_DOMAIN_ID", "7")
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", "/my/profile.xml")
    environment = child_environment(RunPaths(tmp_path))
    assert environment["ROS_DOMAIN_ID"] == "7"
    assert environment["FASTDDS_DEFAULT_PROFILES_FILE"] == "/my/profile.xml"
    monkeypatch.delenv("ROS_DOMAIN_ID")
    monkeypatch.delenv("FASTDDS_DEFAULT_PROFILES_FILE")
    environment = child_environment(RunPaths(tmp_path))
    assert 0 < int(environment["ROS_DOMAIN_ID"]) <= 101
    # The name that this release's Fast DDS reads.
    names = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
    assert Path(next(environment[name] for name in names if name in environment)).is_file()


def test_an_output_folder_with_other_things_in_it_is_not_touched(tmp_path):
    (tmp_path / "fused").mkdir()
    (tmp_path / "fused" / "mine.png").touch()
    with pytest.raises(ParameterError, match="holds other things"):
        demo.prepare_output(tmp_path)
    assert (tmp_path / "fused" / "mine.png").exists()
    with pytest.raises(ParameterError, match="is a file"):
        demo.prepare_output(tmp_path / "fused" / "mine.png")


def test_an_earlier_runs_output_is_replaced(tmp_path):
    paths = demo.prepare_output(tmp_path / "out")
    (paths.images / "000001.png").touch()
    (paths.masks / "1.png").touch()
    (paths.folder / "report.json").touch()
    (paths.folder / "note.txt").touch()
    demo.prepare_output(tmp_path / "out")
    assert not (paths.images / "000001.png").exists()
    assert not (paths.masks / "1.png").exists()
    assert not (paths.folder / "report.json").exists()
    assert (paths.folder / "note.txt").exists()


def test_a_growing_file_is_read_line_by_line(tmp_path):
    path = tmp_path / "events.jsonl"
    tail = EventTail(path)
    assert tail.read() == []
    path.write_text('{"event": "a"}\n{"event"', encoding="utf-8")
    assert tail.read() == [{"event": "a"}]
    with path.open("a", encoding="utf-8") as file:
        file.write(': "b"}\n')
    assert tail.read() == [{"event": "b"}]


def test_the_rate_at_which_the_source_went_out_is_measured(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("sage_fusion_ros.cli.watch.time.monotonic", lambda: clock[0])
    path = tmp_path / "replay.jsonl"
    watch = Watch(tmp_path / "recording.jsonl", path)
    watch.update()
    assert watch.sent_hz() is None
    for _ in range(3):
        with path.open("a", encoding="utf-8") as file:
            for index in range(10):
                file.writelines(
                    json.dumps({"camera": camera, "index": index, "stamp_ns": 0}) + "\n"
                    for camera in ("rgb", "thermal")
                )
        clock[0] += 2.0
        watch.update()
    assert (watch.sent, watch.sent_hz()) == (30, 5.0)


@pytest.mark.parametrize(("level", "problem"), [(0, ""), (1, ""), (2, "the model is broken")])
def test_a_node_without_a_model_is_known_by_its_diagnostics(tmp_path, level, problem):
    status = {"name": "fusion_node: engine", "level": level, "message": "the model is broken", "values": {}}
    event = {"event": "diagnostics", "arrival_ns": 0, "statuses": [status]}
    (tmp_path / "recording.jsonl").write_text(json.dumps(event) + "\n", encoding="utf-8")
    watch = Watch(tmp_path / "recording.jsonl", tmp_path / "replay.jsonl")
    watch.update()
    assert watch.problem == problem
