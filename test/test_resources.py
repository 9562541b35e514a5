"""Where an installed package finds its models and settings."""

import sys

import pytest

from sage_fusion_ros import resources
from sage_fusion_ros.errors import SageFusionError


def install(root, package="lib/python3.11/site-packages/sage_fusion_ros", share="share/sage_fusion_ros"):
    """An installation as colcon and pip lay it out; returns the folder of shared files."""
    (root / package).mkdir(parents=True)
    (root / share / "models").mkdir(parents=True)
    (root / share / "package.xml").touch()
    return root / share


@pytest.fixture
def lies_in(monkeypatch):
    """Makes resources believe that the package's code lies in a folder."""
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    monkeypatch.setattr(sys, "prefix", "/nowhere")

    def move(package):
        monkeypatch.setattr(resources, "__file__", str(package / "resources.py"))

    return move


def test_source_tree(project, lies_in):
    lies_in(project / "sage_fusion_ros")
    assert resources.share_dir() == project


@pytest.mark.parametrize(
    "package",
    [
        "lib/python3.11/site-packages/sage_fusion_ros",  # a virtual environment; a colcon workspace
        "local/lib/python3.10/dist-packages/sage_fusion_ros",  # Debian's own Python
        "sage_fusion_ros",  # pip install --target
    ],
)
def test_installed_package_uses_its_own_files(tmp_path, lies_in, monkeypatch, package):
    share = install(tmp_path / "here", package)
    install(tmp_path / "other")
    lies_in(tmp_path / "here" / package)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "other"))
    assert resources.share_dir() == share


def test_interpreter_prefix_comes_last(tmp_path, lies_in, monkeypatch):
    lies_in(tmp_path / "elsewhere" / "sage_fusion_ros")
    share = install(tmp_path / "venv")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    assert resources.share_dir() == share


def test_ament_index(tmp_path, lies_in, monkeypatch):
    pytest.importorskip("ament_index_python")
    lies_in(tmp_path / "elsewhere" / "sage_fusion_ros")
    share = install(tmp_path / "install")
    marker = tmp_path / "install" / "share" / "ament_index" / "resource_index" / "packages" / "sage_fusion_ros"
    marker.parent.mkdir(parents=True)
    marker.touch()
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path / "install"))
    assert resources.share_dir() == share


def test_nothing_found_names_the_places(tmp_path, lies_in, monkeypatch):
    lies_in(tmp_path / "lib" / "sage_fusion_ros")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    with pytest.raises(SageFusionError) as error:
        resources.share_dir()
    assert str(tmp_path / "lib") in str(error.value)
    assert "/nowhere/share/sage_fusion_ros" in str(error.value)


@pytest.mark.parametrize(
    ("rclpy", "variable"),
    [
        ("3.3.15", "FASTRTPS_DEFAULT_PROFILES_FILE"),  # Humble
        ("7.1.6", "FASTRTPS_DEFAULT_PROFILES_FILE"),  # Jazzy
        ("9.1.2", "FASTDDS_DEFAULT_PROFILES_FILE"),  # Kilted
        ("10.0.1", "FASTDDS_DEFAULT_PROFILES_FILE"),
    ],
)
def test_fast_dds_profile_goes_under_the_name_this_release_reads(project, monkeypatch, rclpy, variable):
    monkeypatch.setattr("importlib.metadata.version", {"rclpy": rclpy}.__getitem__)
    assert resources.fast_dds_profile({}) == {variable: str(project / "config" / "fastdds_large_images.xml")}


@pytest.mark.parametrize("variable", [resources.FAST_DDS_3_PROFILE, resources.FAST_DDS_2_PROFILE])
def test_the_users_own_profile_stays(variable):
    assert resources.fast_dds_profile({variable: "mine.xml"}) == {}


def test_a_profile_that_is_named_goes_before_the_environment_and_the_packages_own_behind_it(project):
    own, other = str(resources.own_fast_dds_profile()), str(project / "package.xml")
    set_by_user = {resources.FAST_DDS_3_PROFILE: "mine.xml"}
    assert set(resources.chosen_fast_dds_profile(own, {}).values()) == {own}
    assert resources.chosen_fast_dds_profile(own, set_by_user) == {}
    assert set(resources.chosen_fast_dds_profile(other, set_by_user).values()) == {other}
    assert resources.chosen_fast_dds_profile("", {}) == resources.chosen_fast_dds_profile("none", {}) == {}
    with pytest.raises(ValueError, match="fast_dds_profile is 'none.xml', which is no file"):
        resources.chosen_fast_dds_profile("none.xml", {})
