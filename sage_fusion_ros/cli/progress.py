"""One progress bar for every verb."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

SCREEN_S, LOG_S = 0.2, 3.0


def progress_bar(**arguments: Any) -> tqdm[Any]:
    """A tqdm bar that is drawn often on a screen and seldom into a log file, where every drawing is a line."""
    return tqdm(mininterval=SCREEN_S if sys.stderr.isatty() else LOG_S, smoothing=0.1, **arguments)
