"""launch/fusion.launch.py on live topics: parameters, topics, a node that dies and comes back."""

import os
import signal

import pytest
from launch_rig import Ear, Launched

pytest.importorskip("launch_ros", reason="needs the ROS 2 package launch_ros, which has no wheel on PyPI")
pytest.importorskip("launch_testing", reason="needs the ROS 2 package launch_testing, which has no wheel on PyPI")

import launch_testing
from launched import cameras, describe, include
from rcl_interfaces.srv import GetParameters
from sensor_msgs.msg import Image

FUSED = "/robot/seen"


def generate_test_description():
    return describe(
        cameras(rgb="/front/rgb", thermal="/front/thermal"),
        include(
            "fusion.launch.py",
            rgb_topic="/front/rgb",
            thermal_topic="/front/thermal",
            fused_topic="seen",
            namespace="robot",
            device="cpu",
            parameters="{pairing.max_dt_ms: 21.0}",
            respawn_delay="0.5",
        ),
    )


class TestStreaming(Launched):
    def test_images_are_fused_with_the_parameters_given(self):
        with Ear() as ear:
            fused = ear.listen(Image, FUSED)
            ear.wait(lambda: len(fused) >= 3, "fused images")
            assert fused[0].encoding == "rgb8"
            asked = ["pairing.max_dt_ms", "engine.device", "rate.max_hz"]
            values = ear.call(GetParameters, "/robot/fusion_node/get_parameters", names=asked).values
            assert (values[0].double_value, values[1].string_value, values[2].double_value) == (21.0, "cpu", 0.0)

    def test_that_is_killed_it_comes_back(self, proc_info):
        (name,) = [name for name in proc_info.process_names() if "fusion_node" in name]
        first = proc_info[name].pid
        with Ear() as ear:
            os.kill(first, signal.SIGKILL)
            ear.wait(lambda: proc_info[name].pid != first, "another process")
            fused = ear.listen(Image, FUSED)
            ear.wait(lambda: len(fused) >= 3, "fused images after the death of the node")


@launch_testing.post_shutdown_test()
class TestEnd(Launched):
    def test_all_have_ended_as_asked(self, proc_info):
        launch_testing.asserts.assertExitCodes(proc_info)


@pytest.mark.timeout(400)
def test_under_launch(launch_test):
    launch_test(__file__)
