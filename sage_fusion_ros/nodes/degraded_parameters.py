"""The parameters of fusion_node that say when a camera is lost, and what goes out then (docs/degraded.md)."""

from __future__ import annotations

from typing import Any

from sage_fusion_ros.nodes.parameter_table import Spec
from sage_fusion_ros.pipeline.camera_health import HealthSettings
from sage_fusion_ros.pipeline.degraded import RGB_LOST, THERMAL_LOST, DegradedSettings

DEGRADED_PARAMETERS = (
    Spec(
        "degraded.rgb_lost",
        "thermal_only",
        "While the RGB camera is lost: thermal images go out alone, or nothing does.",
        choices=RGB_LOST,
        live=True,
    ),
    Spec(
        "degraded.thermal_lost",
        "rgb_only",
        "While the thermal camera is lost: RGB images alone, each with the last good thermal image for a while, or "
        "nothing.",
        choices=THERMAL_LOST,
        live=True,
    ),
    Spec(
        "degraded.timeout_ms",
        500.0,
        "A camera silent for so long while the other one goes on is lost (a slow one: 2.5 periods); 0: never.",
        "ms",
        0.0,
        60000.0,
        live=True,
    ),
    Spec(
        "degraded.frozen_ms",
        500.0,
        "A camera that sends one image for so long is frozen and lost; 0: never, for still images as a source.",
        "ms",
        0.0,
        60000.0,
        live=True,
    ),
    Spec(
        "degraded.hold_ms",
        2000.0,
        "hold: how old the thermal image may be, by the stamps; RGB images go out alone after.",
        "ms",
        0.0,
        60000.0,
        live=True,
    ),
    Spec(
        "degraded.check_images",
        True,
        "A camera whose image is flat, saturated, over-exposed or a quarter stuck columns is lost for that image.",
        live=True,
    ),
    Spec(
        "degraded.saturated_share",
        0.6,
        "Share of pixels at the highest value (RGB: 250 and more) above which an image is saturated (over-exposed).",
        low=0.0,
        high=1.0,
        live=True,
    ),
    Spec(
        "degraded.flat_span",
        0.0,
        "Thermal values that span no more are flat; 0: 2 in 8 bits, 32 in 16 bits, 0.3 in 32FC1.",
        "counts or K",
        0.0,
        1e6,
        live=True,
    ),
)


def degraded_settings(values: dict[str, Any]) -> DegradedSettings:
    """The part of the parameter values that says when a camera is lost and what goes out then."""
    return DegradedSettings(
        rgb_lost=values["degraded.rgb_lost"],
        thermal_lost=values["degraded.thermal_lost"],
        timeout_ns=round(values["degraded.timeout_ms"] * 1e6),
        frozen_ns=round(values["degraded.frozen_ms"] * 1e6),
        hold_ns=round(values["degraded.hold_ms"] * 1e6),
        health=HealthSettings(
            check=values["degraded.check_images"],
            saturated_share=values["degraded.saturated_share"],
            flat_span=values["degraded.flat_span"],
        ),
    )
