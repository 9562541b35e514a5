"""Where the package's own files are: models, config, launch files. Standard library only."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from sage_fusion_ros.errors import SageFusionError

PACKAGE = "sage_fusion_ros"

# Fast DDS 3 (Kilted and later) reads the first name and warns of the second; Fast DDS 2 (Humble, Jazzy) reads the
# second alone, and passes over the first without a word.
FAST_DDS_3_PROFILE = "FASTDDS_DEFAULT_PROFILES_FILE"
FAST_DDS_2_PROFILE = "FASTRTPS_DEFAULT_PROFILES_FILE"
FIRST_RCLPY_WITH_FAST_DDS_3 = 9


def share_dir() -> Path:
    """Folder that holds models/, config/ and launch/, and beside them package.xml.

    Found in a source tree (an editable installation, or colcon with --symlink-install), beside an installed package
    (colcon, pip), through the ament index, or in the interpreter's own share folder, in this order. The installed
    package's own folder comes before the index so that code never meets the models of another version.

    Raises:
        SageFusionError: None of these places has it; the message names them all.
    """
    looked_in = []
    for folder in _candidates():
        if (folder / "package.xml").is_file() and (folder / "models").is_dir():
            return folder
        looked_in.append(str(folder))
    raise SageFusionError(
        f"the shared files of {PACKAGE} (models, config) are in none of: {', '.join(dict.fromkeys(looked_in))}. "
        "Install the package again with colcon or pip, or source the workspace's setup file"
    )


def fast_dds_profile(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Environment a process that publishes images needs, so that large ones are not lost.

    Args:
        environment: The process's environment so far.

    Returns:
        Variables to add; none where the user has already chosen a Fast DDS profile.
    """
    if environment.get(FAST_DDS_3_PROFILE) or environment.get(FAST_DDS_2_PROFILE):
        return {}
    return dict.fromkeys(_fast_dds_variables(), str(own_fast_dds_profile()))


def own_fast_dds_profile() -> Path:
    """The package's profile, with room in shared memory for images."""
    return share_dir() / "config" / "fastdds_large_images.xml"


def chosen_fast_dds_profile(chosen: str, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Environment for a launch argument that names a profile.

    Args:
        chosen: A file; "none" or empty: what the environment says holds. The package's own file stands back where the
            environment names one already; any other goes before it.
        environment: As it is so far.

    Raises:
        ValueError: There is no such file.
    """
    if chosen in ("", "none"):  # ros2 launch takes no empty argument
        return {}
    if not Path(chosen).is_file():  # Fast DDS would go on without it
        raise ValueError(f"fast_dds_profile is '{chosen}', which is no file")
    if Path(chosen) == own_fast_dds_profile():
        return fast_dds_profile(environment)
    return dict.fromkeys(_fast_dds_variables(), chosen)


def _fast_dds_variables() -> tuple[str, ...]:
    try:
        rclpy_major = int(importlib.metadata.version("rclpy").partition(".")[0])
    except importlib.metadata.PackageNotFoundError:
        return (FAST_DDS_3_PROFILE, FAST_DDS_2_PROFILE)
    return (FAST_DDS_3_PROFILE,) if rclpy_major >= FIRST_RCLPY_WITH_FAST_DDS_3 else (FAST_DDS_2_PROFILE,)


def _candidates() -> Iterator[Path]:
    package = Path(__file__).resolve().parent
    yield package.parent
    # <prefix>/lib/python3.x/site-packages/<package> has its files in <prefix>/share/<package>.
    yield from (parent / "share" / PACKAGE for parent in package.parents)
    if os.environ.get("AMENT_PREFIX_PATH"):
        yield from _ament_share()
    yield Path(sys.prefix) / "share" / PACKAGE


def _ament_share() -> Iterator[Path]:
    try:
        from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
    except ImportError:
        return
    try:
        yield Path(get_package_share_directory(PACKAGE))
    except PackageNotFoundError:
        return
