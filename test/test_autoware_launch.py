"""launch/autoware.launch.xml: camera ids in, Autoware's topics out, also inside a launch file with names like ours."""

import pytest
from launch_rig import Ear, Launched

pytest.importorskip("launch_ros", reason="needs the ROS 2 package launch_ros, which has no wheel on PyPI")
pytest.importorskip("launch_testing", reason="needs the ROS 2 package launch_testing, which has no wheel on PyPI")
pytest.importorskip("tier4_perception_msgs", reason="tier4_perception_msgs is not part of this ROS install")

import launch_testing
from launch.actions import DeclareLaunchArgument
from launched import cameras, describe, include
from sensor_msgs.msg import Image
from tier4_perception_msgs.msg import DetectedObjectsWithFeature

from sage_fusion_ros.pipeline.mask_rle import decode_runs

IDS = (0, 2)
DETECTION = "/perception/object_recognition/detection"


def generate_test_description():
    return describe(
        # What would come in, if the file did not pass every argument on.
        DeclareLaunchArgument("params_file", default_value="/nowhere.yaml"),
        DeclareLaunchArgument("rviz", default_value="true"),
        *(
            cameras(f"cameras{i}", f"/sensing/camera/camera{i}/image_raw", f"/sensing/camera/thermal{i}/image_raw",
                    rate=2.0, rgb__frame_id=f"camera{i}/camera_optical_link")
            for i in IDS
        ),
        include("autoware.launch.xml", camera_ids=str(list(IDS)), parameters="{engine.threads: 1}"),
    )  # fmt: skip


class TestStreaming(Launched):
    def test_each_camera_gives_boxes_and_mask_under_autowares_names(self):
        with Ear() as ear:
            masks = {i: ear.listen(Image, f"{DETECTION}/mask{i}") for i in IDS}
            boxes = {i: ear.listen(DetectedObjectsWithFeature, f"{DETECTION}/rois{i}") for i in IDS}
            ear.wait(lambda: all([*masks.values(), *boxes.values()]), "boxes and masks of both cameras")
            for i in IDS:
                frame = f"camera{i}/camera_optical_link"
                assert (masks[i][0].header.frame_id, boxes[i][0].header.frame_id) == (frame, frame)
                mask = masks[i][0]
                ids = decode_runs(mask.data, mask.height, mask.width)
                assert int(ids.max()) < 16
            running = set(ear.node.get_node_names_and_namespaces())
            assert {("fusion_node", f"/sage_fusion/camera{i}") for i in IDS} <= running


@launch_testing.post_shutdown_test()
class TestEnd(Launched):
    def test_all_have_ended_as_asked(self, proc_info):
        launch_testing.asserts.assertExitCodes(proc_info)


@pytest.mark.timeout(400)
def test_under_launch(launch_test):
    launch_test(__file__)
