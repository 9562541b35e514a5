"""fusion_node as a process of its own, and a client node that plays both cameras and listens to the outputs."""

import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, TimeReference

from sage_fusion_ros.pipeline.image_codec import encode

MS = 1_000_000
# Beside the one of the test run, which lies below; in an order of chance, since two test runs may share a machine.
_domains = itertools.cycle(random.SystemRandom().sample(range(102, 230), 128))
TRANSITIONS = {"configure": 1, "cleanup": 2, "activate": 3, "deactivate": 4}


def to_message(image, stamp_ns, frame_id="rgb_optical", **changes):
    """An array as sensor_msgs/Image; changes overwrite fields."""
    encoded = encode(image)
    message = Image()
    message.header.frame_id = frame_id
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 1_000_000_000)
    for field in ("height", "width", "encoding", "is_bigendian", "step", "data"):
        setattr(message, field, changes.get(field, getattr(encoded, field)))
    return message


def stamp_of(message):
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


UNJUDGED = {"degraded.frozen_ms": 0.0, "degraded.check_images": "false"}


class NodeRig:
    """Use as a context manager; parameters go to the node's command line. Without one there is no perception model.

    Nor does the node judge what images look like or whether they move: most tests send one flat image again and again.
    """

    def __init__(self, models, *, reliable=True, environment=None, **parameters):
        defaults = {"models.path": f"['{models}']", "diagnostics.period_s": 0.1, "perception.model": "''", **UNJUDGED}
        parameters = {**defaults, **parameters}
        arguments = [a for name, value in parameters.items() for a in ("-p", f"{name}:={value}")]
        # A graph of its own, since every rig's node has the same name.
        domain = next(_domains)
        self.environment = {**os.environ, "ROS_DOMAIN_ID": str(domain), **(environment or {})}
        self._command = [sys.executable, "-m", "sage_fusion_ros.nodes.fusion_node", "--ros-args", *arguments]
        self._errors = []
        self.start()
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("cameras", context=self.context)
        self.fused, self.pairs, self.infos, self.statuses = [], [], [], {}
        reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        qos = QoSProfile(depth=10, reliability=reliability)
        self.publishers = {
            c: self.node.create_publisher(Image, f"/fusion_node/input/{c}", qos) for c in ("rgb", "thermal")
        }
        self.info_publisher = self.node.create_publisher(CameraInfo, "/fusion_node/input/rgb_camera_info", qos)
        self.node.create_subscription(Image, "/fusion_node/output/fused", self.fused.append, 10)
        self.node.create_subscription(TimeReference, "/fusion_node/debug/pair_stamps", self.pairs.append, 10)
        self.node.create_subscription(CameraInfo, "/fusion_node/output/camera_info", self.infos.append, 10)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._set = self.node.create_client(SetParameters, "/fusion_node/set_parameters")
        self._change = self.node.create_client(ChangeState, "/fusion_node/change_state")
        self._get_state = self.node.create_client(GetState, "/fusion_node/get_state")
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()
        self.index = 0
        self.base_ns = time.time_ns()

    def start(self):
        """Starts the node's process; again where it has ended."""
        self.process = subprocess.Popen(
            self._command, stderr=subprocess.PIPE, text=True, start_new_session=True, env=self.environment
        )
        self._reader = threading.Thread(target=self._read_errors, args=[self.process.stderr], daemon=True)
        self._reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._executor.shutdown()
        self._thread.join(10)
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)

    def _read_errors(self, stream):
        for line in stream:
            self._errors.append(line)

    @property
    def log(self):
        """What the node has logged so far."""
        return "".join(self._errors)

    def _on_diagnostics(self, message):
        for status in message.status:
            part = status.name.partition(": ")[2]
            self.statuses[part] = (status, {pair.key: pair.value for pair in status.values})

    def wait(self, condition, what, seconds=30):
        """Waits for a condition while the node lives."""
        end = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"the node ended with {self.process.returncode}: {self.log}"
            assert time.monotonic() < end, f"{what} never came; the node said: {self.log}; {self.statuses}"
            time.sleep(0.01)

    def wait_for_subscriptions(self):
        """Waits until both cameras and the output are connected."""
        publishers = self.publishers.values()
        self.wait(lambda: all(p.get_subscription_count() for p in publishers), "the node's subscriptions")
        self.wait(lambda: self.node.count_publishers("/fusion_node/output/fused"), "the node's publisher")

    def message(self, part):
        """The newest diagnostics text of a part."""
        return self.statuses[part][0].message if part in self.statuses else ""

    def value(self, part, key):
        """The newest diagnostics value of a part, as text."""
        return self.statuses[part][1].get(key, "") if part in self.statuses else ""

    def send(self, rgb=None, thermal=None, *, stamp_ns=None):
        """Publishes one pair, of default images, arrays, messages as they are, or False for none; returns its stamp."""
        if stamp_ns is None:
            self.index += 1
            stamp_ns = self.base_ns + self.index * 33 * MS
        default = {"rgb": np.full((48, 64, 3), 60, np.uint8), "thermal": np.full((48, 64), 100, np.uint8)}
        for camera, given in (("rgb", rgb), ("thermal", thermal)):
            if given is False:
                continue
            if not isinstance(given, Image):
                given = to_message(default[camera] if given is None else given, stamp_ns, f"{camera}_optical")
            self.publishers[camera].publish(given)
        return stamp_ns

    def fuse_one(self, rgb=None, thermal=None):
        """Sends pairs until one sent from now on comes back fused, and returns it."""
        first, seen = self.index + 1, len(self.fused)
        end = time.monotonic() + 30
        while True:
            wanted = self.base_ns + first * 33 * MS
            found = [m for m in self.fused[seen:] if stamp_of(m) >= wanted]
            if found:
                return found[0]
            assert time.monotonic() < end, f"no pair came back: {self.log} {self.statuses}"
            assert self.process.poll() is None, self.log
            self.send(rgb, thermal)
            time.sleep(0.03)

    def _call(self, client, request, seconds=30):
        assert client.wait_for_service(seconds), f"no service {client.srv_name}: {self.log}"
        done = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: done.set())
        assert done.wait(seconds), f"{client.srv_name} did not answer: {self.log}"
        return future.result()

    def set(self, name, value):
        """Sets a parameter; returns (successful, reason)."""
        parameter = Parameter(name, value=value).to_parameter_msg()
        assert isinstance(parameter, ParameterMessage)
        result = self._call(self._set, SetParameters.Request(parameters=[parameter])).results[0]
        return result.successful, result.reason

    def change_state(self, transition):
        """Asks for a lifecycle transition; returns whether it succeeded."""
        request = ChangeState.Request()
        request.transition.id = TRANSITIONS[transition]
        return self._call(self._change, request, 60).success

    def state(self):
        """The lifecycle state's name."""
        return self._call(self._get_state, GetState.Request()).current_state.label

    def interrupt(self, times=1):
        """Sends SIGINT so many times; returns the exit code."""
        for _ in range(times):
            os.kill(self.process.pid, signal.SIGINT)
            time.sleep(0.004)
        return self.process.wait(20)
