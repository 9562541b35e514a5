"""launch/fusion.launch.py with several cameras: a node for each in a namespace of its own, and none hears another's."""

import pytest
from launch_rig import Ear, Launched

pytest.importorskip("launch_ros", reason="needs the ROS 2 package launch_ros, which has no wheel on PyPI")
pytest.importorskip("launch_testing", reason="needs the ROS 2 package launch_testing, which has no wheel on PyPI")

import launch_testing
from launched import cameras, describe, include
from sensor_msgs.msg import Image

NAMES = ("front", "rear")


def generate_test_description():
    return describe(
        *(
            cameras(f"{name}_cameras", f"/{name}/rgb", f"/sensors/{name}_thermal", rgb__frame_id=f"{name}_optical")
            for name in NAMES
        ),
        include(
            "fusion.launch.py",
            cameras=f"[{', '.join(NAMES)}]",
            rgb_topic="rgb",
            thermal_topic="/sensors/{camera}_thermal",
            fused_topic="/seen/{camera}",
            parameters="{perception.model: '', engine.threads: 1}",
        ),
    )


class TestStreaming(Launched):
    def test_each_fuses_its_own_pair(self):
        with Ear() as ear:
            fused = {name: ear.listen(Image, f"/seen/{name}") for name in NAMES}
            ear.wait(lambda: all(len(heard) >= 3 for heard in fused.values()), "fused images of both")
            for name, heard in fused.items():
                assert {message.header.frame_id for message in heard} == {f"{name}_optical"}
            running = set(ear.node.get_node_names_and_namespaces())
            assert {("fusion_node", f"/{name}") for name in NAMES} <= running


@launch_testing.post_shutdown_test()
class TestEnd(Launched):
    def test_all_have_ended_as_asked(self, proc_info):
        launch_testing.asserts.assertExitCodes(proc_info)


@pytest.mark.timeout(400)
def test_under_launch(launch_test):
    launch_test(__file__)
