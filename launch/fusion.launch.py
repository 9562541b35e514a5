"""Starts fusion_node on live topics, or on a replay of recorded ones.

    ros2 launch sage_fusion_ros fusion.launch.py rgb_topic:=/camera/image_raw thermal_topic:=/thermal/image_raw
    ros2 launch sage_fusion_ros fusion.launch.py source:=synthetic rviz:=true

An argument left empty passes nothing on: then the parameter file rules, and where it is silent the node's default.
"""

from typing import Any

import yaml
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, EmitEvent, OpaqueFunction, RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch_ros.actions import Node
from launch_ros.descriptions import ParameterValue

from sage_fusion_ros.resources import fast_dds_profile, share_dir

PACKAGE = "sage_fusion_ros"
CONFIG = share_dir() / "config"
ON_OFF = ["true", "false"]
OUTPUTS = ("fused", "camera_info", "mask", "detections", "overlay", "objects", "mask_rle")
WITH_LABELS = ("mask", "detections")

# Name, default, description and, where there are few, the values it may take.
ARGUMENTS: list[tuple[str, str, str, list[str] | None]] = [
    ("source", "", "replay this (synthetic, a folder, 'rgb.mp4,thermal.mp4', a bag); empty for live topics", None),
    ("rgb_topic", "", "colour images to fuse; empty for the replay's, or ~/input/rgb", None),
    ("thermal_topic", "", "thermal images to fuse; empty for the replay's, or ~/input/thermal", None),
    ("rgb_camera_info_topic", "", "its calibration; empty for the replay's, or ~/input/rgb_camera_info", None),
    ("thermal_camera_info_topic", "", "its calibration; empty for the replay's, or ~/input/thermal_camera_info", None),
    ("fused_topic", "", "where the fused image goes; empty for ~/output/fused", None),
    ("camera_info_topic", "", "where the fused image's calibration goes; empty for ~/output/camera_info", None),
    ("mask_topic", "", "where the mask goes; empty for ~/output/mask", None),
    ("detections_topic", "", "where the boxes go; empty for ~/output/detections", None),
    ("overlay_topic", "", "where the picture with both goes; empty for ~/output/overlay", None),
    ("objects_topic", "", "where Autoware's form of the boxes goes; empty for ~/output/objects", None),
    ("mask_rle_topic", "", "where Autoware's form of the mask goes; empty for ~/output/mask_rle", None),
    ("params_file", str(CONFIG / "fusion.param.yaml"), "parameters of fusion_node", None),
    ("parameters", "{}", "more of them, over the file: '{pairing.max_dt_ms: 20.0, rate.max_hz: 10.0}'", None),
    ("model", "", "fusion.model: name or folder of the fusion model", None),
    ("perception_model", "", "perception.model: name or folder of the model for mask and boxes", None),
    ("device", "", "engine.device: auto, cuda, tensorrt or cpu", None),
    ("autostart", "", "false leaves configuring and activating to a lifecycle manager", ["", *ON_OFF]),
    ("use_sim_time", "", "take the time from /clock", ["", *ON_OFF]),
    ("replay_parameters", "{}", "parameters of replay_node: '{rate: 30.0, loop: true}'", None),
    ("namespace", "", "namespace of the nodes", None),
    ("log_level", "info", "debug, info, warn, error or fatal", None),
    ("respawn", "true", "start fusion_node again when it has died", ON_OFF),
    ("rviz", "false", "show the images in rviz2", ON_OFF),
    ("rviz_config", str(CONFIG / "fusion.rviz"), "settings of rviz2", None),
]


def generate_launch_description() -> LaunchDescription:
    """Arguments first; the nodes once their values are known."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description, choices=choices)
        for name, default, description, choices in ARGUMENTS
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=compose)])


def compose(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The nodes that the arguments ask for."""
    given = {name: context.launch_configurations[name].strip() for name, *_ in ARGUMENTS}
    topics = input_topics(given)
    entities: list[LaunchDescriptionEntity] = [fusion(given, topics)]
    if given["source"]:
        player = replay(given)
        at_its_end = EmitEvent(event=Shutdown(reason="the replay has ended"))
        entities += [player, RegisterEventHandler(OnProcessExit(target_action=player, on_exit=[at_its_end]))]
    if given["rviz"] == "true":
        entities.append(rviz(given, topics))
    return entities


def input_topics(given: dict[str, str]) -> dict[str, str]:
    """Topic of each input of fusion_node; the empty ones stay as the node has them."""
    played = {
        "input/rgb": "replay_node/rgb/image_raw",
        "input/thermal": "replay_node/thermal/image_raw",
        "input/rgb_camera_info": "replay_node/rgb/camera_info",
        "input/thermal_camera_info": "replay_node/thermal/camera_info",
    }
    asked = {name: given[f"{name.removeprefix('input/')}_topic"] for name in played}
    chosen = played | {name: topic for name, topic in asked.items() if topic}
    return {name: topic for name, topic in chosen.items() if given["source"] or asked[name]}


def output_topics(given: dict[str, str]) -> dict[str, str]:
    """Topic of each output of fusion_node that has been given one. A mask's and boxes' label_info goes with them."""
    asked = {name: given[f"{name}_topic"] for name in OUTPUTS}
    topics = {f"output/{name}": topic for name, topic in asked.items() if topic}
    labels = {f"output/{name}/label_info": f"{asked[name]}/label_info" for name in WITH_LABELS if asked[name]}
    return {**topics, **labels}


def fusion(given: dict[str, str], topics: dict[str, str]) -> Node:
    """The fusion node. Its own parameter autostart makes it active, so no transition is sent from here."""
    shortcuts = {
        "fusion.model": given["model"],
        "perception.model": given["perception_model"],
        "engine.device": given["device"],
    }
    switches = {name: given[name] == "true" for name in ("autostart", "use_sim_time") if given[name]}
    more = mapping("parameters", given) | {name: text for name, text in shortcuts.items() if text} | switches
    return Node(
        package=PACKAGE,
        executable="fusion_node",
        name="fusion_node",
        namespace=given["namespace"],
        parameters=[given["params_file"], *typed(more)],
        remappings=[(f"~/{name}", topic) for name, topic in {**topics, **output_topics(given)}.items()],
        ros_arguments=["--log-level", given["log_level"]],
        additional_env=fast_dds_profile(),  # the fused image is a large one too
        respawn=given["respawn"] == "true",
        respawn_delay=2.0,
        output="screen",
    )


def replay(given: dict[str, str]) -> Node:
    """The replay, with room in shared memory for its images unless the user has settings of their own."""
    more: dict[str, Any] = {"source": given["source"], **mapping("replay_parameters", given)}
    if given["use_sim_time"]:
        more["use_sim_time"] = given["use_sim_time"] == "true"
    return Node(
        package=PACKAGE,
        executable="replay_node",
        name="replay_node",
        namespace=given["namespace"],
        parameters=typed(more),
        ros_arguments=["--log-level", given["log_level"]],
        additional_env=fast_dds_profile(),
        output="screen",
    )


def rviz(given: dict[str, str], topics: dict[str, str]) -> Node:
    """rviz2 with the topics of its settings turned to the real ones."""
    shown = dict.fromkeys(("input/rgb", "input/thermal", "output/fused", "output/overlay", "output/mask"), "")
    shown |= {name: topic for name, topic in output_topics(given).items() if name in shown} | topics
    home = f"/{given['namespace'].strip('/')}".rstrip("/")
    real = {name: topic or f"fusion_node/{name}" for name, topic in shown.items()}
    return Node(
        package="rviz2",
        executable="rviz2",
        name="fusion_view",
        arguments=["-d", given["rviz_config"]],
        remappings=[
            (f"/fusion_node/{name}", topic if topic.startswith("/") else f"{home}/{topic}")
            for name, topic in real.items()
        ],
        parameters=typed({"use_sim_time": True}) if given["use_sim_time"] == "true" else [],
    )


def mapping(name: str, given: dict[str, str]) -> dict[str, Any]:
    """An argument that holds a YAML mapping."""
    values = yaml.safe_load(given[name] or "{}")
    if not isinstance(values, dict):
        raise ValueError(f"{name} is '{given[name]}'; expected a mapping such as '{{name: value, name: value}}'")
    return values


def typed(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Parameters for a node. Text is marked as text, since launch would read 'off' or '7' as something else."""
    marked = {name: ParameterValue(v, value_type=str) if isinstance(v, str) else v for name, v in values.items()}
    return [marked] if marked else []
