"""The commands in README.md and docs/, taken out of their fenced blocks.

A block of commands is ```bash venv (what the environment that `make` creates can do: tested by running it,
test_docs_venv.py) or ```bash ros (what needs a ROS install: its syntax and names are held against the package,
test_docs_ros.py).
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
TAGS = ("venv", "ros")
FENCE = re.compile(r"^ *(```+) *(.*)$")
# What a line of four spaces may not begin with: a command there would be tested by nobody.
PROGRAMS = r"(ros2|sage-fusion|make|pip3?|python3?|torchrun|colcon|rosdep|source|export|\.venv/bin/\S+)"
HIDDEN = re.compile(rf"^ {{4,}}({PROGRAMS}|[A-Z_]+=\S+ +{PROGRAMS}) ")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it is, the words behind its fence, and its text."""

    page: Path
    line: int
    info: tuple[str, ...]
    text: str

    @property
    def where(self):
        return f"{self.page.name}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One command: where its block is, and its words as the shell would split them."""

    where: str
    page: Path
    words: tuple[str, ...]

    def __str__(self):
        return f"{self.where} {shlex.join(self.words)[:60]}"


def blocks(page):
    """The fenced blocks of a page, and its lines outside of them."""
    found, outside, fence, lines = [], [], None, []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        match = FENCE.match(line)
        if fence is None and match:
            fence, start, info, lines = match[1], number, tuple(match[2].split()), []
        elif fence is not None and match and match[1] == fence and not match[2]:
            found.append(Block(page, start, info, "\n".join(lines)))
            fence = None
        elif fence is not None:
            lines.append(line)
        else:
            outside.append((number, line))
    assert fence is None, f"{page.name}:{start} opens a block that nothing closes"
    return found, outside


def commands(tag):
    """Every command of the blocks with a tag, in their order."""
    return [
        Command(block.where, page, words)
        for page in PAGES
        for block in blocks(page)[0]
        if tag in block.info
        for words in split(block.text)
    ]


def split(text):
    """The words of each command: lines that go on are joined, comments left out, `&&` and `|` end one."""
    found = []
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
        lexer.whitespace_split = True
        lexer.commenters = "#"
        words = []
        for word in [*lexer, ";"]:
            if word in ("&&", "||", "|", ";", "&"):
                if words:
                    found.append(tuple(words))
                words = []
            else:
                words.append(word)
    return found


def without_settings(words):
    """A command's words without the variables set in front of it."""
    words = list(words)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    return words
