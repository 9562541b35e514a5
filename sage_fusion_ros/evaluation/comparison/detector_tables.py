"""Tables of what detectors read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sage_fusion_ros.evaluation.comparison.contenders import SOURCES
from sage_fusion_ros.evaluation.comparison.detection import DRAWS, MEAN_LABELS, MIN_BOXES
from sage_fusion_ros.evaluation.comparison.table import Line, Table, number

_MEAN = " and ".join(MEAN_LABELS)


def detector_tables(detector: str, entry: Mapping[str, Any], kinds: Mapping[str, str]) -> Iterator[Table]:
    """Average precision of one detector by set and class, and the differences with their intervals."""
    cells = [(set_name, label) for set_name, boxes in entry["boxes"].items() for label in boxes]
    columns = [f"{set_name}\n{label} ({entry['boxes'][set_name][label]})" for set_name, label in cells]
    values = {
        row: [*(own.get(s, {}).get(label) for s, label in cells), entry["means"].get(row)]
        for row, own in entry["rows"].items()
    }
    fused = {row: own for row, own in values.items() if row in kinds and row not in SOURCES}
    tops = [max((own[i] for own in fused.values() if own[i] is not None), default=None) for i in range(len(cells) + 1)]
    lines = [
        Line(
            row,
            kinds.get(row, "given"),
            [number(value, 3) for value in own],
            frozenset(i for i, top in enumerate(tops) if row in fused and top is not None and own[i] == top),
        )
        for row, own in values.items()
    ]
    pairs = ", ".join(f"{count} of {set_name}" for set_name, count in entry["images"].items())
    foot = [
        f"AP50 on {entry['judged']} ({pairs}); drawn boxes in brackets, classes that no detector "
        f"knows or with fewer than {MIN_BOXES} boxes left out.",
        f"The mean is that of {_MEAN} over the sets. The best fused one is marked.",
    ]
    yield Table(f"What {detector} reads", [*columns, f"mean\n{_MEAN}"], lines, foot)
    lines = [
        Line(
            f"{model} less {other}",
            kinds.get(other, ""),
            [f"{d['difference']:+.3f}", f"{d['low']:+.3f}", f"{d['high']:+.3f}"],
            frozenset({0} if d["low"] > 0 else ()),
        )
        for model, others in entry["differences"].items()
        for other, d in others.items()
    ]
    if lines:
        foot = [
            f"Of that mean, with a 95 % interval by a paired bootstrap over the images of each set ({DRAWS} draws). "
            "Marked where the whole interval lies above zero."
        ]
        yield Table(f"Differences in what {detector} reads", ["difference", "low", "high"], lines, foot)
