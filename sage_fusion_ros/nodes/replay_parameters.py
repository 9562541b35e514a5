"""The parameters of replay_node, and what they mean to the sources."""

from __future__ import annotations

from typing import Any

from sage_fusion_ros.nodes.parameter_table import ParameterTable, Spec
from sage_fusion_ros.sources.base import PairSource
from sage_fusion_ros.sources.depth import ENCODINGS
from sage_fusion_ros.sources.open import open_source
from sage_fusion_ros.sources.schedule import STILLS_RATE_HZ, ScheduleSettings

REPLAY_PARAMETERS = ParameterTable(
    Spec(
        "source",
        "synthetic",
        "synthetic, synthetic:day|night|smoke|fog, a folder of pairs, 'rgb.mp4,thermal.mp4', a folder of videos with "
        "the clip's name behind it, or a rosbag2 folder or file.",
    ),
    Spec("rate", 0.0, f"Pairs a second; 0 is the source's own ({STILLS_RATE_HZ:g} for stills).", "Hz", 0.0, 1000.0),
    Spec("loop", False, "Begin again at the end."),
    Spec(
        "loop_stamps",
        "continue",
        "Stamps in later laps: continue, as from a camera, or restart, as from a looped bag.",
        choices=("continue", "restart"),
    ),
    Spec("start", 0.0, "Where to begin, at the rate played.", "s", 0.0, 1e6),
    Spec("duration", 0.0, "How long to play; 0 plays to the end.", "s", 0.0, 1e6),
    Spec("seed", 0, "Of the synthetic scene and of jitter.", low=0, high=2**31 - 1),
    Spec(
        "stamps",
        "clock",
        "clock: the source's times moved to the node's clock; recorded: a bag's own stamps, however old.",
        choices=("clock", "recorded"),
    ),
    Spec("rgb.topic", "", "Bags: topic of the RGB images; empty: found by itself."),
    Spec("thermal.topic", "", "Bags: topic of the thermal images; empty: found by itself."),
    Spec("rgb.frame_id", "rgb_camera", "Frame of the RGB camera."),
    Spec("thermal.frame_id", "thermal_camera", "Frame of the thermal camera."),
    Spec(
        "thermal.encoding",
        "source",
        "source: as it is; mono16: 8-bit images x 257; mono8: thermal.low..thermal.high become 0..255.",
        choices=ENCODINGS,
    ),
    Spec("thermal.low", 26315.0, "mono8 from 16 bit: what becomes 0 (default -10 degC).", "counts", 0.0, 65535.0),
    Spec("thermal.high", 32315.0, "mono8 from 16 bit: what becomes 255 (default 50 degC).", "counts", 0.0, 65535.0),
    Spec("thermal.offset_ms", 0.0, "Added to thermal stamps and sending times.", "ms", -1000.0, 1000.0),
    Spec("thermal.jitter_ms", 0.0, "Thermal stamps and sending times vary by up to this.", "ms", 0.0, 1000.0),
    Spec("rgb.jitter_ms", 0.0, "RGB stamps and sending times vary by up to this.", "ms", 0.0, 1000.0),
    Spec("wait_for_subscribers", 0, "Begin when each image topic has this many subscribers.", low=0, high=64),
    Spec("wait_timeout", 30.0, "Begin anyway after this.", "s", 0.0, 3600.0),
    Spec(
        "qos.reliability",
        "best_effort",
        "Of all four topics; best_effort as camera drivers.",
        choices=("best_effort", "reliable"),
    ),
    Spec("qos.depth", 5, "Messages kept for slow subscribers.", low=1, high=1000),
    Spec("log_path", "", "File for a JSON line about every image sent; empty: none."),
    Spec("autoexit", True, "End the process when all is sent."),
)


def open_wanted(values: dict[str, Any]) -> PairSource:
    """Opens the source that the parameters name.

    Raises:
        SourceError: When it can't be replayed.
    """
    spec = values["source"]
    options: dict[str, Any] = {
        f"{camera}_topic": values[f"{camera}.topic"] for camera in ("rgb", "thermal") if values[f"{camera}.topic"]
    }
    if spec.partition(":")[0] == "synthetic" and values["duration"] and not values["loop"]:
        # The scene is as long as wanted; played at another rate it needs more or fewer of its own seconds.
        from sage_fusion_ros.sources.synthetic import FRAME_RATE

        played = values["start"] + values["duration"]
        options["duration"] = played * (values["rate"] or FRAME_RATE) / FRAME_RATE
    return open_source(spec, seed=values["seed"], **options)


def schedule_settings(values: dict[str, Any]) -> ScheduleSettings:
    """The schedule that the parameters describe."""
    return ScheduleSettings(
        rate_hz=values["rate"],
        start_s=values["start"],
        duration_s=values["duration"],
        loop=values["loop"],
        loop_stamps=values["loop_stamps"],
        thermal_offset_ms=values["thermal.offset_ms"],
        rgb_jitter_ms=values["rgb.jitter_ms"],
        thermal_jitter_ms=values["thermal.jitter_ms"],
        seed=values["seed"],
    )
