#!/bin/sh
# Says, all at once and by package name, what this machine lacks. Run by make before it creates the environment, and
# before message packages are compiled (build_interfaces.py).
# Usage: check_machine.sh PYTHON
python="$1"
needed=""

say() { printf '%s\n' "$@" >&2; }

if ! command -v "$python" >/dev/null 2>&1; then
    say "There is no '$python' on this machine. Install it (sudo apt-get install python3), or name another one:" \
        "    make PYTHON=python3.11 ..."
    exit 1
fi
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || {
    say "'$python' is there but does not run; name another one: make PYTHON=python3.11 ..."
    exit 1
}
case "$version" in
    3.10 | 3.11 | 3.12) ;;
    *)
        say "'$python' is Python $version; this project runs on Python 3.10, 3.11 and 3.12." \
            "Name one of them: make PYTHON=python3.11 ..."
        exit 1
        ;;
esac

# Debian ships venv without ensurepip; the package that brings it carries the version in its name.
"$python" -c 'import venv, ensurepip' 2>/dev/null || needed="$needed python$version-venv"
# The message packages that PyPI does not have are compiled here: compilers, and the headers of Python.
"$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' ||
    needed="$needed python$version-dev"
has_any() {
    for tool; do command -v "$tool" >/dev/null 2>&1 && return; done
    return 1
}
has_any "${CC:-cc}" gcc clang && has_any "${CXX:-c++}" g++ clang++ || needed="$needed g++"

if [ -n "$needed" ]; then
    say "This machine lacks what the project needs. Install it with:" "    sudo apt-get install$needed"
    exit 1
fi
