"""The tool that compiles message packages: what it builds, what it leaves alone, what it says when it cannot."""

import importlib.util
import os
import subprocess
import sys

import pytest

MANIFEST = "<package format='3'><name>{name}</name>{depends}</package>"


@pytest.fixture(scope="module")
def tool(project):
    spec = importlib.util.spec_from_file_location("build_interfaces", project / "tools" / "build_interfaces.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def add_package(folder, name, *depends):
    (folder / name / "msg").mkdir(parents=True)
    tags = "".join(f"<depend>{other}</depend>" for other in depends)
    (folder / name / "package.xml").write_text(MANIFEST.format(name=name, depends=tags))
    (folder / name / "msg" / "Thing.msg").write_text("int32 number\n")
    return folder / name


@pytest.fixture
def packages(tmp_path):
    """Two folders: b_msgs, which a_msgs depends on, and c_msgs by itself."""
    add_package(tmp_path / "one", "a_msgs", "std_msgs", "b_msgs")
    add_package(tmp_path / "one", "c_msgs", "std_msgs")
    add_package(tmp_path / "two", "b_msgs")
    return tmp_path


@pytest.fixture
def run(tool, packages, monkeypatch):
    """Runs the tool with a compilation that only installs the mark of one; returns what was built."""
    wheels = {"a_msgs": ["ros-std-msgs==1"], "b_msgs": [], "c_msgs": ["ros-std-msgs==1"]}
    prefix = packages / "prefix"
    prefix.mkdir()

    def compile_nothing(name, package, prefix, state, jobs):
        (prefix / "share" / name).mkdir(parents=True, exist_ok=True)
        (prefix / "share" / name / "package.xml").touch()

    monkeypatch.setattr(tool, "build", compile_nothing)
    monkeypatch.setattr(tool, "prepare", lambda prefix: None)
    monkeypatch.setattr(tool, "wheel_releases", lambda package: wheels[package.name])

    def run():
        return tool.build_stale([packages / "one", packages / "two"], prefix, 1)

    run.wheels, run.prefix = wheels, prefix
    return run


def test_packages_come_after_those_they_depend_on(tool, packages):
    assert list(tool.find_packages([packages / "one", packages / "two"])) in (
        ["b_msgs", "a_msgs", "c_msgs"],
        ["c_msgs", "b_msgs", "a_msgs"],
        ["b_msgs", "c_msgs", "a_msgs"],
    )


def test_a_folder_without_packages_is_named(tool, tmp_path):
    with pytest.raises(tool.BuildError, match=f"{tmp_path} holds no message package"):
        tool.find_packages([tmp_path])


def test_nothing_is_built_twice(run, packages):
    assert sorted(run()) == ["a_msgs", "b_msgs", "c_msgs"]
    assert run() == []
    for file in packages.rglob("*.msg"):
        os.utime(file, (1, 1))
    assert run() == []


@pytest.mark.parametrize(
    "change",
    [
        lambda msg: (msg / "Thing.msg").write_text("int64 number\n"),
        lambda msg: (msg / "Other.msg").write_text("int32 number\n"),
        lambda msg: (msg / "Thing.msg").rename(msg / "Other.msg"),
        lambda msg: (msg.parent / "CMakeLists.txt").write_text("project(b_msgs)\n"),
    ],
    ids=["edited", "added", "renamed", "recipe"],
)
def test_a_change_rebuilds_the_package_and_what_depends_on_it(run, packages, change):
    run()
    change(packages / "two" / "b_msgs" / "msg")
    assert run() == ["b_msgs", "a_msgs"]
    assert run() == []


def test_other_wheels_rebuild_what_is_compiled_against_them(run):
    run()
    run.wheels["c_msgs"] = ["ros-std-msgs==2"]
    assert run() == ["c_msgs"]


def test_what_was_removed_from_the_environment_is_built_again(run):
    run()
    (run.prefix / "share" / "c_msgs" / "package.xml").unlink()
    assert run() == ["c_msgs"]


def test_an_interrupted_build_is_begun_again(tool, run, packages, monkeypatch):
    run()
    (packages / "one" / "c_msgs" / "msg" / "Thing.msg").write_text("int8 number\n")
    with monkeypatch.context() as broken:
        broken.setattr(tool, "build", lambda *_: (_ for _ in ()).throw(tool.BuildError("broken off")))
        with pytest.raises(tool.BuildError):
            run()
    # Even when the definition is again the one that was once built: what is installed may be half the other.
    (packages / "one" / "c_msgs" / "msg" / "Thing.msg").write_text("int32 number\n")
    assert run() == ["c_msgs"]


def test_wheels_are_named_by_what_package_xml_asks_for(tool, packages, monkeypatch):
    class Installed:
        def __init__(self, name, version):
            self.metadata, self.version = {"Name": name}, version

    wheels = [Installed("ros-std-msgs", "5.5.1"), Installed("ros_rosidl_generator_py", "1"), Installed("numpy", "2"),
              Installed("ros-nav-msgs", "5.5.1")]  # fmt: skip
    monkeypatch.setattr(tool.importlib.metadata, "distributions", lambda: wheels)
    assert tool.wheel_releases(packages / "one" / "a_msgs") == ["ros-rosidl-generator-py==1", "ros-std-msgs==5.5.1"]


def test_include_folders_of_the_wheels_builder_are_replaced_by_ours(tool, tmp_path):
    file = tmp_path / "share" / "x_msgs" / "cmake" / "export_x_msgs__rosidl_generator_pyExport.cmake"
    file.parent.mkdir(parents=True)
    theirs = "/opt/python/cp310-cp310"
    file.write_text(
        f"A {theirs}/include/python3.10;{theirs}/lib/python3.10/site-packages/numpy/_core/include;"
        f"{theirs}/lib/python3.10/site-packages/numpy/core/include B"
    )
    for _ in range(2):
        tool.repair_wheels(tmp_path, "/py", "/np\\1")
        assert file.read_text() == "A /py;/np\\1;/np\\1 B"


def test_a_failure_shows_the_end_of_the_output_and_where_the_rest_is(tool, packages, tmp_path):
    cmake = tmp_path / "bin" / "cmake"
    cmake.parent.mkdir()
    cmake.write_text("#!/bin/sh\nfor n in $(seq 100); do echo line $n; done; exit 3\n")
    cmake.chmod(0o755)
    with pytest.raises(tool.BuildError) as caught:
        tool.build("c_msgs", packages / "one" / "c_msgs", tmp_path, tmp_path, 1)
    message = str(caught.value)
    assert "line 100\n" in message
    assert "line 50\n" not in message
    assert "c_msgs (from" in message
    assert "line 50\n" in (tmp_path / "c_msgs.log").read_text()


def test_files_of_an_earlier_build_go_before_the_new_ones_come(tool, tmp_path):
    old, missing, manifest = tmp_path / "_old.py", tmp_path / "gone.py", tmp_path / "x_msgs.files"
    old.touch()
    manifest.write_text(f"{old}\n{missing}\n")
    tool.remove_installed(manifest)
    assert not old.exists()
    tool.remove_installed(manifest)


def test_compilers_see_this_environment_and_no_other(tool, tmp_path, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", "/elsewhere")
    monkeypatch.setenv("AMENT_PREFIX_PATH", "/elsewhere")
    monkeypatch.setenv("_ROS_WHEELS_BOOTSTRAP_COMPLETE", "1")
    env = tool.environment(tmp_path)
    assert env["AMENT_PREFIX_PATH"] == env["CMAKE_PREFIX_PATH"] == str(tmp_path)
    assert env["PATH"].split(os.pathsep)[0] == str(tmp_path / "bin")
    assert not {"LD_LIBRARY_PATH", "_ROS_WHEELS_BOOTSTRAP_COMPLETE"} & set(env)


def test_a_machine_without_a_compiler_is_told_what_to_install(project, tmp_path):
    check = ["/bin/sh", str(project / "tools" / "check_machine.sh"), sys.executable]
    env = {"PATH": str(tmp_path)}
    bare = subprocess.run(check, env=env, capture_output=True, text=True)
    assert bare.returncode == 1
    assert "sudo apt-get install" in bare.stderr
    assert "g++" in bare.stderr
    for name in ("gcc", "clang++"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    assert "g++" not in subprocess.run(check, env=env, capture_output=True, text=True).stderr


def test_both_folders_are_hidden_from_colcon(project):
    for folder in ("interfaces", "test/interfaces"):
        assert (project / folder / "COLCON_IGNORE").is_file()
        assert sorted(file.parent.name for file in (project / folder).glob("*/package.xml"))
