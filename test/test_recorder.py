"""recorder_node as a process: what it writes about messages it gets, and how it ends."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image, TimeReference
from vision_msgs.msg import Detection2D, Detection2DArray, LabelInfo, ObjectHypothesisWithPose, VisionClass

from sage_fusion_ros.evaluation.recording import Fused, Mask, PairStamps, read_recording
from sage_fusion_ros.nodes import outputs, recorder_perception
from sage_fusion_ros.nodes.record_writer import RecordWriter
from sage_fusion_ros.nodes.recorder_node import RecorderNode

HEIGHT, WIDTH, PADDING = 6, 5, 3


class Recorder:
    """A recorder process and, in this process, a node that plays fusion_node's part."""

    def __init__(
        self, folder: Path, count: int, period_s: float, masks: tuple[int, float] = (3, 0.0), contents: bool = True
    ) -> None:
        self.log, self.images, self.masks = folder / "recording.jsonl", folder / "fused", folder / "masks"
        parameters = {
            "log_path": self.log,
            "images.path": self.images,
            "images.count": count,
            "images.period_s": period_s,
            "masks.path": self.masks,
            "masks.count": masks[0],
            "masks.period_s": masks[1],
            "contents": str(contents).lower(),
        }
        command = [sys.executable, "-m", "sage_fusion_ros.nodes.recorder_node", "--ros-args"]
        for name, value in parameters.items():
            command += ["-p", f"{name}:={value}"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def events(self, kind: str) -> list[dict]:
        if not self.log.exists():
            return []
        lines = self.log.read_text(encoding="utf-8").splitlines(keepends=True)
        return [event for line in lines if line.endswith("\n") and (event := json.loads(line))["event"] == kind]

    def end(self, times: int = 1) -> int:
        for _ in range(times):
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=30)


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Callable[..., Recorder]]:
    started = []

    def start(count: int = 3, period_s: float = 0.0, **options: Any) -> Recorder:
        started.append(Recorder(tmp_path, count, period_s, **options))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate()


@pytest.fixture
def graph() -> Iterator[tuple[rclpy.node.Node, Callable[[Callable[[], bool]], None]]]:
    """A node named fusion_node that answers for its state, and a way to spin it until something holds."""
    rclpy.init()
    node = rclpy.create_node("fusion_node")
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def active(_: GetState.Request, response: GetState.Response) -> GetState.Response:
        response.current_state = State(id=State.PRIMARY_STATE_ACTIVE, label="active")
        return response

    node.create_service(GetState, "~/get_state", active)

    def spin_until(condition: Callable[[], bool], seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "timed out"
            executor.spin_once(timeout_sec=0.05)

    yield node, spin_until
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()


def image(index: int) -> Image:
    """Rows are longer than their pixels; pixel values tell the index, and red differs from blue."""
    rows = np.full((HEIGHT, WIDTH * 3 + PADDING), 255, np.uint8)
    rows[:, : WIDTH * 3].reshape(HEIGHT, WIDTH, 3)[:] = (10 + index, 20, 30)
    message = Image(height=HEIGHT, width=WIDTH, step=WIDTH * 3 + PADDING, encoding="rgb8")
    message.data.frombytes(rows.tobytes())
    return under_header(message, index)


def under_header(message, index: int):
    message.header.stamp.sec, message.header.stamp.nanosec = 100 + index, 5
    message.header.frame_id = "rgb_camera"
    return message


def mask(index: int) -> Image:
    """A mask of one id, with rows longer than their pixels."""
    rows = np.full((HEIGHT, WIDTH + PADDING), 99, np.uint8)
    rows[:, :WIDTH] = index
    message = Image(height=HEIGHT, width=WIDTH, step=WIDTH + PADDING, encoding="mono8")
    message.data.frombytes(rows.tobytes())
    return under_header(message, index)


def detections(index: int, *boxes: tuple[float, float, float, float, str, float]) -> Detection2DArray:
    """Each box: centre x and y, width, height, class and score. A less likely class stands before each."""
    message = under_header(Detection2DArray(), index)
    for x, y, width, height, name, score in boxes:
        detection = Detection2D()
        detection.bbox.center.position.x, detection.bbox.center.position.y = x, y
        detection.bbox.size_x, detection.bbox.size_y = width, height
        for class_id, sure in (("tree", score / 2), (name, score)):
            result = ObjectHypothesisWithPose()
            result.hypothesis.class_id, result.hypothesis.score = class_id, sure
            detection.results.append(result)
        message.detections.append(detection)
    return message


def label_info(*names: str) -> LabelInfo:
    return LabelInfo(
        threshold=0.25, class_map=[VisionClass(class_id=number, class_name=name) for number, name in enumerate(names)]
    )


def perception_publishers(node) -> dict:
    """Publishers of fused images, masks, detections and, latched, of the class names of both."""
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    return {
        "fused": node.create_publisher(Image, "~/output/fused", 10),
        "mask": node.create_publisher(Image, "~/output/mask", 10),
        "mask/label_info": node.create_publisher(LabelInfo, "~/output/mask/label_info", latched),
        "detections": node.create_publisher(Detection2DArray, "~/output/detections", 10),
        "detections/label_info": node.create_publisher(LabelInfo, "~/output/detections/label_info", latched),
    }


def test_everything_that_arrives_is_written_down(recorder, graph):
    node, spin_until = graph
    fused = node.create_publisher(Image, "~/output/fused", 10)
    pairs = node.create_publisher(TimeReference, "~/debug/pair_stamps", 10)
    values = node.create_publisher(outputs.Float64Stamped or outputs.Float64, "~/debug/processing_time_ms", 10)
    diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
    run = recorder(3)
    spin_until(lambda: run.events("ready") != [])
    spin_until(lambda: all(p.get_subscription_count() for p in (fused, pairs, values, diagnostics)))
    for index in range(5):
        before = time.time_ns()
        fused.publish(image(index))
        pair = TimeReference(source="thermal")
        pair.header.stamp.sec, pair.time_ref.sec = 100 + index, 200 + index
        pairs.publish(pair)
        values.publish(values.msg_type(data=1.5 * index))
        spin_until(lambda i=index: len(run.events("value")) > i and len(run.events("fused")) > i)
        assert before < run.events("fused")[index]["arrival_ns"] < time.time_ns()
    status = DiagnosticStatus(level=DiagnosticStatus.WARN, name="fusion_node: engine", message="why")
    status.values = [KeyValue(key="model", value="sage_fast")]
    diagnostics.publish(DiagnosticArray(status=[status]))
    spin_until(lambda: run.events("diagnostics") != [])
    assert run.end() == 0

    recording = read_recording(run.log)
    assert recording.finished
    assert recording.states == ["active"]
    assert [f.stamp_ns for f in recording.fused] == [(100 + i) * 10**9 + 5 for i in range(5)]
    assert all(isinstance(f, Fused) for f in recording.fused)
    assert recording.pairs == [PairStamps((100 + i) * 10**9, (200 + i) * 10**9) for i in range(5)]
    assert [value for _, value in recording.values["processing_time_ms"]] == [0.0, 1.5, 3.0, 4.5, 6.0]
    assert recording.status("engine") == {"model": "sage_fast"}
    assert recording.diagnostics["fusion_node: engine"]["level"] == 1
    assert [frame.stamp_ns for frame in recording.frames] == [f.stamp_ns for f in recording.fused[:3]]
    for index, frame in enumerate(recording.frames):
        kept = cv2.cvtColor(cv2.imread(str(run.images / frame.file)), cv2.COLOR_BGR2RGB)
        assert kept.shape == (HEIGHT, WIDTH, 3)
        assert (kept == (10 + index, 20, 30)).all()


def test_images_are_kept_by_their_stamps_also_when_these_jump_back(recorder, graph):
    node, spin_until = graph
    fused = node.create_publisher(Image, "~/output/fused", 10)
    run = recorder(count=10, period_s=2.5)
    spin_until(lambda: run.events("ready") != [])
    spin_until(lambda: fused.get_subscription_count() == 1)
    indexes = [0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3]
    for count, index in enumerate(indexes, 1):
        fused.publish(image(index))
        spin_until(lambda n=count: len(run.events("fused")) == n)
    assert run.end() == 0
    assert [frame["stamp_ns"] // 10**9 - 100 for frame in run.events("frame")] == [0, 3, 6, 0, 3]


def test_masks_and_detections_are_written_down_under_their_headers(recorder, graph):
    node, spin_until = graph
    out = perception_publishers(node)
    # Latched: said before the recorder is there.
    out["mask/label_info"].publish(label_info("road", "sky"))
    out["detections/label_info"].publish(label_info("person", "car"))
    run = recorder(0, masks=(2, 1.5))
    spin_until(lambda: len(run.events("classes")) == 2)
    spin_until(lambda: all(out[name].get_subscription_count() for name in ("fused", "mask", "detections")))
    found = [(20.0, 10.0, 8.0, 4.0, "car", 0.75), (3.5, 2.5, 7.0, 5.0, "0", 0.5)]
    for index in range(6):
        out["fused"].publish(image(index))
        out["mask"].publish(mask(index))
        out["detections"].publish(detections(index, *found[: index % 3]))
        spin_until(lambda n=index + 1: all(len(run.events(kind)) == n for kind in ("fused", "mask", "detections")))
    assert run.end() == 0

    recording = read_recording(run.log)
    stamps = [(100 + i) * 10**9 + 5 for i in range(6)]
    assert [(one.stamp_ns, one.frame_id, one.size) for one in recording.fused] == [
        (stamp, "rgb_camera", (WIDTH, HEIGHT)) for stamp in stamps
    ]
    assert recording.masks == [Mask(stamp, "rgb_camera", (WIDTH, HEIGHT)) for stamp in stamps]
    assert [(one.stamp_ns, one.frame_id) for one in recording.detections] == [(s, "rgb_camera") for s in stamps]
    assert recording.classes == {"mask": {0: "road", 1: "sky"}, "detections": {0: "person", 1: "car"}}
    assert recording.score_threshold == 0.25
    assert [one.labels for one in recording.detections] == [[], ["car"], ["car", "person"]] * 2
    assert recording.detections[2].xyxy.tolist() == [[16, 8, 24, 12], [0, 0, 7, 5]]
    assert recording.detections[2].scores.tolist() == [0.75, 0.5]
    # Of two masks that may be kept and must be 1.5 s apart, the first and the third.
    assert [frame.stamp_ns for frame in recording.mask_files] == [stamps[0], stamps[2]]
    for index, frame in zip((0, 2), recording.mask_files, strict=True):
        kept = cv2.imread(str(run.masks / frame.file), cv2.IMREAD_UNCHANGED)
        assert kept.shape == (HEIGHT, WIDTH)
        assert (kept == index).all()


def test_without_contents_headers_alone_are_read_and_all_outputs_are_asked_for(recorder, graph):
    node, spin_until = graph
    out = perception_publishers(node)
    run = recorder(3, contents=False)
    spin_until(lambda: all(out[name].get_subscription_count() for name in ("fused", "mask", "detections")))
    for index in range(4):
        out["mask"].publish(mask(index))
        out["detections"].publish(detections(index, (20.0, 10.0, 8.0, 4.0, "car", 0.75)))
        out["fused"].publish(image(index))
        spin_until(lambda n=index + 1: len(run.events("fused")) == n)
    assert run.end() == 0
    recording = read_recording(run.log)
    assert [(one.stamp_ns, one.frame_id) for one in recording.fused] == [
        ((100 + i) * 10**9 + 5, "rgb_camera") for i in range(4)
    ]
    assert recording.frames == recording.masks == recording.detections == []


@pytest.mark.parametrize("first", ["fused", "mask"])
def test_the_mask_of_a_kept_image_is_kept_whichever_comes_first(recorder, graph, first):
    node, spin_until = graph
    out = perception_publishers(node)
    run = recorder(2, 2.5, masks=(0, 0.0))
    spin_until(lambda: all(out[name].get_subscription_count() for name in ("fused", "mask")))
    for index in range(6):
        for name in (first, "mask" if first == "fused" else "fused"):
            out[name].publish(image(index) if name == "fused" else mask(index))
            spin_until(lambda n=index + 1, kind=name: len(run.events(kind)) == n)
    assert run.end() == 0
    kept = [(100 + index) * 10**9 + 5 for index in (0, 3)]
    assert [event["stamp_ns"] for event in run.events("frame")] == kept
    assert [event["stamp_ns"] for event in run.events("mask_file")] == kept


@pytest.mark.parametrize("times", [1, 2])
def test_sigint_ends_it_with_code_0_however_often(recorder, times):
    run = recorder()
    end = time.monotonic() + 30
    while not run.log.exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    assert run.end(times) == 0, run.process.stdout.read()
    assert run.events("finished") == [{"event": "finished", "fused": 0, "pair": 0, "mask": 0, "detections": 0}]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Callable[[], RecorderNode]]:
    """Makes a recorder in this process."""
    paths = [f"{name}:={tmp_path}/{name}" for name in ("log_path", "images.path", "masks.path")]
    rclpy.init(args=["--ros-args", *(argument for path in paths for argument in ("-p", path))])
    made = []

    def make() -> RecorderNode:
        made.append(RecorderNode())
        return made[0]

    yield make
    for one in made:
        one.destroy_node()
    rclpy.try_shutdown()


def test_without_vision_msgs_masks_are_recorded_and_detections_are_said_to_be_missing(tmp_path, monkeypatch, node):
    for name in ("Detection2DArray", "LabelInfo"):
        monkeypatch.setattr(recorder_perception, name, None)
    recorder = node()
    topics = {name for name, _ in recorder.get_subscriber_names_and_types_by_node("recorder_node", "/")}
    assert "/fusion_node/output/mask" in topics
    assert "/fusion_node/output/detections" not in topics
    recorder.destroy_node()
    recording = read_recording(tmp_path / "log_path")
    assert recording.unavailable == {"detections": "the recorder has no vision_msgs"}


def test_an_answer_that_is_lost_is_asked_for_again(monkeypatch, node):
    class Deaf:
        """A service that never answers."""

        def __init__(self) -> None:
            self.asked, self.given_up = [], []

        def service_is_ready(self) -> bool:
            return True

        def call_async(self, _: GetState.Request) -> rclpy.Future:
            self.asked.append(rclpy.Future())
            return self.asked[-1]

        def remove_pending_request(self, future: rclpy.Future) -> None:
            self.given_up.append(future)

    clock = [100.0]
    monkeypatch.setattr("sage_fusion_ros.nodes.recorder_node.time.monotonic", lambda: clock[0])
    recorder = node()
    recorder._get_state = service = Deaf()
    for seconds, asked in ((0.0, 1), (0.25, 1), (2.25, 2), (2.5, 2)):
        clock[0] = 100.0 + seconds
        recorder._ask_state()
        assert len(service.asked) == asked
    assert service.given_up == service.asked[:1]


def test_a_log_that_cant_be_written_is_said(recorder, tmp_path):
    (tmp_path / "recording.jsonl").mkdir()
    run = recorder()
    assert run.process.wait(timeout=30) == 2
    printed = run.process.stdout.read().decode()
    assert "recording.jsonl" in printed
    assert "Traceback" not in printed


def test_a_full_disk_is_kept_as_the_reason_and_closing_still_ends(tmp_path):
    writer = RecordWriter(Path("/dev/full"), {"frame": tmp_path})
    writer.event("fused", stamp_ns=1, arrival_ns=2)
    writer.close()
    assert writer.error is not None
    assert "No space left" in str(writer.error)
