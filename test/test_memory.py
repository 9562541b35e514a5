"""Freed image buffers stay in a node's process, for the next image."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from sage_fusion_ros.nodes import process

def resident_mb():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024

process.keep_freed_memory()
begin = resident_mb()
blocks = [b"x" * (1 << 20) for _ in range(100)]
held = resident_mb() - begin
del blocks
print(held, resident_mb() - begin)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resident memory is read from /proc")
def test_freed_memory_stays():
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    held, freed = (float(word) for word in run.stdout.split())
    assert held > 95
    assert freed > 95, "glibc would have given it back at once, to take it anew for the next image"
