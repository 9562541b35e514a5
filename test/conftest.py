"""What every test stands on: a ROS graph of its own, and a list of the skips that are allowed."""

import os
import random
import sys
from pathlib import Path

import pytest

# Before any import of rclpy, and inherited by the processes that tests start.
os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"
os.environ["ROS_DOMAIN_ID"] = str(random.SystemRandom().randint(1, 100))
if os.environ.get("ROS_DISTRO") == "humble":
    os.environ["ROS_LOCALHOST_ONLY"] = "1"
else:
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
# In a virtual environment with ROS 2 from PyPI nothing is sourced, and the ament index needs a place to look in.
os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)

pytest_plugins = ["skip_guard", "leftovers", "workspace", "launch_rig"]

PROJECT = Path(__file__).resolve().parents[1]
SHARED_DATA = PROJECT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def project() -> Path:
    """Root of the source tree."""
    return PROJECT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Public recordings and photographs kept beside the project; too large and not ours to commit."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no shared data beside the project")
    return SHARED_DATA
