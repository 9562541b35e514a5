"""The files of a small run, written by hand, for the tests of its report."""

import json
from pathlib import Path

import cv2
import numpy as np

from sage_fusion_ros.evaluation.index_check import StampIndex, check_indexes
from sage_fusion_ros.evaluation.output_check import check_outputs
from sage_fusion_ros.evaluation.recording import OUTPUTS, Recording, ReplayLog, read_recording, read_replay_log
from sage_fusion_ros.evaluation.run_perception import (
    RunPerception,
    count_boxes,
    perception_report,
    score_run,
    source_index,
)
from sage_fusion_ros.evaluation.run_report import build_report
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


def write_run(tmp_path: Path) -> tuple[Path, Path]:
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


def write_perception(tmp_path: Path, run_files: tuple[Path, Path]) -> tuple[Recording, ReplayLog]:
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
    return read_run(run_files)


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


def read_run(files: tuple[Path, Path]) -> tuple[Recording, ReplayLog]:
    """What was written, read back."""
    return read_recording(files[0]), read_replay_log(files[1])


def report_of(recording: Recording, log: ReplayLog) -> dict:
    """The run's report, as the demo puts it together."""
    check = check_indexes(StampIndex(log), recording)
    return build_report(recording, log, check, source=SOURCE, settings={}, cores={"fusion_node": 0.7})
