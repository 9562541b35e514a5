"""Reports are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from sage_fusion_ros.errors import SageFusionError


def write_whole(path: Path, text: str) -> Path:
    """Writes a file under a temporary name first, so that a file of its name is always whole.

    Args:
        path: The file; its folder is made where it is missing.
        text: Written as UTF-8.

    Returns:
        The path.

    Raises:
        SageFusionError: It can't be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_text(text, encoding="utf-8")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise SageFusionError(f"{path} can't be written: {error.strerror}") from error
    return path
