"""launch/fusion.launch.py with autostart:=false: the transitions are a manager's, and nothing happens before them."""

import pytest
from launch_rig import Ear, Launched

pytest.importorskip("launch_ros", reason="needs the ROS 2 package launch_ros, which has no wheel on PyPI")
pytest.importorskip("launch_testing", reason="needs the ROS 2 package launch_testing, which has no wheel on PyPI")

import launch_testing
from launched import cameras, describe, include
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from sensor_msgs.msg import Image


def generate_test_description():
    return describe(
        cameras(rgb="/rgb", thermal="/thermal"),
        include(
            "fusion.launch.py",
            rgb_topic="/rgb",
            thermal_topic="/thermal",
            autostart="false",
            parameters="{perception.model: ''}",
        ),
    )


class TestManaged(Launched):
    def test_it_waits_for_the_manager(self):
        with Ear() as ear:
            fused = ear.listen(Image, "/fusion_node/output/fused")

            def state():
                return ear.call(GetState, "/fusion_node/get_state").current_state.id

            def change(transition):
                return ear.call(ChangeState, "/fusion_node/change_state", transition=Transition(id=transition)).success

            assert state() == State.PRIMARY_STATE_UNCONFIGURED
            assert change(Transition.TRANSITION_CONFIGURE)
            assert state() == State.PRIMARY_STATE_INACTIVE
            assert fused == []
            assert change(Transition.TRANSITION_ACTIVATE)
            ear.wait(lambda: len(fused) >= 2, "fused images")
            assert change(Transition.TRANSITION_DEACTIVATE)
            assert state() == State.PRIMARY_STATE_INACTIVE


@launch_testing.post_shutdown_test()
class TestEnd(Launched):
    def test_all_have_ended_as_asked(self, proc_info):
        launch_testing.asserts.assertExitCodes(proc_info)


@pytest.mark.timeout(400)
def test_under_launch(launch_test):
    launch_test(__file__)
