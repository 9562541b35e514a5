"""An engine holds as much memory after thousands of runs as after the first."""

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes
import numpy as np
from sage_fusion_ros.engines.load import load_engine
from sage_fusion_ros.engines.models import find_model
from sage_fusion_ros.engines.options import EngineOptions

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
libc.mallopt(-3, 32 << 20)  # all in the heap, where it is counted

def held():
    info = libc.mallinfo2()
    return info.uordblks + info.hblkhd

feeds = {name: np.zeros((1, 1, 240, 320), np.float32) for name in ("rgb_luma", "thermal")}
engine = load_engine(find_model("sage_fast"), EngineOptions(device="cpu", threads=2), lambda it: it.run(feeds))
for _ in range(20):
    engine.run(feeds)
before = held()
for _ in range(1200):
    engine.run(feeds)
print(held() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the heap is read by glibc's mallinfo2")
def test_an_engine_does_not_grow_with_its_runs():
    """A session of ONNX Runtime that was profiled once did, by 200 bytes a run, which is a gigabyte a day."""
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 100_000
