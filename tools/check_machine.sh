#!/bin/sh
# Says, all at once and by package name, what this machine lacks. Run by make before it creates the environment.
# Usage: check_machine.sh PYTHON
python="$1"
needed=""
helpful=""

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
"$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' ||
    helpful="$helpful python$version-dev"
command -v g++ >/dev/null 2>&1 || helpful="$helpful g++"
command -v cmake >/dev/null 2>&1 || helpful="$helpful cmake"

if [ -n "$needed" ]; then
    say "This machine lacks what the project needs. Install it with:" "    sudo apt-get install$needed$helpful"
    exit 1
fi
if [ -n "$helpful" ]; then
    say "Not found:$helpful. Going on without: these matter only where a dependency has no ready-made wheel for this" \
        "machine and has to be compiled. If the installation fails: sudo apt-get install$helpful"
fi
