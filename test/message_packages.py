"""Message packages that are not among the ROS wheels: found here, or skipped on a ROS install that lacks them."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
import rclpy

# Without a ROS install, make compiles what the tests need, and a package that is missing is a failure.
ON_ROS_INSTALL = not Path(rclpy.__file__).is_relative_to(sys.prefix)


def messages_of(package: str) -> ModuleType:
    """The module with a package's message types."""
    try:
        return importlib.import_module(f"{package}.msg")
    except ModuleNotFoundError:
        if ON_ROS_INSTALL:
            pytest.skip(f"{package} is not part of this ROS install")
        raise


def compiled_messages_of(package: str) -> ModuleType:
    """The same, where it was compiled from the definitions in this project."""
    module = messages_of(package)
    if ON_ROS_INSTALL:
        pytest.skip(f"{package} comes from this ROS install")
    return module
