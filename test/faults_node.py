"""Faults around the node: parameters, QoS, subscribers, lifecycle, files and signals."""

import os
import signal
import subprocess
import sys
import threading

from fault_rig import RGB, FaultRig, picture
from fault_table import fault
from faults_models import shown
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

PARAMETERS = (
    ("out of range", "rate.max_hz", -1.0, "rate.max_hz is -1.0"),
    ("NaN", "pairing.max_dt_ms", float("nan"), "pairing.max_dt_ms is nan"),
    ("of the wrong type", "pairing.hold_ms", "soon", "pairing.hold_ms is 'soon'; expected float"),
    ("that contradicts another", "thermal.low", 400.0, "low must be below high"),
    ("that can't change while the node runs", "engine.device", "cuda", "only while the node is unconfigured"),
    ("unknown", "pairing.max_dt", 1.0, "did you mean pairing.max_dt_ms?"),
    ("unset", "fusion.model", None, "fusion.model is None; expected string"),
)
for what, name, value, words in PARAMETERS:

    @fault("Parameters", f"a value {what}", "refused with a reason that names it; nothing changes")
    def bad_parameter(rig, name=name, value=value, words=words):
        before = None if "did you mean" in words else rig.get(name)
        successful, reason = rig.set(name, value)
        assert not successful
        assert words in reason, reason
        if before is not None:
            assert rig.get(name) == before
        return f'"{reason}"'


@fault(
    "Parameters",
    "wrong ones at the start",
    "the process ends with code 2 and one line that names them all",
    needs="models",
)
def bad_start(models):
    command = [sys.executable, "-m", "sage_fusion_ros.nodes.fusion_node", "--ros-args"]
    wrong = ["-p", "fusion.modle:=x", "-p", "rate.max_hz:=-3.0"]
    done = subprocess.run([*command, *wrong], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "fusion.modle is unknown (did you mean fusion.model?)" in done.stderr
    assert "rate.max_hz is -3.0" in done.stderr
    assert "Traceback" not in done.stderr
    return "exit code 2, both named"


@fault("QoS", "a publisher whose reliability does not fit", "named with both profiles; other publishers are heard")
def qos_mismatch(rig):
    qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
    second = rig.node.create_publisher(Image, "/fusion_node/input/rgb", qos)
    try:
        rig.until(lambda: rig.value("input rgb", "qos_mismatch") == "RELIABILITY", "the mismatch in diagnostics")
        rig.good_pair()
    finally:
        rig.node.destroy_publisher(second)
    return "qos_mismatch RELIABILITY in diagnostics, pairs meanwhile"


@fault("Subscribers", "they come and go ten times", "each hears images, and those who stay lose none")
def subscribers_come_and_go(rig):
    for _ in range(10):
        heard = []
        subscription = rig.node.create_subscription(Image, "/fusion_node/output/overlay", heard.append, 1)
        rig.until(lambda heard=heard: heard, "an overlay")
        rig.node.destroy_subscription(subscription)
    return "each heard images, and pairs went on"


@fault("Subscribers", "one is killed with SIGKILL", "the others hear every image; nothing waits for it")
def subscriber_killed(rig):
    code = (
        "import rclpy, sys; from sensor_msgs.msg import Image; rclpy.init(); node = rclpy.create_node('doomed');"
        "node.create_subscription(Image, '/fusion_node/output/fused', lambda _: print('heard', flush=True), 10);"
        "rclpy.spin(node)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], env=rig.environment, stdout=subprocess.PIPE)
    try:
        heard = []
        thread = threading.Thread(target=lambda: heard.append(process.stdout.readline()), daemon=True)
        thread.start()
        rig.until(lambda: heard, "the process's first image")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    return "pairs at once"


@fault("Subscribers", "one that is reliable and never reads", "the node does not wait for it")
def subscriber_asleep(rig):
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import rclpy, time; from sensor_msgs.msg import Image; rclpy.init(); node = rclpy.create_node('asleep');"
            "node.create_subscription(Image, '/fusion_node/output/fused', print, 1); print(flush=True); time.sleep(60)",
        ],
        env=rig.environment,
        stdout=subprocess.PIPE,
    )
    try:
        process.stdout.readline()
        rig.until(lambda: rig.node.count_subscribers("/fusion_node/output/fused") >= 2, "the subscriber")
        before = len(rig.fused)
        rig.until(lambda: len(rig.fused) > before + 20, "images", gap_s=0.01)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    return "20 images to the other subscriber meanwhile"


@fault(
    "Lifecycle",
    "deactivated while pairs flow, and activated",
    "what waits is dropped as stopped; pairs again",
    restarts=True,
)
def deactivated(rig):
    for _ in range(2):
        for _ in range(5):
            rig.step(gap_s=0.0)
        assert rig.change_state("deactivate")
        assert rig.state() == "inactive"
        assert rig.change_state("activate")
        rig.wait_for_subscriptions()
        rig.good_pair()
    return "twice, pairs each time"


@fault(
    "Lifecycle",
    "deactivated in mid-inference",
    "the pair in work is finished first, and it is active again",
    restarts=True,
)
def deactivated_in_inference(rig):
    assert rig.set("fusion.model", "slow")[0]
    large = picture(RGB, 1, 480, 640)
    for _ in range(3):
        rig.step(rgb=large, gap_s=0.05)
    assert rig.change_state("deactivate")
    assert rig.set("fusion.model", "sage_fast")[0]
    assert rig.change_state("activate")
    rig.wait_for_subscriptions()
    return "inactive, then pairs again"


@fault("Lifecycle", "activated before it is configured", "refused, and answered; still unconfigured", needs="idle")
def activate_unconfigured(rig):
    assert not rig.change_state("activate")
    assert rig.state() == "unconfigured"
    return "success = false"


@fault("Lifecycle", "configured twice", "the second is refused, and answered; the first holds", needs="idle")
def configured_twice(rig):
    assert rig.change_state("configure")
    assert not rig.change_state("configure")
    assert rig.state() == "inactive"
    assert rig.change_state("cleanup")
    return "success = false, inactive"


@fault(
    "Lifecycle",
    "configured with a model that is not there",
    "unconfigured, why in diagnostics; right once it is",
    needs="idle",
)
def configured_without_model(rig):
    assert rig.set("fusion.model", "nowhere")[0]
    assert not rig.change_state("configure")
    rig.wait(lambda: "no model named 'nowhere'" in rig.message("engine"), "the reason in diagnostics")
    assert rig.set("fusion.model", "sage_fast")[0]
    assert rig.change_state("configure")
    assert rig.change_state("cleanup")
    return "\"no model named 'nowhere'\", then configured"


HEAD = "format: sage_fusion_calibration\nversion: 1\nmethod: homography\nrgb_size: [64, 48]\nthermal_size: [64, 48]\n"
CALIBRATIONS = (
    ("that is not there", None, "can't be read"),
    ("that is no YAML", "a: [", "YAML"),
    ("that is no calibration", "hello: world\n", "does not begin with 'format"),
    ("with NaN in its matrix", f"{HEAD}homography: [[.nan, 0, 0], [0, 1, 0], [0, 0, 1]]\n", "not finite"),
)
for what, text, words in CALIBRATIONS:

    @fault("Files", f"a calibration file {what}", "configure fails with the file's name and the reason", needs="idle")
    def bad_calibration(rig, text=text, words=words):
        path = rig.tmp / "calibration.yaml"
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text)
        rig.statuses.pop("engine", None)
        assert rig.set("registration.method", "homography")[0]
        assert rig.set("registration.file", str(path))[0]
        assert not rig.change_state("configure")
        assert rig.state() == "unconfigured"
        rig.wait(lambda: str(path) in rig.message("engine"), "the file in diagnostics")
        said = rig.message("engine")
        assert words in said, said
        assert rig.set("registration.method", "none")[0]
        assert rig.set("registration.file", "")[0]
        return f'"{shown(said)}"'


def refused_start(node, *parameters):
    """Starts a node that can't write; returns the line it ends with."""
    arguments = [word for parameter in parameters for word in ("-p", parameter)]
    command = [sys.executable, "-m", f"sage_fusion_ros.nodes.{node}", "--ros-args", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr.splitlines()[-1]


@fault("Files", "replay_node's log goes to a full disk", "ends with code 2 and one line that says so", needs="models")
def disk_full(models):
    said = refused_start("replay_node", "log_path:=/dev/full", "wait_for_subscribers:=0")
    assert "log_path /dev/full can't be written any more: No space left on device" in said
    return f'"{said}"'


@fault("Files", "recorder_node's folder can't be made", "ends with code 2 and one line that says so", needs="models")
def no_folder(models):
    said = refused_start("recorder_node", f"log_path:={models}/sage_fast/model.onnx/log.jsonl")
    assert "can't be written" in said
    return f'"{shown(said)}"'


def ended(models, what, times, model="slowish", act=None):
    """Streams, and sends a signal so many times in the middle; returns what was seen."""
    with FaultRig(models, **{"fusion.model": model}) as rig:
        rig.wait_for_subscriptions()
        if act is not None:
            act(rig)
        else:
            rig.good_pair()
            for _ in range(3):
                rig.step(rgb=picture(RGB, 1, 480, 640), gap_s=0.0)
        for _ in range(times):
            os.kill(rig.process.pid, what)
        assert rig.process.wait(60) == 0
        assert "Traceback" not in rig.log
    return "exit code 0, no traceback"


@fault("Signals", "SIGINT twice in mid-inference", "a clean end with code 0", needs="models")
def interrupted(models):
    return ended(models, signal.SIGINT, 2)


@fault("Signals", "SIGTERM in mid-inference", "a clean end with code 0", needs="models")
def terminated(models):
    return ended(models, signal.SIGTERM, 1)


@fault("Signals", "SIGINT while a model loads", "a clean end with code 0 once it is loaded", needs="models")
def interrupted_in_load(models):
    def load(rig):
        seen = rig.log.count("loading model ponderous")
        rig.ask("fusion.model", "ponderous")
        rig.wait(lambda: rig.log.count("loading model ponderous") > seen, "the load")

    return ended(models, signal.SIGINT, 1, "sage_fast", load)


@fault(
    "Signals",
    "SIGKILL, and a new process in its place",
    "the new one streams; nothing of the old is in its way",
    restarts=True,
)
def killed(rig):
    rig.process.kill()
    rig.process.wait()
    rig.start()
    rig.wait_for_subscriptions()
    rig.good_pair()
    return "pairs again from the new process"
