"""Where the package's own files are: models, config, launch files. Standard library only."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from sage_fusion_ros.errors import SageFusionError

PACKAGE = "sage_fusion_ros"

# Fast DDS 3 (Kilted and later) reads the first name, Fast DDS 2 (Humble, Jazzy) only the second.
FAST_DDS_PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")


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
    if any(environment.get(name) for name in FAST_DDS_PROFILE_VARIABLES):
        return {}
    profile = str(share_dir() / "config" / "fastdds_large_images.xml")
    return dict.fromkeys(FAST_DDS_PROFILE_VARIABLES, profile)


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
