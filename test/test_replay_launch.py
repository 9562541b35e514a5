"""launch/replay.launch.py: a source played, fused with the models given, and the end of all when it has ended."""

import re

import pytest
from launch_rig import Ear, Launched

pytest.importorskip("launch_ros", reason="needs the ROS 2 package launch_ros, which has no wheel on PyPI")
pytest.importorskip("launch_testing", reason="needs the ROS 2 package launch_testing, which has no wheel on PyPI")

import launch_testing
from launched import describe, include
from rcl_interfaces.srv import GetParameters
from sensor_msgs.msg import Image


def generate_test_description():
    return describe(
        include(
            "replay.launch.py",
            source="synthetic:night",
            rate="4",
            loop="true",
            namespace="robot",
            model="sage_fast",
            perception_model="",
            replay_parameters="{rgb.frame_id: front}",
            parameters="{perception.model: ''}",
            device="cpu",
        )
    )


class TestStreaming(Launched):
    def test_the_replay_is_fused(self):
        with Ear() as ear:
            fused = ear.listen(Image, "/robot/fusion_node/output/fused")
            ear.wait(lambda: len(fused) >= 3, "fused images")
            assert fused[0].header.frame_id == "front"
            names = ["source", "rate", "loop"]
            source, rate, loop = ear.call(GetParameters, "/robot/replay_node/get_parameters", names=names).values
            assert (source.string_value, rate.double_value, loop.bool_value) == ("synthetic:night", 4.0, True)
            names = ["fusion.model", "perception.model"]
            models = ear.call(GetParameters, "/robot/fusion_node/get_parameters", names=names).values
            assert [value.string_value for value in models] == ["sage_fast", ""]


@launch_testing.post_shutdown_test()
class TestEnd(Launched):
    def test_all_have_ended_as_asked(self, proc_info):
        launch_testing.asserts.assertExitCodes(proc_info)


@pytest.mark.timeout(400)
def test_under_launch(launch_test):
    launch_test(__file__)


@pytest.mark.timeout(400)
def test_it_ends_with_its_source(launch, tmp_path):
    """The node is there from the first pair, and launch ends by itself, without an error."""
    arguments = ["source:=synthetic", "rate:=5", "device:=cpu", "parameters:={perception.model: ''}"]
    arguments.append(f"replay_parameters:={{duration: 2.0, log_path: {tmp_path / 'sent'}}}")
    code, text = launch("replay.launch.py", *arguments)
    assert code == 0, text
    assert "process has died" not in text
    ended = [text.index(f"[{node}]: process has finished cleanly") for node in ("replay_node-2", "fusion_node-1")]
    assert text.index("active: fusing") < ended[0] < ended[1]
    assert len(re.findall('"camera": "rgb"', (tmp_path / "sent").read_text(encoding="utf-8"))) == 10


@pytest.mark.timeout(400)
def test_several_cameras_are_refused(launch):
    code, text = launch("replay.launch.py", "cameras:=[front, rear]", "rgb_topic:=/{camera}/rgb")
    assert code != 0
    assert "a replay plays one pair" in text
