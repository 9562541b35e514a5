"""Compiles ROS 2 message packages into the virtual environment whose Python runs this file.

    .venv/bin/python tools/build_interfaces.py FOLDER ...

Each FOLDER holds message packages. One whose digest is that of the last build is left as it is. The result goes into
the environment's own prefix, where Python and the loader find it and nothing has to be sourced.
"""

import argparse
import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from graphlib import TopologicalSorter
from pathlib import Path
from xml.etree import ElementTree

# What cmake is told, and so part of every digest. BUILD_TESTING would ask for linters that have no wheels.
OPTIONS = ("-DBUILD_TESTING=OFF", "-DCMAKE_BUILD_TYPE=Release")
# Run last: the types are found, and a message of each can be put on the wire.
TRIAL = """
import importlib, sys
from rclpy.serialization import serialize_message
for kind in vars(importlib.import_module(sys.argv[1] + ".msg")).values():
    if isinstance(kind, type):
        serialize_message(kind())
"""
LOG_LINES = 40
# Dependencies whose release the compiled code depends on, beside the message packages named in package.xml.
FOUNDATIONS = ("ros-rosidl-", "ros-fastcdr", "ros-rmw-fastrtps-cpp")
# The wheels' cmake files name the include folders of the machine that built them.
BUILDER_PYTHON = re.compile(r"/opt/python/cp3\d+-cp3\d+[a-z]*/include/python3\.\d+[a-z]*")
BUILDER_NUMPY = re.compile(r"/opt/python/cp3\d+-cp3\d+[a-z]*/lib/python3\.\d+[a-z]*/site-packages/numpy/_?core/include")


class BuildError(Exception):
    """A message package that could not be built; the message says why and what to do."""


def dependencies(package: Path) -> list[str]:
    """Names of the packages that a package.xml asks for at build time."""
    root = ElementTree.parse(package / "package.xml").getroot()
    return [str(tag.text).strip() for kind in ("depend", "build_depend") for tag in root.iter(kind)]


def find_packages(folders: list[Path]) -> dict[str, Path]:
    """Message packages directly in the folders, name to path, each after those it depends on.

    Raises:
        BuildError: A folder holds none.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        here = {file.parent.name: file.parent for file in sorted(folder.glob("*/package.xml"))}
        if not here:
            raise BuildError(f"{folder} holds no message package (a folder with a package.xml)")
        found |= here
    graph = {name: [other for other in dependencies(path) if other in found] for name, path in found.items()}
    return {name: found[name] for name in TopologicalSorter(graph).static_order()}


def wheel_releases(package: Path) -> list[str]:
    """The installed ROS wheels that the compiled package depends on, as sorted 'name==version'."""
    named = {f"ros-{name.replace('_', '-')}" for name in dependencies(package)}
    wheels = set()
    for distribution in importlib.metadata.distributions():
        name = str(distribution.metadata["Name"]).lower().replace("_", "-")
        if name in named or name.startswith(FOUNDATIONS):
            wheels.add(f"{name}=={distribution.version}")
    return sorted(wheels)


def digest(package: Path, wheels: list[str], below: list[str]) -> str:
    """What the compiled package depends on, as one hexadecimal number.

    Args:
        package: Its folder; every file in it counts, by name and content.
        wheels: Releases of the wheels it is compiled against (`wheel_releases`).
        below: Digests of the packages it depends on that are built here too.
    """
    total = hashlib.sha256(repr((sys.version_info[:2], OPTIONS, wheels, below)).encode())
    for file in sorted(path for path in package.rglob("*") if path.is_file()):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        total.update(f"{file.relative_to(package).as_posix()} {content}\n".encode())
    return total.hexdigest()


def repair_wheels(prefix: Path, python_headers: str, numpy_headers: str) -> None:
    """Points the cmake files of the installed message wheels at this machine's headers; again after each install."""
    for file in prefix.glob("share/*/cmake/export_*__rosidl_generator_pyExport.cmake"):
        text = file.read_text(encoding="utf-8")
        mended = BUILDER_PYTHON.sub(lambda _: python_headers, BUILDER_NUMPY.sub(lambda _: numpy_headers, text))
        if mended != text:
            file.write_text(mended, encoding="utf-8")


def environment(prefix: Path) -> dict[str, str]:
    """The environment of cmake and all it starts: this prefix alone."""
    # The wheels restart Python with their libraries' folders in LD_LIBRARY_PATH; the compiler shall not see those, and
    # every Python below sets them anew once the mark that it has been done is gone.
    env = {name: value for name, value in os.environ.items()
           if name not in ("LD_LIBRARY_PATH", "PYTHONPATH", "_ROS_WHEELS_BOOTSTRAP_COMPLETE")}  # fmt: skip
    here = {"AMENT_PREFIX_PATH": str(prefix), "CMAKE_PREFIX_PATH": str(prefix)}
    return env | here | {"PATH": f"{prefix / 'bin'}{os.pathsep}{env.get('PATH', os.defpath)}"}


def remove_installed(manifest: Path) -> None:
    """Removes the files that an earlier build installed, so that no definition outlives its file."""
    if manifest.is_file():
        for line in manifest.read_text(encoding="utf-8").splitlines():
            Path(line).unlink(missing_ok=True)
        manifest.unlink()


def build(name: str, package: Path, prefix: Path, state: Path, jobs: int) -> None:
    """Configures, compiles, installs and imports one package.

    Raises:
        BuildError: A step failed. What it printed is in the log that the message names, and its end in the message.
    """
    folder, log, manifest = state / name, state / f"{name}.log", state / f"{name}.files"
    shutil.rmtree(folder, ignore_errors=True)
    modules = os.path.relpath(sysconfig.get_path("purelib"), sys.prefix)
    steps = [
        ["cmake", "-G", "Ninja", "-S", package, "-B", folder, f"-DCMAKE_INSTALL_PREFIX={prefix}", *OPTIONS,
         f"-DPython3_EXECUTABLE={sys.executable}", f"-DPYTHON_INSTALL_DIR={modules}"],
        ["cmake", "--build", folder, "--parallel", str(jobs)],
        ["cmake", "--install", folder],
        [sys.executable, "-c", TRIAL, name],
    ]  # fmt: skip
    env = environment(prefix)
    with log.open("w", encoding="utf-8") as out:
        for step in steps:
            if "--install" in step:
                remove_installed(manifest)
            command = [str(part) for part in step]
            out.write(f"$ {' '.join(command)}\n")
            out.flush()
            if subprocess.run(command, env=env, stdout=out, stderr=subprocess.STDOUT, check=False).returncode:
                raise BuildError(failure(name, package, log))
            if "--install" in step:
                shutil.copyfile(folder / "install_manifest.txt", manifest)
    shutil.rmtree(folder)


def failure(name: str, package: Path, log: Path) -> str:
    """The message about a step that failed."""
    end = "".join(log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)[-LOG_LINES:])
    return f"{end}\n{name} (from {package}) could not be built; the end of what was printed stands above, all in {log}"


def build_stale(folders: list[Path], prefix: Path, jobs: int) -> list[str]:
    """Builds the packages of the folders that are not installed in the prefix as they now stand; returns their names.

    Raises:
        BuildError: One could not be built. Those before it are done and not built again next time.
    """
    state = prefix / ".interfaces"
    state.mkdir(exist_ok=True)
    digests: dict[str, str] = {}
    built = []
    for name, package in find_packages(folders).items():
        below = [digests[other] for other in dependencies(package) if other in digests]
        digests[name] = digest(package, wheel_releases(package), below)
        stamp = state / f"{name}.digest"
        installed = (prefix / "share" / name / "package.xml").is_file()
        if installed and stamp.is_file() and stamp.read_text(encoding="utf-8") == digests[name]:
            continue
        if not built:
            prepare(prefix)
        print(f"Compiling {name} into {prefix.name}; needed once", flush=True)
        stamp.unlink(missing_ok=True)
        build(name, package, prefix, state, jobs)
        stamp.write_text(digests[name], encoding="utf-8")
        built.append(name)
    return built


def prepare(prefix: Path) -> None:
    """What has to be so before the first compilation.

    Raises:
        BuildError: The machine lacks a compiler or Python's headers; it has been said which.
    """
    if subprocess.run(["sh", Path(__file__).with_name("check_machine.sh"), sys.executable], check=False).returncode:
        raise BuildError("without these the message packages cannot be compiled")
    import numpy

    repair_wheels(prefix, sysconfig.get_path("include"), numpy.get_include())


def main() -> int:
    """Builds what the command line names; 1 if it could not be done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="folder of message packages")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="compilers at a time; default: one a core")
    arguments = parser.parse_args()
    if sys.prefix == sys.base_prefix:
        parser.error("run it with the Python of a virtual environment: it installs into that")
    try:
        build_stale(arguments.folders, Path(sys.prefix), arguments.jobs)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
