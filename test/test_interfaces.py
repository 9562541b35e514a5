"""The types compiled from interfaces/ and test/interfaces/ are those that other programs know by these names."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import rclpy
from message_packages import compiled_messages_of, messages_of
from rclpy.executors import SingleThreadedExecutor

# Field by field, in order, as the packages themselves define them (vision_msgs 4.1.1).
HEADER = "header std_msgs/Header"
VISION = {
    "Point2D": "x double, y double",
    "Pose2D": "position vision_msgs/Point2D, theta double",
    "BoundingBox2D": "center vision_msgs/Pose2D, size_x double, size_y double",
    "BoundingBox2DArray": f"{HEADER}, boxes sequence<vision_msgs/BoundingBox2D>",
    "BoundingBox3D": "center geometry_msgs/Pose, size geometry_msgs/Vector3",
    "BoundingBox3DArray": f"{HEADER}, boxes sequence<vision_msgs/BoundingBox3D>",
    "ObjectHypothesis": "class_id string, score double",
    "ObjectHypothesisWithPose": "hypothesis vision_msgs/ObjectHypothesis, pose geometry_msgs/PoseWithCovariance",
    "Classification": f"{HEADER}, results sequence<vision_msgs/ObjectHypothesis>",
    "Detection2D": f"{HEADER}, results sequence<vision_msgs/ObjectHypothesisWithPose>, "
    "bbox vision_msgs/BoundingBox2D, id string",
    "Detection2DArray": f"{HEADER}, detections sequence<vision_msgs/Detection2D>",
    "Detection3D": f"{HEADER}, results sequence<vision_msgs/ObjectHypothesisWithPose>, "
    "bbox vision_msgs/BoundingBox3D, id string",
    "Detection3DArray": f"{HEADER}, detections sequence<vision_msgs/Detection3D>",
    "VisionClass": "class_id uint16, class_name string",
    "LabelInfo": f"{HEADER}, class_map sequence<vision_msgs/VisionClass>, threshold float",
    "VisionInfo": f"{HEADER}, method string, database_location string, database_version int32",
}
# autoware_perception_msgs 1.12.0
AUTOWARE = {
    "ObjectClassification": "label uint8, probability float",
    "Shape": "type uint8, footprint geometry_msgs/Polygon, dimensions geometry_msgs/Vector3",
    "DetectedObjectKinematics": "pose_with_covariance geometry_msgs/PoseWithCovariance, "
    "has_position_covariance boolean, orientation_availability uint8, "
    "twist_with_covariance geometry_msgs/TwistWithCovariance, has_twist boolean, has_twist_covariance boolean",
    "DetectedObject": "existence_probability float, "
    "classification sequence<autoware_perception_msgs/ObjectClassification>, "
    "kinematics autoware_perception_msgs/DetectedObjectKinematics, shape autoware_perception_msgs/Shape",
    "DetectedObjects": f"{HEADER}, objects sequence<autoware_perception_msgs/DetectedObject>",
}
TIER4 = {
    "Feature": "cluster sensor_msgs/PointCloud2, roi sensor_msgs/RegionOfInterest",
    "DetectedObjectWithFeature": "object autoware_perception_msgs/DetectedObject, "
    "feature tier4_perception_msgs/Feature",
    "DetectedObjectsWithFeature": f"{HEADER}, "
    "feature_objects sequence<tier4_perception_msgs/DetectedObjectWithFeature>",
}
# foxglove_msgs 3.4.3
TIME, METADATA = "timestamp builtin_interfaces/Time", "metadata sequence<foxglove_msgs/KeyValuePair>"
FOXGLOVE = {
    "Color": "r double, g double, b double, a double",
    "Point2": "x double, y double",
    "KeyValuePair": "key string, value string",
    "CircleAnnotation": f"{TIME}, position foxglove_msgs/Point2, diameter double, thickness double, "
    f"fill_color foxglove_msgs/Color, outline_color foxglove_msgs/Color, {METADATA}",
    "PointsAnnotation": f"{TIME}, type uint8, points sequence<foxglove_msgs/Point2>, "
    "outline_color foxglove_msgs/Color, outline_colors sequence<foxglove_msgs/Color>, "
    f"fill_color foxglove_msgs/Color, thickness double, {METADATA}",
    "TextAnnotation": f"{TIME}, position foxglove_msgs/Point2, text string, font_size double, "
    f"text_color foxglove_msgs/Color, background_color foxglove_msgs/Color, {METADATA}",
    "ImageAnnotations": f"{TIME}, circles sequence<foxglove_msgs/CircleAnnotation>, "
    "points sequence<foxglove_msgs/PointsAnnotation>, texts sequence<foxglove_msgs/TextAnnotation>, "
    f"{METADATA}",
}
TABLES = {
    "vision_msgs": VISION,
    "autoware_perception_msgs": AUTOWARE,
    "tier4_perception_msgs": TIER4,
    "foxglove_msgs": FOXGLOVE,
}
CONSTANTS = {
    "ObjectClassification": ["UNKNOWN", "CAR", "TRUCK", "BUS", "TRAILER", "MOTORCYCLE", "BICYCLE", "PEDESTRIAN",
                             "ANIMAL", "HAZARD", "OVER_DRIVABLE", "UNDER_DRIVABLE"],
    "Shape": ["BOUNDING_BOX", "CYLINDER", "POLYGON"],
    "DetectedObjectKinematics": ["UNAVAILABLE", "SIGN_UNKNOWN", "AVAILABLE"],
    "PointsAnnotation": ["UNKNOWN", "POINTS", "LINE_LOOP", "LINE_STRIP", "LINE_LIST"],
}  # fmt: skip
# What ROS 2 writes beside a topic's name since Jazzy: the packages' own definitions give these same numbers.
HASHES = {
    "vision_msgs/Detection2DArray": "214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968",
    "vision_msgs/Detection3DArray": "793f5eab9595ac1c0da07873cc859db42eae51f0ee76056db8562515d830e018",
    "vision_msgs/BoundingBox2DArray": "2464e82838009386d371b523211c21c91d74d313fcdd6788223c531d621cf691",
    "vision_msgs/BoundingBox3DArray": "a81938db9576b10c2eecd7c5a5da3eac496efd00221b25ed051dfbc81fb56da6",
    "vision_msgs/Classification": "f74db28d0eaef3afb78f48bf2161cd709a1383a0309d3454383b25be11345143",
    "vision_msgs/LabelInfo": "3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783",
    "vision_msgs/VisionInfo": "95d3116a17484ad91c9a2686e1d54890bbfc3ff6c6a2de137738c4950d45d284",
    "autoware_perception_msgs/DetectedObjects": "2facd6b15786cbd1f720cdd23d22e6d60d2e7e83b8dff8fd401330e24edb187b",
    "tier4_perception_msgs/DetectedObjectsWithFeature": (
        "57ca7ba338d93c8174ea5a411ed093a01cd22df19c934ffb977103c98d697291"
    ),
    "foxglove_msgs/ImageAnnotations": "bc4e578b1ef80953415d6f966a4cab305c8a44c8b64fc405312b6f06a08fc45e",
}


def fields_of(kind):
    return ", ".join(f"{name} {type_name}" for name, type_name in kind.get_fields_and_field_types().items())


def test_vision_msgs_is_the_package_that_we_were_written_against():
    """Also on a ROS install, where it is the real one."""
    module = messages_of("vision_msgs")
    assert {name: fields_of(getattr(module, name)) for name in VISION} == VISION


@pytest.mark.parametrize("package", TABLES)
def test_definitions_have_these_fields_and_no_others(package):
    module = compiled_messages_of(package)
    kinds = {name: kind for name, kind in vars(module).items() if isinstance(kind, type)}
    assert {name: fields_of(kind) for name, kind in kinds.items()} == TABLES[package]
    for name, kind in kinds.items():
        constants = {key: getattr(kind, key) for key in type(kind).__prepare__(name, ()) if key.isupper()}
        assert constants == {key: number for number, key in enumerate(CONSTANTS.get(name, []))}, name


@pytest.mark.parametrize("name", HASHES)
def test_type_hashes_are_those_of_the_packages_themselves(name):
    package, _, kind = name.partition("/")
    compiled_messages_of(package)
    description = Path(sys.prefix, "share", package, "msg", f"{kind}.json").read_text(encoding="utf-8")
    hashes = {entry["type_name"]: entry["hash_string"] for entry in json.loads(description)["type_hashes"]}
    assert hashes[f"{package}/msg/{kind}"] == f"RIHS01_{HASHES[name]}"


def detections():
    messages = messages_of("vision_msgs")
    hypothesis = messages.ObjectHypothesisWithPose()
    hypothesis.hypothesis.class_id, hypothesis.hypothesis.score = "person", 0.875
    hypothesis.pose.covariance[35] = 2.5
    one = messages.Detection2D(results=[hypothesis, hypothesis], id="7")
    one.bbox.center.position.x, one.bbox.center.position.y, one.bbox.center.theta = 320.25, 239.5, 0.5
    one.bbox.size_x, one.bbox.size_y = 64.0, 128.5
    message = messages.Detection2DArray(detections=[one, messages.Detection2D()])
    message.header.frame_id, message.header.stamp.nanosec = "rgb_optical", 999_999_999
    return message


def label_info():
    messages = messages_of("vision_msgs")
    classes = [messages.VisionClass(class_id=11, class_name="person"), messages.VisionClass(class_id=65535)]
    return messages.LabelInfo(class_map=classes, threshold=0.25)


def objects():
    autoware, tier4 = messages_of("autoware_perception_msgs"), messages_of("tier4_perception_msgs")
    one = tier4.DetectedObjectWithFeature()
    one.object.existence_probability = 0.5
    label = autoware.ObjectClassification.PEDESTRIAN
    one.object.classification = [autoware.ObjectClassification(label=label, probability=0.75)]
    one.object.shape.type = autoware.Shape.POLYGON
    one.object.kinematics.has_twist = True
    one.feature.roi.x_offset, one.feature.roi.height, one.feature.roi.do_rectify = 12, 480, True
    one.feature.cluster.data = [1, 2, 255]
    return tier4.DetectedObjectsWithFeature(feature_objects=[one])


def annotations():
    messages = messages_of("foxglove_msgs")
    corners = [messages.Point2(x=float(x), y=1.5) for x in range(4)]
    box = messages.PointsAnnotation(type=messages.PointsAnnotation.LINE_LOOP, points=corners, thickness=2.0)
    box.outline_color.a = 1.0
    box.timestamp.sec = 17
    text = messages.TextAnnotation(text="person 0.88", font_size=12.0, position=corners[1])
    circle = messages.CircleAnnotation(diameter=3.0)
    return messages.ImageAnnotations(points=[box], texts=[text], circles=[circle])


# The other process: sends back what it receives.
ECHO = """
import importlib, sys
import rclpy
package, kind = sys.argv[1:]
kind = getattr(importlib.import_module(package + ".msg"), kind)
rclpy.init()
node = rclpy.create_node("echo")
back = node.create_publisher(kind, "back", 10)
node.create_subscription(kind, "there", back.publish, 10)
rclpy.spin(node)
"""


@pytest.mark.parametrize("make", [detections, label_info, objects, annotations])
def test_a_message_comes_back_from_another_process_unchanged(make):
    sent = make()
    kind = type(sent)
    arguments = [sys.executable, "-c", ECHO, kind.__module__.partition(".")[0], kind.__name__]
    echo = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    received = []
    context = rclpy.Context()
    try:
        rclpy.init(context=context)
        node = rclpy.create_node("sender", context=context)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        publisher = node.create_publisher(kind, "there", 10)
        node.create_subscription(kind, "back", received.append, 10)
        deadline = time.monotonic() + 60
        while not received and echo.poll() is None and time.monotonic() < deadline:
            publisher.publish(sent)
            executor.spin_once(timeout_sec=0.1)
        executor.shutdown()
    finally:
        rclpy.try_shutdown(context=context)
        echo.kill()
        _, errors = echo.communicate()
    assert received, errors
    assert received[0] == sent
    assert received[0] != kind()
