"""package.xml: what rosdep installs for a user of a ROS install."""

import ast
import re
import sys

import pytest
from catkin_pkg.package import parse_package

# Import name to rosdep key, where the two differ.
KEYS = {"cv2": "python3-opencv", "jinja2": "python3-jinja2", "matplotlib": "python3-matplotlib",
        "numpy": "python3-numpy", "tf2_ros": "tf2_ros_py", "tqdm": "python3-tqdm", "yaml": "python3-yaml"}  # fmt: skip
# From pip, as README.md says: no key, or one that chooses for the user.
FROM_PIP = {
    "distributed",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "openvino",
    "pycocotools",
    "rosbags",
    "safetensors",
    "skimage",
    "sklearn",
    "torch",
    "transformers",
}
# Autoware's and Foxglove's messages are used where they are installed and never asked for.
OPTIONAL = {
    "autoware_internal_debug_msgs",
    "autoware_perception_msgs",
    "foxglove_msgs",
    "tier4_perception_msgs",
}


@pytest.fixture(scope="module")
def manifest(project):
    return parse_package(str(project / "package.xml"))


def imported(folder):
    """Names of the foreign packages that the files of a folder import."""
    names = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"sage_fusion_ros"}


def test_it_is_valid(manifest):
    warnings = []
    manifest.validate(warnings=warnings)
    assert warnings == []
    assert manifest.get_build_type() == "ament_python"


@pytest.mark.parametrize("folder", ["sage_fusion_ros", "launch"])
def test_it_names_everything_imported(manifest, project, folder):
    named = {depend.name for depend in manifest.exec_depends}
    needed = {KEYS.get(name, name) for name in imported(project / folder) - FROM_PIP - OPTIONAL}
    assert needed <= named
    assert "rclpy" in named


def test_version_and_licence_are_those_of_setup_py(manifest, project):
    setup = (project / "setup.py").read_text(encoding="utf-8")
    assert re.search(r'version="(.+?)"', setup).group(1) == manifest.version
    assert re.search(r'license="(.+?)"', setup).group(1) == manifest.licenses[0]
    assert (project / manifest.licenses[0].file).is_file()
