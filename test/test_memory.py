"""Freed image buffers stay in a node's process, and what is not taken again is given back in time."""

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
kept = blocks[::10]
del blocks
freed = resident_mb() - begin
process.trim()
print(held, freed, resident_mb() - begin, len(kept))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resident memory is read from /proc")
def test_memory_stays_until_it_is_trimmed(tmp_path):
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    held, freed, trimmed, _ = (float(word) for word in run.stdout.split())
    assert held > 95
    assert freed > 95, "glibc would have given it back at once, to take it anew for the next image"
    assert trimmed < 30, "ten of a hundred blocks are still held"
