"""Launch files under the real launch: launch_testing's own tool on a test file, and an ear outside the launched graph.

Each test_*_launch.py is a file as `launch_test` takes it (generate_test_description, unittest cases) and holds one
pytest test that runs this tool on it, in the workspace where colcon has installed the package. pytest leaves the
unittest cases alone (__test__ = False): they run inside the launch.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
import unittest
from pathlib import Path

import pytest

TOOL = "from launch_testing.launch_test import main; main()"
# What `ros2 launch FILE ARGUMENTS` does, for where the ros2 command is not.
LAUNCH = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import AnyLaunchDescriptionSource

service = LaunchService()
arguments = [argument.split(":=", 1) for argument in sys.argv[2:]]
included = IncludeLaunchDescription(AnyLaunchDescriptionSource(sys.argv[1]), launch_arguments=arguments)
service.include_launch_description(LaunchDescription([included]))
sys.exit(service.run())
"""


class Launched(unittest.TestCase):
    """A unittest case of a launch_testing file, which pytest leaves alone."""

    __test__ = False


class Ear:
    """A node of its own beside what is launched. Use as a context manager."""

    def __enter__(self):
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self.node = rclpy.create_node("ear", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()
        return self

    def _spin(self):
        while not self._stopped.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def __exit__(self, *_):
        self._stopped.set()  # an executor shut down while it spins ends its thread by an exception
        self._thread.join(10)
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.shutdown()

    def listen(self, kind, topic):
        """A list that every message of a topic is added to."""
        heard = []
        self.node.create_subscription(kind, topic, heard.append, 10)
        return heard

    def call(self, kind, service, **request):
        """A service's answer."""
        client = self.node.create_client(kind, service)
        assert client.wait_for_service(60), f"no service {service}"
        answer = client.call_async(kind.Request(**request))
        self.wait(answer.done, f"an answer of {service}")
        return answer.result()

    def wait(self, condition, what, seconds=90):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"waited {seconds} s for {what}"
            time.sleep(0.05)


def run(command, workspace, folder, seconds=240):
    """Runs a launching command in the sourced workspace; returns its exit code and all it wrote."""
    here = str(Path(__file__).parent)
    environment = dict(workspace.environment)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [here, environment.get("PYTHONPATH", "")]))
    with (folder / "log").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            code = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # launch, and whatever it may have left behind
            process.wait()
        log.seek(0)
        return code, log.read()


@pytest.fixture
def launch_test(workspace, tmp_path):
    """Runs launch_testing's tool on a file."""

    def launch_test(file):
        code, text = run(["-c", TOOL, file], workspace, tmp_path)
        print(text)
        assert code == 0, text
        assert re.search(r"Ran [1-9]\d* test", text), text

    return launch_test


@pytest.fixture
def launch(workspace, tmp_path):
    """Runs an installed launch file to its own end; returns its exit code and all it wrote."""

    def launch(name, *arguments):
        file = workspace.prefix / "share" / "sage_fusion_ros" / "launch" / name
        return run(["-c", LAUNCH, str(file), *arguments], workspace, tmp_path)

    return launch
