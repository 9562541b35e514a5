"""How one camera stands to the other, from TF, where tf2_ros is installed."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.time import Time

from sage_fusion_ros.errors import CalibrationError
from sage_fusion_ros.nodes.side_node import SideNode
from sage_fusion_ros.pipeline.pixel_maps import Extrinsics

try:
    import tf2_ros
except ImportError:  # no wheel of it is on PyPI
    tf2_ros = None

WITHOUT_TF = (
    "tf2_ros is not installed, so the extrinsics can't come from TF: write them into a calibration file "
    "(registration.file), or install ros-<distro>-tf2-ros-py"
)


class TfExtrinsics:
    """Listens to /tf and /tf_static until the transform is there, on a node and a thread of its own.

    TF may come at hundreds of messages a second, which the node's multi-threaded executor would make dear; how two
    cameras stand does not change while they run, so listening ends when the answer is known.

    Raises:
        CalibrationError: tf2_ros is not installed.
    """

    def __init__(self, node: Node) -> None:
        if tf2_ros is None:
            raise CalibrationError(WITHOUT_TF)
        self._side = SideNode(node, "tf")
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, self._side.node, spin_thread=False)
        self._side.start()

    def look_up(self, rgb_frame: str, thermal_frame: str) -> Extrinsics:
        """The newest transform from the thermal camera's frame to the RGB camera's.

        Raises:
            CalibrationError: There is none yet, or it is no rotation and translation.
        """
        if not rgb_frame or not thermal_frame:
            raise CalibrationError("the CameraInfo of a camera has no frame_id, so TF can't be asked where it stands")
        try:
            found: Any = self._buffer.lookup_transform(rgb_frame, thermal_frame, Time()).transform
        except tf2_ros.TransformException as error:
            raise CalibrationError(
                f"TF does not know where '{thermal_frame}' stands to '{rgb_frame}' ({str(error)[:200]}): publish it, "
                "for example with static_transform_publisher, or give extrinsics in registration.file"
            ) from error
        q, t = found.rotation, found.translation
        return Extrinsics.from_quaternion((q.x, q.y, q.z, q.w), (float(t.x), float(t.y), float(t.z)))

    def close(self) -> None:
        """Stops listening."""
        self._side.close()
