"""What a table is, and how it looks in fixed width."""

from __future__ import annotations

from dataclasses import dataclass, field

NONE = "-"


@dataclass(frozen=True)
class Line:
    """A line of a table.

    Attributes:
        label: Its name.
        kind: Of the row, as in summary.Row; empty where it is none.
        cells: One text for each column.
        best: Columns in which it is the best.
    """

    label: str
    kind: str
    cells: list[str]
    best: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: What it shows.
        columns: Headings, of one line or two.
        lines: Its lines.
        foot: Sentences below it.
    """

    title: str
    columns: list[str]
    lines: list[Line]
    foot: list[str] = field(default_factory=list)


def as_text(table: Table, bold: bool = False) -> str:
    """The table in fixed width; the best cells bold on a terminal that can, else marked with a star."""
    starred = frozenset().union(*(line.best for line in table.lines)) if not bold else frozenset()

    def cell(line: Line, index: int) -> str:
        return line.cells[index] + (" *"[index in line.best] if index in starred else "")

    label = max([len(line.label) for line in table.lines], default=0)
    headings = [heading.rpartition("\n")[::2] for heading in table.columns]
    widths = [
        max([*map(len, heading), *(len(cell(line, index)) for line in table.lines)])
        for index, heading in enumerate(headings)
    ]
    out = [table.title]
    for row in (0, 1) if any(heading[0] for heading in headings) else (1,):
        texts = (f"  {heading[row]:>{width}}" for heading, width in zip(headings, widths, strict=True))
        out.append((" " * label + "".join(texts)).rstrip())
    for line in table.lines:
        text = f"{line.label:<{label}}"
        for index, width in enumerate(widths):
            shown = f"{cell(line, index):>{width}}"
            text += "  " + (f"\033[1m{shown}\033[0m" if bold and index in line.best else shown)
        out.append(text.rstrip())
    return "\n".join([*out, *(f"  {sentence}" for sentence in table.foot)])


def number(value: float | None, digits: int) -> str:
    """A figure with so many digits, or a dash."""
    return NONE if value is None else f"{value:.{digits}f}"
