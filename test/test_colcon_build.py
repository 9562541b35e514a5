"""The package as users install it: by colcon into a workspace, by pip into an environment."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import rclpy
from workspace import NOT_COPIED

PACKAGE = "sage_fusion_ros"
SHARE = f"from {PACKAGE}.resources import share_dir; print(share_dir())"
INDEX = f"from ament_index_python.packages import get_package_share_directory as d; print(d('{PACKAGE}'))"

# A replay ends by itself unless it loops.
ARGUMENTS = {
    "fusion_node": [],
    "replay_node": ["--ros-args", "-p", "source:=synthetic", "-p", "loop:=true"],
    "recorder_node": [],
}


def installed_files(project: Path) -> list[str]:
    """What has to be in the share folder, relative to it: all that stands in the source tree."""
    folders = ("launch", "config", "models")
    found = [path for folder in folders for path in (project / folder).rglob("*") if path.is_file()]
    return [str(path.relative_to(project)) for path in found if "__pycache__" not in path.parts]


def test_the_ament_index_finds_it(workspace):
    asked = workspace.run(sys.executable, "-c", INDEX)
    assert asked.stdout.strip() == str(workspace.prefix / "share" / PACKAGE), asked.stderr


def test_its_own_code_finds_its_files(workspace, project):
    asked = workspace.run(sys.executable, "-c", SHARE)
    assert asked.returncode == 0, asked.stderr
    share = Path(asked.stdout.strip())
    assert share == workspace.prefix / "share" / PACKAGE
    for name in ["launch/fusion.launch.py", "config/fusion.param.yaml", *installed_files(project)]:
        assert (share / name).is_file(), f"{name} is not installed; see data_files in setup.py"


def test_every_entry_point_is_an_executable(workspace, project):
    names = re.findall(r'"([\w-]+) = sage_fusion_ros', (project / "setup.py").read_text(encoding="utf-8"))
    assert "fusion_node" in names
    for name in names:
        assert os.access(workspace.executable(name), os.X_OK), name


def test_the_command_starts(workspace):
    helped = workspace.run(workspace.executable("sage-fusion"), "--help")
    assert helped.returncode == 0, helped.stderr
    assert "demo" in helped.stdout


@pytest.fixture
def graph():
    """A node that sees which others there are."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("watcher", context=context)
    yield node
    node.destroy_node()
    context.shutdown()


@pytest.mark.parametrize("name", ["fusion_node", "replay_node", "recorder_node"])
def test_a_node_comes_up_and_stops(workspace, graph, tmp_path, name):
    with (tmp_path / "log").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(
            [workspace.executable(name), *ARGUMENTS[name]],
            cwd=tmp_path,
            env=workspace.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            deadline = time.monotonic() + 60
            while name not in graph.get_node_names() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
            seen = name in graph.get_node_names()
            process.send_signal(signal.SIGINT)
            code = process.wait(timeout=30)
        finally:
            process.kill()
            process.wait()
        log.seek(0)
        assert (seen, code) == (True, 0), log.read()


def test_a_wheel_finds_its_files(project, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(project, source, ignore=NOT_COPIED)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheel = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(source)]
    subprocess.run(wheel, check=True, timeout=120)
    built = next(tmp_path.glob("*.whl"))
    subprocess.run(
        # Without --ignore-installed pip would take the environment's own install of the package away.
        [
            *pip,
            "install",
            "--ignore-installed",
            "--no-deps",
            "--no-index",
            "--prefix",
            str(tmp_path / "prefix"),
            str(built),
        ],
        check=True,
        timeout=120,
    )
    package = next((tmp_path / "prefix").rglob(f"{PACKAGE}/resources.py"))
    asked = subprocess.run(
        [sys.executable, "-c", SHARE],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(package.parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr
    share = Path(asked.stdout.strip())
    assert share.is_relative_to(tmp_path / "prefix")
    assert all((share / name).is_file() for name in installed_files(project))
