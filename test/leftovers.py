"""Gives back the shared memory of the nodes that tests have killed: Fast DDS keeps up to 68 MB for each."""

import time

import pytest

from sage_fusion_ros.cli.shared_memory import remove_leftovers

START = pytest.StashKey[float]()


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[START] = time.time()


def pytest_sessionfinish(session: pytest.Session) -> None:
    remove_leftovers(since=session.config.stash[START] - 1)
