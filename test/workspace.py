"""A colcon workspace with this package in it, built once for the tests that need an installed package."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = "sage_fusion_ros"
NOT_COPIED = shutil.ignore_patterns(
    ".*", "build", "install", "log", "dist", "demo_output", "runs", "*.egg-info", "__pycache__"
)


@dataclass(frozen=True)
class Workspace:
    """A built workspace.

    Attributes:
        root: Folder of src/, build/ and install/.
        environment: Variables of a shell that has sourced it.
    """

    root: Path
    environment: dict[str, str]

    @property
    def prefix(self) -> Path:
        """Where colcon has installed the package."""
        return self.root / "install" / PACKAGE

    def executable(self, name: str) -> str:
        """Path of one of the package's executables."""
        return str(self.prefix / "lib" / PACKAGE / name)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in the sourced workspace, outside the source tree."""
        return subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )


@pytest.fixture(scope="session")
def workspace(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The package built by colcon from a clean copy of the source tree."""
    root = tmp_path_factory.mktemp("workspace")
    shutil.copytree(project, root / "src" / PACKAGE, ignore=NOT_COPIED)
    environment = os.environ | {"COLCON_HOME": str(root)}
    build = subprocess.run(
        # By this interpreter, whose path colcon writes into the executables; older colcons know no "-m colcon".
        [sys.executable, "-c", "from colcon_core.command import main; raise SystemExit(main())", "build"],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert build.returncode == 0, build.stdout + build.stderr
    sourced = subprocess.run(
        ["bash", "-c", '. "$0" >&2 && env -0', str(root / "install" / "local_setup.bash")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return Workspace(root, dict(entry.partition("=")[::2] for entry in sourced.stdout.split("\0") if entry))
