"""The report of a bench: its tables on the terminal, and a page with plots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from floors import count_all
from matrix import Matrix
from summary import summarise
from tables import tables_of

from sage_fusion_ros.evaluation.comparison.table import as_text
from sage_fusion_ros.evaluation.text_file import write_whole

PAGE = "index.html"
TEMPLATE = "report.html.jinja"
SHOWN = 5


def report(folder: Path, data: dict[str, Any]) -> str:
    """Puts the summary into the data and writes the page.

    Args:
        folder: Where the page goes.
        data: As Record.data, with "matrix", the plain values of a Matrix.

    Returns:
        The tables as text, with what was not measured below them.

    Raises:
        SageFusionError: The page can't be written.
    """
    matrix = Matrix(
        **{key: tuple(value) if isinstance(value, list) else value for key, value in data["matrix"].items()}
    )
    if "operations" not in data:
        data["operations"] = _counted(data, matrix)
    data["summary"] = summary = summarise(data, matrix)
    tables, warnings = tables_of(summary, matrix), _warnings(data, summary)
    try:
        _write_page(folder / PAGE, data, matrix, tables, warnings)
    except ImportError as error:
        warnings.append(f"no page with plots: {error}; pip install 'sage_fusion_ros[report]'")
    texts = [as_text(table) for table in tables]
    if summary["absent"]:
        rows = [f"  {row['what']}: {row['reason']}" for row in summary["absent"]]
        texts.append("\n".join(["Not measured, and why", *rows]))
    return "\n\n".join([*texts, *warnings])


def _counted(data: dict[str, Any], matrix: Matrix) -> dict[str, Any]:
    try:
        return count_all(matrix)
    except ImportError as error:
        data["absent"]["floors"] = f"{error}; pip install 'sage_fusion_ros[train]'"
        return {}


def _warnings(data: dict[str, Any], summary: dict[str, Any]) -> list[str]:
    found = []
    if data["state"]["quick"]:
        found.append("A quick run, to see that everything works: its figures say little.")
    if not data["complete"]:
        found.append("Interrupted: what is here was measured, the rest was not. The same command goes on from here.")
    if disturbed := summary["disturbed"]:
        shown = "; ".join(disturbed[:SHOWN]) + (f" and {len(disturbed) - SHOWN} more" if len(disturbed) > SHOWN else "")
        found.append(f"Other processes kept the machine busy beside {len(disturbed)} measurements: {shown}.")
    return found


def _write_page(path: Path, data: dict[str, Any], matrix: Matrix, tables: list[Any], warnings: list[str]) -> None:
    import jinja2
    from charts import charts_of

    machine = data["state"]["machine"]
    facts = {
        "processor": machine["processor"],
        "cores": machine["cores"],
        "units of the processor": " ".join(machine["units"]) or "not told by the system",
        "memory": f"{machine['memory_mb'] / 1e3:.0f} GB",
        "graphics processors": "; ".join(machine["graphics"]) or "none",
    }
    asked = {key: value if isinstance(value, (str, int)) else " ".join(value) for key, value in data["matrix"].items()}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    text = environment.get_template(TEMPLATE).render(
        machine=machine,
        state=data["state"],
        rounds=matrix.rounds,
        warnings=warnings,
        charts=charts_of(data["summary"], matrix),
        tables=tables,
        absent=data["summary"]["absent"],
        facts=[
            ("Machine", facts.items()),
            ("Versions", sorted(data["state"]["versions"].items())),
            ("Asked for", [(key, value) for key, value in asked.items() if value != ""]),
            ("Weights, SHA-256", sorted(data["state"]["weights"].items())),
        ],
    )
    write_whole(path, text)
