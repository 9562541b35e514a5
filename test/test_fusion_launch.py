"""launch/fusion.launch.py, under the real launch of a ROS install."""

import importlib.util
import os
import signal
import subprocess
import sys
import time

import pytest
import rclpy

# Not "launch": the project's own folder of that name would do.
pytest.importorskip("launch_ros", reason="needs the ROS 2 package launch_ros, which has no wheel on PyPI")

from launch import LaunchContext
from rcl_interfaces.srv import GetParameters
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Image

SERVICE = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

arguments = [argument.split(":=", 1) for argument in sys.argv[2:]]
service = LaunchService()
source = PythonLaunchDescriptionSource(sys.argv[1])
service.include_launch_description(
    LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments)])
)
sys.exit(service.run())
"""


@pytest.fixture(scope="module")
def launch_file(project):
    spec = importlib.util.spec_from_file_location("fusion_launch", project / "launch" / "fusion.launch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def composed(launch_file):
    """Composes the nodes with some arguments given; returns what the launch file keeps of them, by executable."""

    def compose(**arguments):
        context = LaunchContext()
        for name, default, *_ in launch_file.ARGUMENTS:
            context.launch_configurations[name] = arguments.get(name, default)
        nodes = [entity for entity in launch_file.compose(context) if isinstance(entity, launch_file.Node)]
        for node in nodes:
            node._perform_substitutions(context)
        return {node.node_executable: node for node in nodes}

    return compose


def remappings(node):
    return dict(node.expanded_remapping_rules or [])


def test_every_argument_is_declared_with_a_description(launch_file):
    declared = launch_file.generate_launch_description().get_launch_arguments()
    assert [argument.name for argument in declared] == [name for name, *_ in launch_file.ARGUMENTS]
    assert all(argument.description for argument in declared)


def test_an_empty_argument_passes_nothing_on(composed, launch_file):
    nodes = composed()
    assert list(nodes) == ["fusion_node"]
    assert remappings(nodes["fusion_node"]) == {}
    parameters = nodes["fusion_node"]._Node__expanded_parameter_arguments
    assert [name for name, is_file in parameters if is_file] == [str(launch_file.CONFIG / "fusion.param.yaml")]
    assert len(parameters) == 1


def test_live_topics(composed):
    nodes = composed(rgb_topic="/camera/image", fused_topic="fused")
    assert remappings(nodes["fusion_node"]) == {"~/input/rgb": "/camera/image", "~/output/fused": "fused"}


def test_the_labels_go_where_what_they_explain_goes(composed):
    nodes = composed(mask_topic="/seen/mask", objects_topic="/rois0", perception_model="mine", rviz="true")
    assert remappings(nodes["fusion_node"]) == {
        "~/output/mask": "/seen/mask",
        "~/output/mask/label_info": "/seen/mask/label_info",
        "~/output/objects": "/rois0",
    }
    assert remappings(nodes["rviz2"])["/fusion_node/output/mask"] == "/seen/mask"


def test_a_replay_feeds_the_node_unless_a_topic_is_given(composed):
    nodes = composed(source="synthetic", thermal_topic="/thermal")
    assert remappings(nodes["fusion_node"]) == {
        "~/input/rgb": "replay_node/rgb/image_raw",
        "~/input/thermal": "/thermal",
        "~/input/rgb_camera_info": "replay_node/rgb/camera_info",
        "~/input/thermal_camera_info": "replay_node/thermal/camera_info",
    }


def test_rviz_shows_the_topics_of_the_namespace(composed):
    nodes = composed(source="synthetic", rviz="true", namespace="robot", fused_topic="/seen")
    assert remappings(nodes["rviz2"]) == {
        "/fusion_node/input/rgb": "/robot/replay_node/rgb/image_raw",
        "/fusion_node/input/thermal": "/robot/replay_node/thermal/image_raw",
        "/fusion_node/output/fused": "/seen",
        "/fusion_node/output/overlay": "/robot/fusion_node/output/overlay",
        "/fusion_node/output/mask": "/robot/fusion_node/output/mask",
    } | {
        f"/fusion_node/input/{name}_camera_info": f"/robot/replay_node/{name}/camera_info"
        for name in ("rgb", "thermal")
    }


def test_what_publishes_images_gets_the_image_profile(composed, monkeypatch, launch_file):
    for name in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
        monkeypatch.delenv(name, raising=False)
    nodes = composed(source="synthetic")
    for name in ("fusion_node", "replay_node"):
        added = {variable[0].text: value[0].text for variable, value in nodes[name].additional_env}
        assert set(added.values()) == {str(launch_file.CONFIG / "fastdds_large_images.xml")}
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", "mine.xml")
    assert not composed(source="synthetic")["replay_node"].additional_env


def test_a_mapping_that_is_none_is_refused(composed):
    with pytest.raises(ValueError, match="parameters is 'rate'"):
        composed(parameters="rate")


def wait(executor, condition):
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.1)


@pytest.fixture
def watcher():
    """A node outside the launched graph, and the executor to spin it."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("watcher", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    yield node, executor
    executor.shutdown()
    node.destroy_node()
    context.shutdown()


def test_a_replay_is_fused_with_the_parameters_given(workspace, watcher, tmp_path):
    """The real thing: two processes under launch, fused images and a parameter seen from outside."""
    node, executor = watcher
    fused = []
    node.create_subscription(Image, "/robot/fusion_node/output/fused", fused.append, 1)
    asking = node.create_client(GetParameters, "/robot/fusion_node/get_parameters")
    launched = workspace.prefix / "share" / "sage_fusion_ros" / "launch" / "fusion.launch.py"
    arguments = ["source:=synthetic", "replay_parameters:={loop: true}", "namespace:=robot", "device:=cpu"]
    arguments.append("parameters:={pairing.max_dt_ms: 21.0}")
    with (tmp_path / "log").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVICE, str(launched), *arguments],
            cwd=tmp_path,
            env=workspace.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait(executor, lambda: len(fused) >= 3 or process.poll() is not None)
            answer = asking.call_async(GetParameters.Request(names=["pairing.max_dt_ms"]))
            wait(executor, lambda: answer.done() or process.poll() is not None)
            alive = process.poll() is None
            if alive:
                os.killpg(process.pid, signal.SIGINT)
            code = process.wait(timeout=30)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        log.seek(0)
        text = log.read()
    assert alive, text
    assert code == 0, text
    assert "process has died" not in text
    assert len(fused) >= 3, text
    assert fused[0].encoding == "rgb8"
    assert answer.result().values[0].double_value == 21.0
