"""The message types that go into a bag: ROS's own, and vision_msgs from the definitions that the package brings."""

from __future__ import annotations

import functools
from typing import Any

from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.resources import share_dir

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
TIME_REFERENCE = "sensor_msgs/msg/TimeReference"
DETECTIONS = "vision_msgs/msg/Detection2DArray"
LABEL_INFO = "vision_msgs/msg/LabelInfo"
_DEFINITIONS = "interfaces/vision_msgs/msg"


@functools.cache
def typestore() -> Any:
    """A rosbags typestore that knows every type named above.

    Those of sensor_msgs, std_msgs and geometry_msgs that are used here are the same from Humble to Lyrical.

    Raises:
        SourceError: The library rosbags is not installed, or the definitions of vision_msgs are not there.
    """
    try:
        from rosbags.typesys import Stores, get_types_from_msg, get_typestore
    except ImportError as error:
        raise SourceError(
            "bags need the library 'rosbags', which is not installed: pip install sage_fusion_ros[bags]"
        ) from error
    folder = share_dir() / _DEFINITIONS
    files = sorted(folder.glob("*.msg"))
    if not files:
        raise SourceError(f"'{folder}' holds no message definitions; install the package again with colcon or pip")
    store = get_typestore(Stores.ROS2_HUMBLE)
    types: dict[str, Any] = {}
    for file in files:
        types.update(get_types_from_msg(file.read_text(encoding="utf-8"), f"vision_msgs/msg/{file.stem}"))
    store.register(types)
    return store
