"""What the launch files make of their arguments, without starting anything."""

import importlib.util
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from launch_files import all_arguments, declared_arguments

# Not "launch": the project's own folder of that name would do.
pytest.importorskip("launch_ros", reason="needs the ROS 2 package launch_ros, which has no wheel on PyPI")

from launch import LaunchContext
from launch.launch_description_sources import AnyLaunchDescriptionSource

TWO = {"cameras": "[front, rear]"}


def load(file):
    spec = importlib.util.spec_from_file_location(file.name.partition(".")[0], file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def launch_file(project):
    return load(project / "launch" / "fusion.launch.py")


@pytest.fixture
def played(project):
    """The parameters that replay.launch.py passes to replay_node, with some arguments given."""
    module = load(project / "launch" / "replay.launch.py")

    def play(**arguments):
        context = LaunchContext()
        for name, (default, _) in all_arguments(project / "launch" / "replay.launch.py").items():
            context.launch_configurations[name] = arguments.get(name, default or "")
        player, _ = module.replay(context)
        player._perform_substitutions(context)
        (file,) = [Path(name) for name, is_file in player._Node__expanded_parameter_arguments if is_file]
        (parameters,) = yaml.safe_load(file.read_text(encoding="utf-8")).values()
        return parameters["ros__parameters"]

    return play


@pytest.fixture
def composed(launch_file):
    """Composes the nodes with some arguments given; returns what the launch file keeps of them."""

    def compose(pushed="", **arguments):
        context = LaunchContext()
        context.launch_configurations["ros_namespace"] = pushed
        for name, default, *_ in launch_file.ARGUMENTS:
            context.launch_configurations[name] = arguments.get(name, default)
        nodes = [entity for entity in launch_file.compose(context) if isinstance(entity, launch_file.Node)]
        for node in nodes:
            node._perform_substitutions(context)
        return nodes

    return compose


def remappings(node):
    return dict(node.expanded_remapping_rules or [])


@pytest.mark.parametrize("name", ["fusion.launch.py", "replay.launch.py", "autoware.launch.xml"])
def test_every_argument_is_declared_with_a_description(project, name):
    file = project / "launch" / name
    description = AnyLaunchDescriptionSource(str(file)).get_launch_description(LaunchContext())
    declared = [action for action in description.entities if type(action).__name__ == "DeclareLaunchArgument"]
    assert [argument.name for argument in declared] == list(declared_arguments(file))
    assert all(argument.description for argument in declared)
    assert {argument.name: argument.choices for argument in declared if argument.choices} == {
        name: choices for name, (_, choices) in declared_arguments(file).items() if choices
    }


def test_what_an_included_file_declares_can_be_given_too(project):
    file = project / "launch" / "replay.launch.py"
    listed = AnyLaunchDescriptionSource(str(file)).get_launch_description(LaunchContext()).get_launch_arguments()
    assert {argument.name for argument in listed} == set(all_arguments(file))


def test_autowares_file_passes_every_argument_so_that_none_comes_in_from_around_it(project):
    include = ElementTree.parse(project / "launch" / "autoware.launch.xml").getroot().find("group/include")
    passed = [argument.get("name") for argument in include.findall("arg")]
    assert sorted(passed) == sorted(declared_arguments(project / "launch" / "fusion.launch.py"))


def test_an_empty_argument_passes_nothing_on(composed, launch_file):
    (node,) = composed()
    assert node.node_executable == "fusion_node"
    assert remappings(node) == {}
    parameters = node._Node__expanded_parameter_arguments
    assert [name for name, is_file in parameters if is_file] == [str(launch_file.CONFIG / "fusion.param.yaml")]
    assert len(parameters) == 1
    assert not composed(params_file="")[0]._Node__expanded_parameter_arguments


def test_the_replay_gets_what_was_given_and_waits_for_the_node(played):
    assert played() == {"wait_for_subscribers": 1}
    arguments = {"source": "7", "rate": "15", "loop": "true", "use_sim_time": "false", "log_level": "warn"}
    assert played(**arguments, replay_parameters="{start: 10.0, wait_for_subscribers: 0}") == {
        "wait_for_subscribers": 0,
        "source": "7",
        "rate": 15.0,
        "loop": True,
        "use_sim_time": False,
        "start": 10.0,
    }


@pytest.mark.parametrize(("name", "value"), [("rate", "fast"), ("replay_parameters", "fast"), ("cameras", "[front]")])
def test_a_replay_that_can_not_be_meant_is_refused(played, name, value):
    with pytest.raises(ValueError, match=re.escape(f"{name} is '{value}'")):
        played(**{name: value})


def test_live_topics(composed):
    (node,) = composed(rgb_topic="/camera/image", fused_topic="fused")
    assert remappings(node) == {"~/input/rgb": "/camera/image", "~/output/fused": "fused"}


def test_the_labels_go_where_what_they_explain_goes(composed):
    node, rviz = composed(mask_topic="/seen/mask", objects_topic="/rois0", perception_model="mine", rviz="true")
    assert remappings(node) == {
        "~/output/mask": "/seen/mask",
        "~/output/mask/label_info": "/seen/mask/label_info",
        "~/output/objects": "/rois0",
    }
    assert remappings(rviz)["/fusion_node/output/mask"] == "/seen/mask"


@pytest.mark.parametrize(("pushed", "namespace", "home"), [
    ("", "robot", "/robot"), ("/fleet", "robot", "/fleet/robot"), ("/fleet", "/robot", "/robot"), ("", "", ""),
])  # fmt: skip
def test_rviz_shows_the_topics_of_the_namespace(composed, pushed, namespace, home):
    node, rviz = composed(
        pushed, rgb_topic="rgb", thermal_topic="/thermal", rviz="true", namespace=namespace, fused_topic="/seen"
    )
    assert node.expanded_node_namespace == (home or "/")
    assert remappings(rviz) == {
        "/fusion_node/input/rgb": f"{home}/rgb",
        "/fusion_node/input/thermal": "/thermal",
        "/fusion_node/output/fused": "/seen",
        "/fusion_node/output/overlay": f"{home}/fusion_node/output/overlay",
        "/fusion_node/output/mask": f"{home}/fusion_node/output/mask",
    }


def test_each_camera_gets_a_node_with_its_name_filled_in(composed):
    nodes = composed(**TWO, namespace="robot", rgb_topic="rgb", thermal_topic="/{camera}/t", fused_topic="/{camera}/f")
    assert [node.expanded_node_namespace for node in nodes] == ["/robot/front", "/robot/rear"]
    assert [remappings(node)["~/input/thermal"] for node in nodes] == ["/front/t", "/rear/t"]
    assert [remappings(node)["~/input/rgb"] for node in nodes] == ["rgb", "rgb"]  # in each one's own namespace


def test_cameras_that_are_numbers_with_a_parameter_file_each(composed, tmp_path):
    files = [tmp_path / f"{number}.yaml" for number in (0, 2)]
    for file in files:
        file.write_text("/**: {ros__parameters: {rate.max_hz: 5.0}}", encoding="utf-8")
    nodes = composed(cameras="[0, 2]", namespace="/seen/camera{camera}", params_file=f"{tmp_path}/{{camera}}.yaml")
    assert [node.expanded_node_namespace for node in nodes] == ["/seen/camera0", "/seen/camera2"]
    assert [node._Node__expanded_parameter_arguments[0][0] for node in nodes] == [str(file) for file in files]


@pytest.mark.parametrize(("arguments", "words"), [
    ({"cameras": "front"}, "cameras is 'front'; expected a list of names"),
    ({"cameras": "[front, front]"}, "cameras names front twice"),
    ({"cameras": "[0, 1]"}, "'0' is no namespace"),
    ({**TWO, "namespace": "a b"}, "'a b/front' is no namespace"),
    ({**TWO, "fused_topic": "/fused"}, "fused_topic would be one topic of all cameras"),
    ({"rgb_topic": "/{camera}/rgb"}, "rgb_topic has {camera} in it, but cameras names none"),
    ({"parameters": "rate"}, "parameters is 'rate'"),
    ({"respawn_delay": "soon"}, "respawn_delay is 'soon'; expected a number"),
    ({"fast_dds_profile": "/no/such.xml"}, "fast_dds_profile is '/no/such.xml', which is no file"),
    ({"params_file": "/no/such.yaml"}, "params_file is '/no/such.yaml', which is no file"),
])  # fmt: skip
def test_what_can_not_be_meant_is_refused(composed, arguments, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        composed(**arguments)


def test_a_node_that_dies_is_started_again_after_a_while(composed):
    # launch keeps the two to itself, under names that its releases share.
    respawn = {name: vars(composed()[0])[f"_ExecuteLocal__{name}"] for name in ("respawn", "respawn_delay")}
    assert (respawn["respawn_delay"], bool(respawn["respawn"])) == (2.0, True)


def test_what_publishes_images_gets_the_image_profile(composed, monkeypatch, launch_file):
    for name in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
        monkeypatch.delenv(name, raising=False)
    added = {variable[0].text: value[0].text for variable, value in composed()[0].additional_env}
    assert set(added.values()) == {str(launch_file.CONFIG / "fastdds_large_images.xml")}
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", "mine.xml")
    assert not composed()[0].additional_env
    other = str(launch_file.CONFIG / "fusion.rviz")
    added = {value[0].text for _, value in composed(fast_dds_profile=other)[0].additional_env}
    assert added == {other}, "a file that is named goes before the environment"
    assert not composed(fast_dds_profile="")[0].additional_env


def test_the_transports_reach_the_node(composed):
    (node,) = composed(rgb_transport="compressed", params_file="")
    ((file, _),) = node._Node__expanded_parameter_arguments
    (parameters,) = yaml.safe_load(Path(file).read_text(encoding="utf-8")).values()
    assert parameters["ros__parameters"] == {"image_transport.rgb": "compressed"}
