"""What the launch tests start: the package's own launch files, and the replay in place of a camera driver."""

from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import AnyLaunchDescriptionSource
from launch_ros.actions import Node
from launch_testing.actions import ReadyToTest

from sage_fusion_ros.resources import fast_dds_profile, share_dir


def include(name, **arguments):
    """One of the package's launch files. A double underscore in an argument's name stands for a slash."""
    given = [(key.replace("__", "/"), value) for key, value in arguments.items()]
    return IncludeLaunchDescription(
        AnyLaunchDescriptionSource(str(share_dir() / "launch" / name)), launch_arguments=given
    )


def cameras(name="cameras", rgb="rgb", thermal="thermal", **parameters):
    """A pair of cameras: the synthetic street, four small pairs a second for ever, on the topics given."""
    return Node(
        package="sage_fusion_ros",
        executable="replay_node",
        name=name,
        parameters=[{"rate": 4.0, "loop": True, **{k.replace("__", "."): v for k, v in parameters.items()}}],
        remappings=[("~/rgb/image_raw", rgb), ("~/thermal/image_raw", thermal)],
        additional_env=fast_dds_profile(),
    )


def describe(*entities):
    """What launch_testing takes."""
    return LaunchDescription([*entities, ReadyToTest()])
