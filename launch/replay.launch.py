"""Plays recorded or synthetic pairs to fusion_node, and ends with them.

    ros2 launch sage_fusion_ros replay.launch.py source:=synthetic rviz:=true
    ros2 launch sage_fusion_ros replay.launch.py source:=recordings/night rate:=15 loop:=true model:=sage

Every argument of fusion.launch.py that is not named here (model, device, parameters, rviz, ...) may be given too.
"""

from pathlib import Path
from typing import Any

import yaml
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import Node
from launch_ros.descriptions import ParameterValue

from sage_fusion_ros.resources import chosen_fast_dds_profile

FUSION = Path(__file__).with_name("fusion.launch.py")

# Name, default, description and, where there are few, the values it may take. The topics are those of fusion.launch.py
# with the replay's names as defaults: with another one the node fuses a live camera with a replayed one.
ARGUMENTS: list[tuple[str, str, str, list[str] | None]] = [
    ("source", "", "what to play: synthetic, a folder, 'rgb.mp4,thermal.mp4', a bag; empty: the node's default", None),
    ("rate", "", "pairs a second; empty: the source's own", None),
    ("loop", "", "begin again at the end", ["", "true", "false"]),
    ("replay_parameters", "{}", "more parameters of replay_node: '{start: 10.0, thermal.offset_ms: 16.0}'", None),
    ("rgb_topic", "replay_node/rgb/image_raw", "colour images to fuse", None),
    ("thermal_topic", "replay_node/thermal/image_raw", "thermal images to fuse", None),
    ("rgb_camera_info_topic", "replay_node/rgb/camera_info", "their calibration", None),
    ("thermal_camera_info_topic", "replay_node/thermal/camera_info", "their calibration", None),
]


def generate_launch_description() -> LaunchDescription:
    """Arguments, then fusion.launch.py, then the replay, which reads what that one has declared."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description, choices=choices)
        for name, default, description, choices in ARGUMENTS
    ]
    fusion = IncludeLaunchDescription(PythonLaunchDescriptionSource(str(FUSION)))
    return LaunchDescription([*declared, fusion, OpaqueFunction(function=replay)])


def replay(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The replay, with room in shared memory for its images, and the end of all when it has ended.

    It waits for fusion_node, which first loads its models, so that no pair is missed; replay_parameters may say
    otherwise.
    """
    given = {name: text.strip() for name, text in context.launch_configurations.items()}
    if given["cameras"] not in ("", "[]"):
        raise ValueError(f"cameras is '{given['cameras']}', but a replay plays one pair: leave it out")
    own: dict[str, Any] = {name: given[name] == "true" for name in ("loop", "use_sim_time") if given[name]}
    if given["rate"]:
        try:
            own["rate"] = float(given["rate"])
        except ValueError:
            raise ValueError(f"rate is '{given['rate']}'; expected pairs a second") from None
    more = yaml.safe_load(given["replay_parameters"] or "{}")
    if not isinstance(more, dict):
        raise ValueError(
            f"replay_parameters is '{given['replay_parameters']}'; expected a mapping such as '{{start: 10.0}}'"
        )
    source = {"source": given["source"]} if given["source"] else {}
    parameters: dict[str, Any] = {"wait_for_subscribers": 1, **source, **own, **more}
    player = Node(
        package="sage_fusion_ros",
        executable="replay_node",
        name="replay_node",
        namespace=given["namespace"],
        # Text is marked as text, since launch would read 'off' or '7' as something else.
        parameters=[{k: ParameterValue(v, value_type=str) if isinstance(v, str) else v for k, v in parameters.items()}],
        ros_arguments=["--log-level", given["log_level"]],
        additional_env=chosen_fast_dds_profile(given["fast_dds_profile"]),
        output="screen",
    )
    at_its_end = EmitEvent(event=Shutdown(reason="the replay has ended"))
    return [player, RegisterEventHandler(OnProcessExit(target_action=player, on_exit=[at_its_end]))]
