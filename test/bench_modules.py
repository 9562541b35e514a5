"""The modules of tools/bench, which are scripts' own and so are found by their folder."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

FOLDER = Path(__file__).resolve().parents[1] / "tools" / "bench"
NAMES = ("matrix", "record", "operations", "probes", "floors", "summary", "tables", "page", "runner")


def load():
    """Each by its name; __main__ as `main`."""
    sys.path.insert(0, str(FOLDER))
    try:
        found = {name: importlib.import_module(name) for name in NAMES}
        spec = importlib.util.spec_from_file_location("bench_main", FOLDER / "__main__.py")
        found["main"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found["main"])
        importlib.import_module("charts")
    finally:
        sys.path.remove(str(FOLDER))
    return SimpleNamespace(**found)
