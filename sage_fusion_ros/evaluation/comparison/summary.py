"""From figures of single images to means, ratios and victories; plain values, ready for JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sage_fusion_ros.evaluation.comparison.baselines import Baselines
from sage_fusion_ros.evaluation.comparison.contenders import SOURCES, ContenderSpec
from sage_fusion_ros.evaluation.comparison.measures import ClipResult, PairResult, StillResult
from sage_fusion_ros.evaluation.pattern import FlatEnergy
from sage_fusion_ros.evaluation.temporal import over_greater_source

GIVEN = "given"
"""Kind of a row whose figures come from a file; the other kinds are those of ContenderSpec."""

Figures = dict[str, float | None]
Images = dict[str, dict[str, dict[str, Figures]]]
"""Figures by set, pair and row."""


@dataclass(frozen=True)
class Row:
    """Who stands in a line of the tables."""

    name: str
    kind: str


def rows_of(specs: Sequence[ContenderSpec], baselines: Baselines) -> list[Row]:
    """All rows: models, results, given ones, then the plain ones. Given figures of a contender's name are no row."""
    names = {spec.name for spec in specs}
    rows = {kind: [Row(spec.name, kind) for spec in specs if spec.kind == kind] for kind in ("model", "results")}
    given = [Row(method, GIVEN) for method in baselines.methods if method not in names]
    return [*rows["model"], *rows["results"], *given, *(Row(s.name, "plain") for s in specs if s.kind == "plain")]


def join_figures(results: Sequence[PairResult], baselines: Baselines) -> Images:
    """Measured and given figures of every scored pair, sorted."""
    images: Images = {}
    for result in sorted(results, key=lambda result: result.item.key):
        if not result.figures:
            continue
        item = result.item
        given = baselines.images.get(item.set_name, {}).get(item.file, {})
        images.setdefault(item.set_name, {})[item.name] = {
            **{method: dict(figures) for method, figures in given.items()},
            **result.figures,
        }
    return images


def agreement(results: Sequence[PairResult], baselines: Baselines) -> dict[str, dict[str, float]]:
    """How well given figures of methods that were measured too are met: greatest difference by method and metric."""
    found: dict[str, dict[str, float]] = {}
    for result in results:
        given = baselines.images.get(result.item.set_name, {}).get(result.item.file, {})
        for method in given.keys() & result.figures.keys():
            for metric, theirs in given[method].items():
                ours = result.figures[method].get(metric)
                if ours is not None:
                    own = found.setdefault(method, {})
                    own[metric] = max(own.get(metric, 0.0), abs(ours - theirs))
    return found


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of those that are defined; None where none is."""
    defined = [value for value in values if value is not None and math.isfinite(value)]
    return math.fsum(defined) / len(defined) if defined else None


def set_means(images: Images, rows: Sequence[Row]) -> dict[str, dict[str, dict[str, Any]]]:
    """By set and row, the mean of each figure over the row's pairs, and their number as "pairs"."""
    means: dict[str, dict[str, dict[str, Any]]] = {}
    for set_name, pairs in images.items():
        for row in rows:
            if own := [figures[row.name] for figures in pairs.values() if row.name in figures]:
                names = dict.fromkeys(name for figures in own for name in figures)
                values = {name: mean(figures.get(name) for figures in own) for name in names}
                means.setdefault(set_name, {})[row.name] = {**values, "pairs": len(own)}
    return means


def overall_means(means: Mapping[str, Mapping[str, Figures]], rows: Sequence[Row]) -> dict[str, Figures]:
    """By row, the mean of its means over the sets; only for rows with all pairs of all sets."""
    most = {set_name: max(by_row[row]["pairs"] or 0 for row in by_row) for set_name, by_row in means.items()}
    whole: dict[str, Figures] = {}
    for row in rows:
        own = {set_name: by_row[row.name] for set_name, by_row in means.items() if row.name in by_row}
        if own and all(set_name in own and own[set_name]["pairs"] == count for set_name, count in most.items()):
            names = dict.fromkeys(name for figures in own.values() for name in figures if name != "pairs")
            whole[row.name] = {name: mean(figures.get(name) for figures in own.values()) for name in names}
    return whole


def compare(images: Images, subject: str, reference: str, metrics: Sequence[str]) -> dict[str, Any] | None:
    """One row against another, on the pairs that both have.

    Returns:
        "ratios": of the means over the sets, by metric; "above": the metrics in which the subject is greater, by set
        and for "mean"; "sets" and "pairs" counted; None where they have nothing in common.
    """
    sets: dict[str, dict[str, tuple[float, float]]] = {}
    count = 0
    for set_name, pairs in images.items():
        both = [figures for figures in pairs.values() if subject in figures and reference in figures]
        shared = [m for m in metrics if any(m in f[subject] for f in both) and any(m in f[reference] for f in both)]
        cells = {}
        for metric in shared:
            values = mean(f[subject].get(metric) for f in both), mean(f[reference].get(metric) for f in both)
            if values[0] is not None and values[1] is not None:
                cells[metric] = values[0], values[1]
        if cells:
            sets[set_name] = cells
            count += len(both)
    if not sets:
        return None
    shared = [metric for metric in metrics if all(metric in cells for cells in sets.values())]
    whole = {metric: [math.fsum(c[metric][side] for c in sets.values()) for side in (0, 1)] for metric in shared}
    above = {name: [m for m in shared if cells[m][0] > cells[m][1]] for name, cells in sets.items()}
    return {
        "ratios": {metric: ours / theirs if theirs else None for metric, (ours, theirs) in whole.items()},
        "above": {"mean": [metric for metric, (ours, theirs) in whole.items() if ours > theirs], **above},
        "sets": len(sets),
        "pairs": count,
    }


def comparisons(images: Images, rows: Sequence[Row], metrics: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Every model, or every results folder where there is no model, against every other row but the two sources."""
    subjects = [row for row in rows if row.kind == "model"] or [row for row in rows if row.kind == "results"]
    others = [row for row in rows if row.name not in SOURCES]
    found = {
        subject.name: {
            other.name: compared
            for other in others
            if other.name != subject.name and (compared := compare(images, subject.name, other.name, metrics))
        }
        for subject in subjects
    }
    return {name: against for name, against in found.items() if against}


def pattern_ratios(results: Sequence[PairResult], rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """By row, for each set and for "all": energy ratios by period, as text keys, and the flat windows counted."""
    sums: dict[str, dict[str, FlatEnergy]] = {}
    for result in results:
        for name, energy in result.pattern.items():
            for where in (result.item.set_name, "all"):
                own = sums.setdefault(name, {})
                own[where] = own[where] + energy if where in own else energy
    return {
        row.name: {
            where: {
                **{str(period): _finite(ratio) for period, ratio in energy.ratios().items()},
                "windows": energy.windows,
            }
            for where, energy in sums[row.name].items()
        }
        for row in rows
        if row.name in sums
    }


def still_ratios(results: Sequence[StillResult]) -> list[dict[str, Any]]:
    """For each scene and noise: the change of each contender over that of the source that changes more."""
    return [
        {
            "pair": result.item.key,
            "sigma": sigma,
            "sources": {name: change[name] for name in SOURCES},
            "ratios": {name: _finite(value) for name, value in over_greater_source(change).items()},
        }
        for result in sorted(results, key=lambda result: result.item.key)
        for sigma, change in result.change.items()
    ]


def clip_changes(results: Sequence[ClipResult]) -> dict[str, Any]:
    """By clip: its frames, and by kind of step their number, the share measured, changes in grey levels and ratios."""
    return {
        result.name: {
            "frames": result.frames,
            "steps": {
                kind: {
                    "steps": group.steps,
                    "share": group.share,
                    "change": {name: _finite(value) for name, value in group.change.items()},
                    "flicker": {name: _finite(value) for name, value in group.flicker.items()},
                    "ratios": {name: _finite(value) for name, value in group.ratios.items()},
                }
                for kind, group in result.groups.items()
            },
        }
        for result in sorted(results, key=lambda result: result.name)
        if result.groups
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
