"""Starts fusion_node on live topics: one pair of cameras, or several.

    ros2 launch sage_fusion_ros fusion.launch.py rgb_topic:=/camera/image_raw thermal_topic:=/thermal/image_raw
    ros2 launch sage_fusion_ros fusion.launch.py cameras:='[front, rear]' rgb_topic:=/{camera}/rgb thermal_topic:=...

An argument left empty passes nothing on: then the parameter file rules, and where it is silent the node's default.
Each name in cameras starts a node of its own, in a namespace of that name; wherever {camera} stands in another
argument, the name takes its place.
"""

import re
from pathlib import Path
from typing import Any

import yaml
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch_ros.actions import Node
from launch_ros.descriptions import ParameterValue

from sage_fusion_ros.resources import chosen_fast_dds_profile, own_fast_dds_profile, share_dir

PACKAGE = "sage_fusion_ros"
CONFIG = share_dir() / "config"
ON_OFF = ["true", "false"]
TRANSPORTS = ["", "raw", "compressed"]
INPUTS = ("rgb", "thermal", "rgb_camera_info", "thermal_camera_info")
OUTPUTS = (
    "fused", "camera_info", "thermal_valid", "mask", "detections", "overlay", "annotations", "objects", "mask_rle"
)  # fmt: skip
WITH_LABELS = ("mask", "detections")
SHOWN = ("input/rgb", "input/thermal", "output/fused", "output/overlay", "output/mask")
CAMERA = "{camera}"

# Name, default, description and, where there are few, the values it may take.
ARGUMENTS: list[tuple[str, str, str, list[str] | None]] = [
    ("cameras", "[]", "names of several pairs of cameras, '[front, rear]': a node for each; empty for one pair", None),
    ("rgb_topic", "", "colour images to fuse; empty for ~/input/rgb", None),
    ("thermal_topic", "", "thermal images to fuse; empty for ~/input/thermal", None),
    ("rgb_transport", "", "image_transport.rgb: raw, or compressed for <rgb_topic>/compressed", TRANSPORTS),
    ("thermal_transport", "", "image_transport.thermal: likewise", TRANSPORTS),
    ("rgb_camera_info_topic", "", "their calibration; empty for ~/input/rgb_camera_info", None),
    ("thermal_camera_info_topic", "", "their calibration; empty for ~/input/thermal_camera_info", None),
    ("fused_topic", "", "where the fused image goes; empty for ~/output/fused", None),
    ("camera_info_topic", "", "where the fused image's calibration goes; empty for ~/output/camera_info", None),
    ("thermal_valid_topic", "", "where the area that thermal reaches goes; empty for ~/output/thermal_valid", None),
    ("mask_topic", "", "where the mask goes; empty for ~/output/mask", None),
    ("detections_topic", "", "where the boxes go; empty for ~/output/detections", None),
    ("overlay_topic", "", "where the picture with both goes; empty for ~/output/overlay", None),
    ("annotations_topic", "", "where Foxglove's form of the boxes goes; empty for ~/output/annotations", None),
    ("objects_topic", "", "where Autoware's form of the boxes goes; empty for ~/output/objects", None),
    ("mask_rle_topic", "", "where Autoware's form of the mask goes; empty for ~/output/mask_rle", None),
    ("params_file", str(CONFIG / "fusion.param.yaml"), "parameters of fusion_node; empty for none", None),
    ("parameters", "{}", "more of them, over the file: '{pairing.max_dt_ms: 20.0, rate.max_hz: 10.0}'", None),
    ("model", "", "fusion.model: name or folder of the fusion model", None),
    ("perception_model", "", "perception.model: name or folder of the model for mask and boxes", None),
    ("device", "", "engine.device: auto, cuda, tensorrt or cpu", None),
    ("autostart", "", "false leaves configuring and activating to a lifecycle manager", ["", *ON_OFF]),
    ("use_sim_time", "", "take the time from /clock", ["", *ON_OFF]),
    ("namespace", "", "namespace of the nodes; with cameras, of their namespaces", None),
    ("fast_dds_profile", str(own_fast_dds_profile()), "settings of Fast DDS for large images; none for its own", None),
    ("log_level", "info", "debug, info, warn, error or fatal", None),
    ("respawn", "true", "start fusion_node again when it has died", ON_OFF),
    ("respawn_delay", "2.0", "seconds from its death until then", None),
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
    around = context.launch_configurations.get("ros_namespace", "")  # pushed by a launch file that includes this one
    entities: list[LaunchDescriptionEntity] = []
    for own in each_camera(given):
        entities.append(fusion(own))
        if own["rviz"] == "true":
            entities.append(rviz(own, around))
    return entities


def each_camera(given: dict[str, str]) -> list[dict[str, str]]:
    """The arguments of each camera, its name filled in; those given, where no cameras are named.

    Raises:
        ValueError: The names are no list, not each one's own, no names, or would publish to one topic.
    """
    names = yaml.safe_load(given["cameras"] or "[]")
    if not isinstance(names, list):
        raise ValueError(f"cameras is '{given['cameras']}'; expected a list of names such as '[front, rear]'")
    names = [str(name) for name in names]
    if not names:
        unfilled = [name for name, text in given.items() if CAMERA in text]
        if unfilled:
            raise ValueError(f"{', '.join(unfilled)} has {CAMERA} in it, but cameras names none")
        return [given]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"cameras names {', '.join(repeated)} twice")
    if len(names) > 1:
        shared = [f"{name}_topic" for name in OUTPUTS if is_shared(given[f"{name}_topic"])]
        if shared:
            raise ValueError(f"{', '.join(shared)} would be one topic of all cameras: put {{camera}} into the name")
    namespace = given["namespace"]
    if CAMERA not in namespace:
        namespace = f"{namespace.rstrip('/')}/{CAMERA}" if namespace else CAMERA
    filled = [{k: v.replace(CAMERA, name) for k, v in {**given, "namespace": namespace}.items()} for name in names]
    for own in filled:
        if not all(re.fullmatch(r"[A-Za-z_]\w*", token) for token in own["namespace"].strip("/").split("/")):
            raise ValueError(
                f"'{own['namespace']}' is no namespace: its parts are letters, digits and _, no digit first; "
                "cameras that are numbers need one such as namespace:=camera{camera}"
            )
    return filled


def is_shared(topic: str) -> bool:
    """Whether the nodes of all cameras would have this very topic; a relative one lies in each one's namespace."""
    return topic.startswith("/") and CAMERA not in topic


def remapped(given: dict[str, str]) -> dict[str, str]:
    """New names of the topics that were given one. A mask's and boxes' label_info goes with them."""
    asked = {name: given[f"{name}_topic"] for name in (*INPUTS, *OUTPUTS)}
    topics = {f"input/{name}": asked[name] for name in INPUTS if asked[name]}
    topics |= {f"output/{name}": asked[name] for name in OUTPUTS if asked[name]}
    return topics | {f"output/{name}/label_info": f"{asked[name]}/label_info" for name in WITH_LABELS if asked[name]}


def fusion(given: dict[str, str]) -> Node:
    """The fusion node. Its own parameter autostart makes it active, so no transition is sent from here."""
    if given["params_file"] and not Path(given["params_file"]).is_file():  # launch would go on without it
        raise ValueError(f"params_file is '{given['params_file']}', which is no file")
    shortcuts = {
        "fusion.model": given["model"],
        "perception.model": given["perception_model"],
        "engine.device": given["device"],
        "image_transport.rgb": given["rgb_transport"],
        "image_transport.thermal": given["thermal_transport"],
    }
    switches = {name: given[name] == "true" for name in ("autostart", "use_sim_time") if given[name]}
    more = mapping("parameters", given) | {name: text for name, text in shortcuts.items() if text} | switches
    return Node(
        package=PACKAGE,
        executable="fusion_node",
        name="fusion_node",
        namespace=given["namespace"],
        parameters=[*filter(None, [given["params_file"]]), *typed(more)],
        remappings=[(f"~/{name}", topic) for name, topic in remapped(given).items()],
        ros_arguments=["--log-level", given["log_level"]],
        additional_env=chosen_fast_dds_profile(given["fast_dds_profile"]),  # the fused image is a large one too
        respawn=given["respawn"] == "true",
        respawn_delay=number("respawn_delay", given),
        output="screen",
    )


def rviz(given: dict[str, str], around: str) -> Node:
    """rviz2 with the topics of its settings turned to the real ones."""
    namespace = given["namespace"] if given["namespace"].startswith("/") else f"{around}/{given['namespace']}"
    home = f"/{namespace.strip('/')}".rstrip("/")
    real = {name: f"fusion_node/{name}" for name in SHOWN} | remapped(given)
    return Node(
        package="rviz2",
        executable="rviz2",
        name="fusion_view",
        namespace=given["namespace"],
        arguments=["-d", given["rviz_config"]],
        remappings=[
            (f"/fusion_node/{name}", topic if topic.startswith("/") else f"{home}/{topic}")
            for name, topic in real.items()
            if name in SHOWN
        ],
        parameters=typed({"use_sim_time": True}) if given["use_sim_time"] == "true" else [],
    )


def number(name: str, given: dict[str, str]) -> float:
    """An argument that holds a number."""
    try:
        return float(given[name])
    except ValueError:
        raise ValueError(f"{name} is '{given[name]}'; expected a number") from None


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
