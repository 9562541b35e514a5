"""Runs the soak: fusion_node and two cameras as processes over DDS, the faults, and what was seen of it all."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from camera import read_stamps
from listener import Listener
from scene import images, number_of

from sage_fusion_ros.cli.processes import Child, Children, Signals
from sage_fusion_ros.errors import SageFusionError
from sage_fusion_ros.pipeline.fuse import load_fuser
from sage_fusion_ros.pipeline.network import NetworkOptions

HERE = Path(__file__).parent
CAMERAS = ("rgb", "thermal")
START_S = 90.0
FIRST_RATE_HZ, MOST_HZ = 30.0, 480.0
# When in each cycle, as a share of it, what happens for what share of it, and to which camera, in turn.
FAULTS = (
    (0.10, "die", 0.13, ("rgb", "thermal")),
    (0.40, "freeze", 0.13, ("thermal", "rgb")),
    (0.70, "stall", 0.13, ("rgb", "thermal")),
)
SIGNALS = {"die": signal.SIGKILL, "freeze": signal.SIGUSR1, "stall": signal.SIGSTOP}
BACK = {"freeze": signal.SIGUSR2, "stall": signal.SIGCONT}


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes:
        minutes: How long, after the rate that the node sustains was found.
        folder: Where files go.
        size: Height and width of the images.
        parameters: Those of the node, as name:=value.
        measure_s: How long a rate is measured; half as long it settles before.
        cycle_s: Time in which each fault happens once.
    """

    minutes: float
    folder: Path
    size: tuple[int, int]
    parameters: tuple[str, ...]
    measure_s: float = 10.0
    cycle_s: float = 60.0


class Soak:
    """One run; `run` gives the record that judge.py takes."""

    def __init__(self, plan: Plan, children: Children, signals: Signals) -> None:
        self._plan, self._children, self._signals = plan, children, signals
        self._listener = Listener()
        self._numbers = itertools.count(1)
        self._cameras: dict[str, Child] = {}
        self._rate_hz = FIRST_RATE_HZ
        self._node: Child | None = None
        self._samples: list[dict[str, Any]] = []
        self._faults: list[dict[str, Any]] = []
        self._ended_early = ""
        self._began = 0.0
        self._seen = 0  # of the listener's fused images, by the samples
        self._before: dict[str, float] = {}

    def run(self) -> dict[str, Any]:
        """Starts everything, overloads the node, lets the cameras fail for the minutes planned, and stops it all."""
        try:
            parameters = [argument for text in self._plan.parameters for argument in ("-p", text)]
            command = [sys.executable, "-m", "sage_fusion_ros.nodes.fusion_node", "--ros-args", *parameters]
            self._node = self._children.start("fusion_node", command)
            for camera in CAMERAS:
                self._start(camera)
            self._wait(lambda: len(self._listener.fused) > 3, START_S, "no fused image came")
            sustained = self._overload()
            self._began = time.monotonic()
            print(f"{sustained:.1f} Hz sustained, {self._rate_hz:.1f} Hz sent; {self._plan.minutes:g} min", flush=True)
            self._stream()
            return self._finish(sustained)
        finally:
            self._listener.close()

    def _overload(self) -> float:
        """Finds the rate that the node sustains, and sends three times as much; returns what it sustains then."""
        while True:
            rate = self._measure()
            if rate < 0.8 * self._rate_hz or self._rate_hz >= MOST_HZ:
                break
            self._restart(2 * self._rate_hz)
        for _ in range(4):
            self._restart(3 * rate)
            rate = self._measure()
            if self._rate_hz >= 3 * rate:
                break
        return rate

    def _restart(self, rate_hz: float) -> None:
        self._rate_hz = rate_hz
        self._children.stop(list(self._cameras.values()))
        logs = [self._start(camera) for camera in CAMERAS]
        self._wait(lambda: all(read_stamps(log) for log in logs), START_S, "the cameras did not start again")

    def _measure(self) -> float:
        self._pause(self._plan.measure_s / 2)
        fused, began = len(self._listener.fused), time.monotonic()
        self._pause(self._plan.measure_s)
        rate = (len(self._listener.fused) - fused) / (time.monotonic() - began)
        if not rate:
            raise SageFusionError(f"nothing came out in {self._plan.measure_s:g} s at {self._rate_hz:.0f} Hz")
        return rate

    def _stream(self) -> None:
        """Samples once a second; in between the cameras fail and return."""
        end, cycle = self._plan.minutes * 60, self._plan.cycle_s
        coming = [
            ((i + at) * cycle, kind, lasts * cycle, turns[i % len(turns)])
            for i in range(round(end / cycle + 0.5))
            for at, kind, lasts, turns in FAULTS
            if (i + at + lasts + 0.1) * cycle < end
        ]
        back: list[tuple[float, dict[str, Any]]] = []
        # What is planned happens, though a slow return of the one before makes it late.
        while (self._now() < end or coming or back) and not self._signals.received and not self._ended_early:
            now = self._now()
            if coming and coming[0][0] <= now and not back:  # one at a time
                _, kind, lasts, camera = coming.pop(0)
                fault = {"t": now, "camera": camera, "kind": kind, "recovery_s": None, "difference": None}
                self._cameras[camera].send(SIGNALS[kind])
                back.append((now + lasts, fault | {"returned_t": now + lasts}))
            if back and back[0][0] <= now:
                self._bring_back(back.pop(0)[1])
            self._sample()
            time.sleep(max(0.0, 1.0 - (self._now() - now)))
        if self._signals.received:
            self._ended_early = "interrupted"

    def _bring_back(self, fault: dict[str, Any]) -> None:
        """Ends a fault, and waits for the first pair of two images sent since."""
        camera, kind = fault["camera"], fault["kind"]
        since = time.time_ns()
        if kind == "die":
            log = self._start(camera)
            self._wait(lambda: read_stamps(log)[-1:] > [since], START_S, f"camera {camera} did not start again")
            since = next(stamp for stamp in read_stamps(log) if stamp > since)
        else:
            self._cameras[camera].send(BACK[kind])
        fault["returned_t"] = self._now()
        self._faults.append(fault)
        first = len(self._listener.pairs)
        found: list[tuple[int, int]] = []

        def paired() -> bool:
            found[:] = [pair for pair in self._listener.pairs[first:] if min(pair) >= since][:1]
            return bool(found) and self._listener.image(found[0][0]) is not None

        end = time.monotonic() + 10
        while not paired() and time.monotonic() < end:
            time.sleep(0.005)
        if found:
            arrived = next(arrived for stamp, arrived in reversed(self._listener.fused) if stamp == found[0][0])
            fault["recovery_s"] = (arrived - since) / 1e9
            fault["pair"] = found[0]
            fault["image"] = self._listener.image(found[0][0])

    def _sample(self) -> None:
        status = dict(
            line.split(":", 1)
            for line in Path(f"/proc/{self._node.pid}/status").read_text().splitlines()
            if ":" in line
        )
        if "VmRSS" not in status:
            self._ended_early = f"fusion_node ended: {self._node.tail()}"
            return
        arrivals = self._listener.fused[self._seen :]
        self._seen += len(arrivals)
        latencies = [(arrived - stamp) / 1e6 for stamp, arrived in arrivals]
        totals = {
            "t": self._now(),
            "sent": self._listener.number("input rgb", "received"),
            "out": self._listener.number("pairing", "fused"),
            "dropped": self._listener.number("pairing", "dropped"),
        }
        span = totals["t"] - self._before.get("t", totals["t"] - 1)
        rates = {
            f"{key}_hz": (totals[key] - self._before.get(key, totals[key])) / span for key in ("sent", "out", "dropped")
        }
        self._before = totals
        self._samples.append(
            {
                "t": totals["t"],
                "rss_mb": int(status["VmRSS"].split()[0]) / 1024,
                "threads": int(status["Threads"]),
                "files": len(os.listdir(f"/proc/{self._node.pid}/fd")),
                "latency_p50": float(np.percentile(latencies, 50)) if latencies else None,
                "latency_p95": float(np.percentile(latencies, 95)) if latencies else None,
                **rates,
            }
        )

    def _finish(self, sustained: float) -> dict[str, Any]:
        for camera in self._cameras.values():
            camera.send(signal.SIGCONT)  # where an interrupt came while it was stopped
        self._children.stop(list(self._cameras.values()))
        last: dict[str, str] = {}
        while last != (last := dict(self._listener.diagnostics["pairing"])):
            time.sleep(2.5)  # what still waits is settled, and diagnostics say so
        diagnostics = {part: dict(values) for part, values in self._listener.diagnostics.items()}
        stamps = [stamp for stamp, _ in self._listener.fused]
        logs = {camera: [s for log in self._logs(camera) for s in read_stamps(log)] for camera in CAMERAS}
        known = set(logs["rgb"]) | set(logs["thermal"])
        self._children.stop([self._node])
        text = self._node.log.read_text(encoding="utf-8", errors="replace")
        self._compare()
        return {
            "minutes": self._plan.minutes,
            "size": list(self._plan.size),
            "parameters": list(self._plan.parameters),
            "sustained_hz": sustained,
            "input_hz": self._rate_hz,
            "exit_code": self._node.exit_code,
            "ended_early": self._ended_early,
            "tracebacks": text.count("Traceback"),
            "sent": {camera: len(sent) for camera, sent in logs.items()},
            "heard": len(stamps),
            "twice": len(stamps) - len(set(stamps)),
            "unknown": len(set(stamps) - known),
            "diagnostics": diagnostics,
            "faults": self._faults,
            "samples": self._samples,
        }

    def _compare(self) -> None:
        """Holds the first image after each return to what the model makes of the two images that were sent."""
        settings = dict(text.split(":=", 1) for text in self._plan.parameters)
        places = [place.strip(" '\"") for place in settings.get("models.path", "").strip("[]").split(",")]
        model = settings.get("fusion.model", "sage_fast").strip("'\"")
        fuser = load_fuser(model, NetworkOptions(device="cpu", models_path=places, warm_up_size=self._plan.size))
        scenes = {camera: images(camera, *self._plan.size) for camera in CAMERAS}
        for fault in self._faults:
            image, pair = fault.pop("image", None), fault.pop("pair", None)
            if image is not None:
                rgb, thermal = (scenes[camera][number_of(stamp)] for camera, stamp in zip(CAMERAS, pair, strict=True))
                expected = fuser.fuse(rgb, thermal)
                fault["difference"] = float(np.abs(image.astype(np.int16) - expected.astype(np.int16)).mean())
        fuser.close()

    def _start(self, camera: str) -> Path:
        number = next(self._numbers)
        log = self._plan.folder / f"{camera}_{number:04}.stamps"
        size = [str(side) for side in self._plan.size]
        arguments = [camera, "--rate", str(self._rate_hz), "--size", *size, "--log", str(log)]
        command = [sys.executable, str(HERE / "camera.py"), *arguments]
        self._cameras[camera] = self._children.start(f"camera_{camera}_{number:04}", command)
        return log

    def _logs(self, camera: str) -> list[Path]:
        return sorted(self._plan.folder.glob(f"{camera}_*.stamps"))

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self._wait(lambda: time.monotonic() > end, seconds + 5, "")

    def _wait(self, condition: Callable[[], bool], seconds: float, problem: str) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if self._node.exit_code is not None:
                raise SageFusionError(f"fusion_node ended with code {self._node.exit_code}:\n{self._node.tail()}")
            if self._signals.received:
                raise SageFusionError("interrupted")
            if time.monotonic() > end:
                raise SageFusionError(f"{problem} within {seconds:g} s; the node said:\n{self._node.tail()}")
            time.sleep(0.01)
