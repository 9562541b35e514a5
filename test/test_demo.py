"""The demo for real: three processes over DDS, what they leave, and that they leave no process behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from mock_models import make_model
from mock_perception import make_perception

from sage_fusion_ros.cli.demo_nodes import (
    RunPaths,
)
from sage_fusion_ros.pipeline.classes import CITYSCAPES_CLASSES, DRIVING_CLASSES

RATE_HZ = 10
PAIRS = 20


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.05)


def processes_of(folder: Path) -> dict[int, str]:
    """Living processes that have this folder in their command line, by process id."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in command and int(entry.name) != os.getpid():
            found[int(entry.name)] = command
    return found


class Demo:
    """One started `sage-fusion demo`."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.output = folder / "out"
        self.log = folder / "printed.txt"
        command = [sys.executable, "-m", "sage_fusion_ros.cli.main", "demo", "--rate", str(RATE_HZ)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--output", str(self.output), *arguments], stdout=log, stderr=subprocess.STDOUT
            )

    @property
    def printed(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def fused(self) -> int:
        path = RunPaths(self.output).recording
        return path.read_text(encoding="utf-8").count('"event": "fused"') if path.exists() else 0

    def end(self, seconds: float = 90) -> int:
        return self.process.wait(timeout=seconds)

    def report(self) -> dict:
        return json.loads((self.output / "report.json").read_text(encoding="utf-8"))

    def child(self, module: str) -> int:
        return next(pid for pid, command in processes_of(self.folder).items() if f"nodes.{module}" in command)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    """Starts demos with a model that takes the brighter of the two; by default without perception, on a folder whose
    pair i is RGB of one grey, 50 + 5 i, and a black thermal image.
    """
    model = make_model(tmp_path / "models" / "brighter")
    source = tmp_path / "pairs"
    for camera in ("rgb", "thermal"):
        (source / camera).mkdir(parents=True)
        for index in range(PAIRS):
            grey = np.full((120, 160), (50 + 5 * index) * (camera == "rgb"), np.uint8)
            cv2.imwrite(str(source / camera / f"{index:03d}.png"), grey)
    started = []

    def run(
        *arguments: str, model: Path | str = model, source: Path | str = source, perception: Path | str = ""
    ) -> Demo:
        models = ("--model", str(model), "--perception-model", str(perception))
        # Images of one grey, the thermal ones all alike, would pass for cameras that are lost.
        unjudged = ("--set", "degraded.check_images:=false", "--set", "degraded.frozen_ms:=0.0")
        started.append(Demo(tmp_path, *models, *unjudged, "--source", str(source), *arguments))
        return started[-1]

    yield run
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()
    wait_for(lambda: not processes_of(tmp_path), 20)


def test_a_short_run_ends_well_and_leaves_a_report_that_adds_up(start, tmp_path):
    run = start("--duration", "3", "--check", "--min-share", "0.8", source="synthetic")
    assert run.end() == 0, run.printed
    assert not processes_of(tmp_path)
    report = run.report()
    check, pairs = report["index_check"], report["pairs"]
    assert pairs["in"] == 3 * RATE_HZ
    assert 0 < pairs["fused"] <= pairs["paired"] <= pairs["in"]
    assert check["sent"] == pairs["in"]
    assert check["counted"] == check["sent"] - check["before_discovery"]
    assert pairs["not_back"] == pairs["in"] - check["matched"]
    assert check["mixed"] == check["repeated"] == 0
    assert 0 < report["latency_ms"]["p50"] <= report["latency_ms"]["p95"] <= report["latency_ms"]["p99"]
    assert report["rate_hz"] == pytest.approx(RATE_HZ, rel=0.3)
    assert (report["model"], report["device"], report["source"]["kind"]) == ("brighter", "cpu", "synthetic")
    assert set(report["processor"]["busy_cores"]) == {"fusion_node", "replay_node", "recorder_node"}
    images = sorted((run.output / "fused").glob("*.png"))
    assert images
    assert all(path.stem.isdigit() and int(path.stem) < pairs["in"] for path in images)
    page = (run.output / "index.html").read_text(encoding="utf-8")
    assert page.count("<figure>") == 3 * page.count('class="moment"') > 0
    assert page.count("<svg") == 2
    assert "brighter" in page
    assert report["perception"] is None
    assert "were turned off" in page


def test_masks_and_detections_of_every_pair_come_back_and_are_scored(start, tmp_path):
    eye = make_perception(tmp_path / "models" / "eye", input_side=64)
    run = start("--duration", "3", "--check", "--min-share", "0.8", source="synthetic", perception=eye)
    assert run.end() == 0, run.printed
    report = run.report()
    found, fused = report["perception"], report["pairs"]["fused"]
    assert found["models"] == "eye"
    for output, classes in (("mask", CITYSCAPES_CLASSES), ("detections", DRIVING_CLASSES)):
        check = found["outputs"][output]
        assert check["classes"] == list(classes)
        assert check["missing"] == check["other_header"] == check["other_size"] == 0
        assert check["counted"] + check["before_discovery"] == fused
    # The mock calls everything bright a person.
    assert list(found["boxes_found"]["all"]["boxes"]) == ["person"]
    truth = found["against_truth"]["all"]
    assert 0 < truth["pairs"] <= fused
    assert truth["boxes"] > truth["pairs"]  # a street full of people and cars
    assert 0 <= truth["ap50_95"] <= truth["ap50"] < 1
    assert 0 < truth["miou"] < 1
    masks = sorted((run.output / "masks").glob("*.png"))
    assert len(masks) == found["masks_kept"]
    assert {path.name for path in (run.output / "fused").glob("*.png")} <= {path.name for path in masks}
    assert set(np.unique(cv2.imread(str(masks[0]), cv2.IMREAD_UNCHANGED))) <= set(range(len(CITYSCAPES_CLASSES)))
    page = (run.output / "index.html").read_text(encoding="utf-8")
    assert page.count("<figure>") == 5 * page.count('class="moment"') > 0
    assert page.count("<svg") == 3
    assert "against the scene's truth" in run.printed


def test_a_folder_without_a_truth_is_counted_only(start, tmp_path):
    eye = make_perception(tmp_path / "models" / "eye", mask_classes=(), input_side=64)
    run = start("--check", "--min-share", "0.7", perception=eye)
    assert run.end() == 0, run.printed
    found = run.report()["perception"]
    assert list(found["outputs"]) == ["detections"]
    assert (found["against_truth"], found["masks_kept"]) == (None, 0)
    assert found["boxes_found"]["all"]["boxes"]["person"] > 0  # the brighter half of the pairs


def test_the_images_kept_are_the_ones_their_names_say(start):
    run = start("--check", "--min-share", "0.7")
    assert run.end() == 0, run.printed
    images = sorted((run.output / "fused").glob("*.png"))
    assert images
    for path in images:
        assert (abs(cv2.imread(str(path)).astype(int) - (50 + 5 * int(path.stem))) <= 1).all()


def test_an_offset_as_long_as_a_period_fails_the_check_and_passes_it_when_compensated(start, tmp_path):
    # The RGB image has to wait for its partner as long as the thermal camera lags.
    arguments = ["--thermal-offset-ms", str(1000 / RATE_HZ), "--set", "pairing.hold_ms:=400.0"]
    arguments += ["--check", "--min-share", "0.7"]
    run = start(*arguments)
    assert run.end() == 1
    assert run.report()["index_check"]["mixed"] > 0
    assert "mixed pairs" in run.printed
    run = start(*arguments, "--compensate-ms", str(1000 / RATE_HZ))
    assert run.end() == 0, run.printed
    assert run.report()["index_check"]["mixed"] == 0


def test_a_model_that_is_not_there_is_said_at_once(start, tmp_path):
    run = start(model="no_such_model")
    assert run.end() == 2
    assert "no model named 'no_such_model'" in run.printed
    assert not processes_of(tmp_path)


def test_a_refused_parameter_is_said_in_the_nodes_words(start, tmp_path):
    run = start("--set", "pairing.max_dt_ms:=-4.0")
    assert run.end() == 2
    assert "fusion_node ended with code 2" in run.printed
    assert "pairing.max_dt_ms" in run.printed
    assert not processes_of(tmp_path)


def test_a_node_that_is_killed_ends_the_run_with_its_name(start, tmp_path):
    run = start("--duration", "60", "--loop")
    wait_for(lambda: run.fused() > 3)
    os.kill(run.child("fusion_node"), signal.SIGKILL)
    assert run.end() == 2
    assert "fusion_node ended with code -9" in run.printed
    assert not processes_of(tmp_path)


def test_sigint_ends_the_run_early_with_a_report(start, tmp_path):
    run = start("--duration", "60", "--loop")
    wait_for(lambda: run.fused() > 3)
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 128 + signal.SIGINT, run.printed
    assert "failed:" not in run.printed
    assert not processes_of(tmp_path)
    assert 0 < run.report()["pairs"]["fused"] < 60 * RATE_HZ


def test_sigint_twice_leaves_no_process(start, tmp_path):
    run = start("--duration", "60", "--loop")
    wait_for(lambda: run.fused() > 3)
    run.process.send_signal(signal.SIGINT)
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 128 + signal.SIGINT, run.printed
    assert not processes_of(tmp_path)


def test_sigkill_leaves_no_process(start, tmp_path):
    run = start("--duration", "60", "--loop")
    wait_for(lambda: run.fused() > 3)
    run.process.kill()
    run.process.wait()
    wait_for(lambda: not processes_of(tmp_path), 10)
