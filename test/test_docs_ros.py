"""The commands of the documentation that need a ROS install: their syntax, and every name in them."""

import re
import signal
import subprocess
import sys

import pytest
from doc_commands import PAGES, PROJECT, blocks, commands, split
from launch_files import declared_arguments
from launch_rig import Ear
from ros_commands import Refused, check, check_syntax

from sage_fusion_ros.nodes import annotation_output, autoware_outputs

COMMANDS = commands("ros")
BLOCKS = [block for page in PAGES for block in blocks(page)[0] if "ros" in block.info]
NODES = {"fusion_node": ["engine.device:=cpu"], "replay_node": ["loop:=true", "rate:=1.0"]}
# Seen last, so that the others are there as well.
LAST = {"fusion_node/input/thermal", "fusion_node/output/mask", "replay_node/thermal/camera_info"}


@pytest.fixture(scope="module")
def names():
    """Topics and services of the two nodes, seen from outside while they run."""
    running = [
        subprocess.Popen(
            [sys.executable, "-m", f"sage_fusion_ros.nodes.{node}", "--ros-args"]
            + [word for parameter in parameters for word in ("-p", parameter)],
            stderr=subprocess.DEVNULL,
        )
        for node, parameters in NODES.items()
    ]
    found = {node: set() for node in NODES}
    try:
        with Ear() as ear:

            def seen():
                graph = ear.node.get_topic_names_and_types() + ear.node.get_service_names_and_types()
                for name, _ in graph:
                    match = re.fullmatch(r"/(fusion_node|replay_node)/(.+)", name)
                    if match:
                        found[match[1]].add(match[2])
                return {f"{node}/{name}" for node, own in found.items() for name in own} >= LAST

            ear.wait(seen, "the topics of both nodes", 60)
    finally:
        for process in running:
            process.send_signal(signal.SIGINT)
        for process in running:
            process.wait(30)
    # Published where their messages are installed, which they need not be here.
    optional = (annotation_output.AnnotationsTopic, autoware_outputs.ObjectsTopic, autoware_outputs.MaskRunsTopic)
    found["fusion_node"] |= {kind.name.removeprefix("~/") for kind in optional}
    return found


def test_every_topic_of_the_node_has_a_launch_argument(names):
    arguments = declared_arguments(PROJECT / "launch" / "fusion.launch.py")
    topics = {name.partition("/")[2] for name in names["fusion_node"] if re.fullmatch(r"(input|output)/\w+", name)}
    assert {f"{topic}_topic" for topic in topics} == {name for name in arguments if name.endswith("_topic")}


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.where)
def test_the_shell_can_read_it(block):
    check_syntax(block.text)


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_command(command, names):
    check(command.words, names)


def test_there_are_such_commands():
    assert {"launch", "run", "param", "topic", "bag", "lifecycle"} <= {c.words[1] for c in COMMANDS if len(c.words) > 1}


WRONG = """
ros2 launch sage_fusion_ros fuse.launch.py
ros2 launch sage_fusion_ros fusion.launch.py colour:=red
ros2 launch sage_fusion_ros fusion.launch.py model:=
ros2 launch sage_fusion_ros fusion.launch.py rviz:=maybe
ros2 launch sage_fusion_ros fusion.launch.py parameters:='{rate.max: 3.0}'
ros2 launch sage_fusion fusion.launch.py
ros2 launch sage_fusion_ros fusion.launch.py source:=synthetic
ros2 run sage_fusion_ros fuse_node
ros2 run sage_fusion_ros fusion_node --ros-args -p rate.max_hz:=-1.0
ros2 run sage_fusion_ros fusion_node -p a:=1
ros2 run sage_fusion_ros fusion_node --ros-args -r '~/input/red:=/camera'
ros2 param set /fusion_node autostart true
ros2 param set /fusion_node rate.max_hz fast
ros2 param get /fusion_node rate.max
ros2 param dump /fuse_node
ros2 topic echo /fusion_node/output/fuse
ros2 topic echo /diagnostic
ros2 topic hz --slow /diagnostics
ros2 lifecycle set /fusion_node start
ros2 service call /fusion_node/stop std_srvs/srv/Empty
ros2 dance now
P=$(ros2 pkg prefix --share sage_fusion_ros)/config/none.xml
rm -r build
"""


@pytest.mark.parametrize("text", WRONG.strip().splitlines())
def test_a_wrong_command_is_found(text, names):
    with pytest.raises(Refused):
        check(split(text)[0], names)


def test_a_wrong_quote_is_found():
    with pytest.raises(Refused):
        check_syntax("ros2 launch sage_fusion_ros fusion.launch.py cameras:='[front")
