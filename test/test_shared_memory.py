"""Shared memory of processes that are gone is given back, of those that live it is not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sage_fusion_ros.cli.shared_memory import PLACE, remove_leftovers
from sage_fusion_ros.resources import fast_dds_profile

NODE = (
    "import rclpy, sys, time; rclpy.init(); node = rclpy.create_node('held'); print('up', flush=True); time.sleep(60)"
)


@pytest.fixture
def node():
    environment = {**os.environ, **fast_dds_profile()}
    process = subprocess.Popen(
        [sys.executable, "-c", NODE], stdout=subprocess.PIPE, text=True, start_new_session=True, env=environment
    )
    assert process.stdout.readline() == "up\n"
    yield process
    process.kill()
    process.wait()


def segments():
    return {path for path in PLACE.glob("fast*") if "port" not in path.name}


def test_a_killed_nodes_segment_goes_and_a_living_ones_stays(node):
    start = time.time() - 60
    held = open_files(node.pid)
    assert held, "the node holds a lock file"
    remove_leftovers(since=start, settled_s=0)
    assert held <= segments(), "it lives"
    os.killpg(node.pid, signal.SIGKILL)
    node.wait()
    assert held <= segments(), "nobody gives it back by itself"
    assert remove_leftovers(since=start, settled_s=0) >= 1
    assert not held & segments()


def open_files(pid):
    """Lock files in shared memory that a process or its children hold."""
    pids = [pid, *children(pid)]
    links = [link for one in pids for link in Path(f"/proc/{one}/fd").iterdir()]
    return {Path(target) for link in links if (target := os.readlink(link)).startswith(f"{PLACE}/fast")
            and target.endswith("_el") and "port" not in target}  # fmt: skip


def children(pid):
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listed]


def test_what_is_older_or_no_segment_is_left_alone(tmp_path):
    for name in ("fastdds_a", "fastdds_a_el", "fastrtps_b", "fastrtps_b_el", "fastdds_port7400_el", "other_el"):
        (tmp_path / name).touch()
    os.utime(tmp_path / "fastdds_a_el", (1, 1))
    assert remove_leftovers(tmp_path, since=100) == 0, "who made it may be about to lock it"
    assert remove_leftovers(tmp_path, since=100, settled_s=-1) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "fastdds_a",
        "fastdds_a_el",
        "fastdds_port7400_el",
        "other_el",
    ]
    assert remove_leftovers(tmp_path, settled_s=-1) == 1
    assert remove_leftovers(tmp_path / "missing") == 0
