"""What a run notes beside its files, so that a later one can go on."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from sage_fusion_ros.bags.report import Tally, tally_from_json, tally_to_json
from sage_fusion_ros.bags.work_folder import WorkFolder
from sage_fusion_ros.bags.writer import BagWriter
from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.pipeline.thermal import ThermalNormaliser

JOB_FILE, CHECKPOINT_FILE = "job.json", "checkpoint.json"


def read_checkpoint(work: WorkFolder) -> tuple[Tally, list[dict[str, Any]]]:
    """Where an interrupted run was, and what it wrote: its tally and the metadata of its whole files.

    Raises:
        SourceError: What it left can't be used.
    """
    path = work.root / CHECKPOINT_FILE
    if not path.exists():
        return Tally(), []
    data = read_json(path)
    try:
        tally, files = tally_from_json(data["tally"]), data["files"]
        whole = all((work.bag / name).is_file() for entry in files for name in entry["relative_file_paths"])
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from error
    if not whole:
        raise _damaged(path, "a file it names is gone")
    tally.interruptions += 1
    return tally, files


def write_checkpoint(work: WorkFolder, tally: Tally, normaliser: ThermalNormaliser, writer: BagWriter) -> None:
    """Takes note of everything a later run needs to go on after the last whole file."""
    tally.thermal_range, tally.thermal_stamp_ns = normaliser.state
    write_json(work.root / CHECKPOINT_FILE, {"tally": tally_to_json(tally), "files": writer.files})


def read_json(path: Path) -> dict[str, Any]:
    """A note in JSON.

    Raises:
        SourceError: It is damaged.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if not isinstance(data, dict):
        raise _damaged(path, "it is no JSON object")
    return data


def _damaged(path: Path, reason: object) -> SourceError:
    return SourceError(f"'{path}', left by an interrupted run, can't be used ({reason}); begin anew with --restart")


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Writes a file that is whole or not there.

    Raises:
        SourceError: It can't be written.
    """
    try:
        partial = path.with_name(f"{path.name}.new")
        partial.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise SourceError(f"'{path}' can't be written: {error.strerror or error}") from error
