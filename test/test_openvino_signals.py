"""OpenVINO leaves the process able to take signals, whichever thread frees a network."""

import subprocess
import sys

from mock_models import make_model


def test_a_signal_after_another_thread_let_go_of_a_network_is_handled(tmp_path):
    """As after a model change: the main thread has loaded the network, the worker frees it, and Ctrl-C comes."""
    model = make_model(tmp_path / "mock")
    script = f"""
import os, signal, threading
from sage_fusion_ros.pipeline.fuse import load_fuser
from sage_fusion_ros.pipeline.network import NetworkOptions
caught = []
signal.signal(signal.SIGINT, lambda *_: caught.append(1))
held = [load_fuser({str(model)!r}, NetworkOptions("openvino", threads=1, warm_up_size=(64, 64)))]
thread = threading.Thread(target=held.clear)
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGINT)
print("caught", len(caught))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert (run.returncode, run.stdout) == (0, "caught 1\n"), run.stderr
