"""The commands of the documentation that the environment of `make` can run, run in a folder of their own.

The rule, which holds for commands still to be written: a `sage-fusion` verb is run for real, on stand-ins of the names
in STAND_INS, unless PARSED has it with the reason; then its own parser takes the arguments, and files of the package
that they name have to be there. `make` tells what it would do; `pip` has to name extras that there are. Any other
program fails, so that somebody decides. Each page has one folder, in which its commands run in their order.
"""

import importlib
import importlib.metadata
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
from doc_commands import PROJECT, commands, split, without_settings

from sage_fusion_ros.cli import main as cli

# What is not run to its end in a test, by verb or by verb and what follows it.
PARSED = {
    "bench": "measures for minutes, and figures of a busy machine are none",
    "calibrate": "searches for minutes in frames that see the same edges, which noise does not have",
    "demo": "a run of its own, which test_demo.py holds",
    "evaluate": "scores whole sets; test_evaluate.py runs it on small ones",
    "models quantise": "looks at dozens of pairs; test_quantisation.py runs it on small ones",
    "export": "needs a trained checkpoint; test_export.py makes one",
    "masks": "needs the weights of a segmenter; test_masks_cli.py has stand-ins",
    "models build": "needs a GPU; test_gpu_sessions.py has a stand-in",
    "models import-sage": "needs the authors' weights; test_import_sage.py has stand-ins",
    "train": "trains for hours; test_training.py and its like run a few steps",
}
# Parts of the package that a command may name; they have to be there.
OURS = ("config/", "docs/", "launch/", "tools/", "test/")
COMMANDS = commands("venv")


def pair(folder_rgb, folder_thermal, name="a"):
    noise = np.random.default_rng(3)
    for folder, channels in ((folder_rgb, 3), (folder_thermal, 1)):
        folder.mkdir(parents=True, exist_ok=True)
        image = noise.integers(0, 255, (48, 64, channels), np.uint8)
        assert cv2.imwrite(str(folder / f"{name}.png"), image)


# A name in a command, and what makes it in a folder.
STAND_INS = {
    "rgb.png": lambda root: pair(root, root, "rgb"),
    "thermal.png": lambda root: pair(root, root, "thermal"),
    "recordings/": lambda root: pair(root / "recordings/rgb", root / "recordings/thermal"),
    "rgb/": lambda root: pair(root / "rgb", root / "thermal"),
    "models/sage_official": lambda root: (
        (root / "models").mkdir(exist_ok=True)
        or (root / "models" / "sage_official").symlink_to(PROJECT / "models" / "sage")
    ),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folder of a page, made when it is first asked for."""
    made = {}
    return lambda page: made.setdefault(page, tmp_path_factory.mktemp(page.stem))


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_command(command, folders, monkeypatch):
    check(command.words, folders(command.page), monkeypatch)


def check(words, folder, monkeypatch):
    words = without_settings(words)
    if not words:
        return  # sets variables for those after it
    program = words[0].removeprefix(".venv/bin/")
    if program in ("python", "python3") and words[1:3] == ["-m", "pip"]:
        program, words = "pip", words[2:]
    elif program in ("python", "python3") and words[1].startswith("tools/"):
        program = "tool"
    rule = {"sage-fusion": check_verb, "make": check_make, "pip": check_pip, "tool": check_tool}.get(program)
    assert rule, f"no rule for '{program}'; add one here, or tag the block 'ros'"
    rule(words[1:], folder, monkeypatch)


def check_make(arguments, folder, monkeypatch):
    text = (PROJECT / "Makefile").read_text(encoding="utf-8")
    for argument in arguments:
        name, is_setting, _ = argument.partition("=")
        assert not is_setting or re.search(rf"^{name} *\??=", text, re.MULTILINE), f"the Makefile has no {name}"
    run = subprocess.run(
        ["make", "--dry-run", *arguments], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr


def check_tool(arguments, folder, monkeypatch):
    words = [sys.executable, str(PROJECT / arguments[0]), "--help"]
    run = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    for option in (word for word in arguments[1:] if word.startswith("-")):
        assert re.search(rf"{option}\b", run.stdout), f"{arguments[0]} has no {option}"


def check_pip(arguments, folder, monkeypatch):
    assert arguments[0] in ("install", "uninstall")
    known = set(importlib.metadata.metadata("sage_fusion_ros").get_all("Provides-Extra"))
    for argument in arguments[1:]:
        asked = re.fullmatch(r"(?:\.|sage_fusion_ros)\[(.+)\]", argument)
        assert not asked or set(asked[1].split(",")) <= known, argument
        assert asked or not argument.startswith((".", "sage_fusion_ros[")), argument


def check_verb(arguments, folder, monkeypatch):
    for word in arguments:
        if word.startswith(OURS):
            assert (PROJECT / word).exists(), f"the package has no {word}"
    if any(" ".join(arguments).startswith(f"{verb} ") or arguments == verb.split() for verb in PARSED):
        parse(arguments, monkeypatch)
        return
    for name, make in STAND_INS.items():
        if name in arguments and not (folder / name).exists():
            make(folder)
    run = subprocess.run(
        [sys.executable, "-m", "sage_fusion_ros.cli.main", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def parse(arguments, monkeypatch):
    """Lets the verb's own parser take the arguments, and stops there."""
    taken = []
    module = importlib.import_module(f"sage_fusion_ros.cli.{cli.VERBS[arguments[0]][0]}")
    monkeypatch.setattr(module, "run", lambda args: taken.append(args) or 0)
    try:
        code = cli.main(list(arguments))
    except SystemExit as refused:
        code = refused.code
    assert (code, len(taken)) == (0, 1), f"the parser of '{arguments[0]}' refuses these arguments"


def test_there_are_such_commands():
    verbs = {without_settings(c.words)[1] for c in COMMANDS if without_settings(c.words)[:1] == ["sage-fusion"]}
    assert {"fuse", "train", "evaluate", "models"} <= verbs


def test_what_is_only_parsed_is_a_verb():
    assert {verb.split()[0] for verb in PARSED} <= set(cli.VERBS)


WRONG = """
sage-fusion train sage_fast --konfig x.yaml
sage-fusion train sage_fast --config config/train/none.yaml --data a
sage-fusion fuse nothing.png there.png --output out
sage-fusion paint x
make cake
make demo COLOUR=red
pip install '.[cake]'
cook dinner
"""


@pytest.mark.parametrize("text", WRONG.strip().splitlines())
def test_a_wrong_command_is_found(text, tmp_path, monkeypatch):
    (words,) = split(text)
    with pytest.raises(AssertionError):
        check(words, tmp_path, monkeypatch)
