"""README.md and docs/: every command has a test of its kind, every link leads somewhere, every text quoted is said."""

import ast
import re

import pytest
from doc_commands import HIDDEN, PAGES, PROJECT, TAGS, blocks

from sage_fusion_ros.nodes.parameters import FUSION_PARAMETERS
from sage_fusion_ros.nodes.replay_parameters import REPLAY_PARAMETERS

NAMES = {spec.name for table in (FUSION_PARAMETERS, REPLAY_PARAMETERS) for spec in table}
GROUPS = {name.partition(".")[0] for name in NAMES if "." in name}
page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


@page
def test_every_block_says_what_it_is_and_commands_how_they_are_tested(page):
    wrong = []
    found, outside = blocks(page)
    for block in found:
        if not block.info:
            wrong.append(f"{block.where} has no language behind its fence")
        elif block.info[0] in ("sh", "shell", "console", "zsh"):
            wrong.append(f"{block.where} is '{block.info[0]}'; commands here are 'bash venv' or 'bash ros'")
        elif block.info[0] == "bash" and (len(block.info) != 2 or block.info[1] not in TAGS):
            wrong.append(f"{block.where} is '{' '.join(block.info)}'; expected 'bash venv' or 'bash ros'")
    wrong += [f"{page.name}:{n} is a command outside of a fenced block" for n, line in outside if HIDDEN.match(line)]
    assert not wrong, "\n".join(wrong)


def anchors(path):
    """The anchors that a page's headings get."""
    lines = [line for _, line in blocks(path)[1] if re.match(r"#+ ", line)]
    plain = [re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()) for line in lines]
    return {text.replace(" ", "-") for text in plain}


@page
def test_links_lead_to_files_and_headings_that_are_there(page):
    text = "\n".join(line for _, line in blocks(page)[1])
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+://", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    assert not wrong


def test_the_readme_lists_every_page():
    readme = PAGES[0].read_text(encoding="utf-8")
    assert [path.name for path in PAGES[1:] if f"(docs/{path.name})" not in readme] == []


@page
def test_parameters_named_in_the_text_exist(page):
    words = re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)[`:= ]", page.read_text(encoding="utf-8"))
    unknown = {
        word
        for word in words
        if word.partition(".")[0] in GROUPS
        and word not in NAMES
        and not any(name.startswith(f"{word}.") for name in NAMES)
        and not (PROJECT / "config" / word).exists()
        and not re.search(r"\.(png|mp4|py|yaml|onnx|pt|txt)$", word)
    }
    assert unknown == set()


def said():
    """Every text in the package's code, with a mark where something is filled in."""
    for file in (*(PROJECT / "sage_fusion_ros").rglob("*.py"), *(PROJECT / "launch").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "\0" for part in node.values]
                yield "".join(parts)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def quotes(path):
    """The texts quoted in a page, each a paragraph of lines with '> ', with the same mark for `<...>`."""
    text = "\n".join(line for _, line in blocks(path)[1])
    for paragraph in re.findall(r"(?:^> .*\n?)+", text, re.MULTILINE):
        line = " ".join(part.lstrip("> ") for part in paragraph.strip().splitlines())
        yield re.sub(r"<[^>]+>", "\0", re.sub(r"`(<[^>]+>)`", r"\1", line))


def test_the_texts_that_troubleshooting_quotes_are_the_codes_own():
    texts = set(said())
    quoted = list(quotes(PROJECT / "docs" / "troubleshooting.md"))
    assert len(quoted) >= 20
    assert [quote.replace("\0", "<...>") for quote in quoted if not any(quote in text for text in texts)] == []
