"""The facts of a comparison as plain values, and the two files they are left in."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from sage_fusion_ros.evaluation.comparison.baselines import Baselines
from sage_fusion_ros.evaluation.comparison.contenders import ContenderSpec
from sage_fusion_ros.evaluation.comparison.detection import read_detections
from sage_fusion_ros.evaluation.comparison.measures import ClipResult, PairResult, StillResult
from sage_fusion_ros.evaluation.comparison.overlays import OverlayResult
from sage_fusion_ros.evaluation.comparison.perceivers import PerceptionSpec
from sage_fusion_ros.evaluation.comparison.perception import read_perception
from sage_fusion_ros.evaluation.comparison.pictures import PictureResult
from sage_fusion_ros.evaluation.comparison.runner import Result
from sage_fusion_ros.evaluation.comparison.sets import Selection
from sage_fusion_ros.evaluation.comparison.summary import (
    agreement,
    clip_changes,
    comparisons,
    join_figures,
    overall_means,
    pattern_ratios,
    rows_of,
    set_means,
    still_ratios,
)
from sage_fusion_ros.evaluation.comparison.table import Table
from sage_fusion_ros.evaluation.machine import versions
from sage_fusion_ros.evaluation.metrics.profiles import PROFILES
from sage_fusion_ros.evaluation.text_file import write_whole

REPORT_FILE = "evaluation.json"
PAGE_FILE = "index.html"
TEMPLATE = "comparison.html.jinja"
LIBRARIES = ("scikit-image", "scikit-learn", "pycocotools", "scipy")
JUDGED = {"all": "all boxed pairs", "scored": "the boxed pairs among those scored", "none": "no pairs"}
_SHOWN_SKIPS = 3


def build_report(
    *,
    arguments: Mapping[str, Any],
    specs: Sequence[ContenderSpec],
    perception: Sequence[PerceptionSpec],
    baselines: Baselines,
    selection: Selection,
    results: Sequence[Result],
    mask_lists: Mapping[str, Collection[str]],
) -> dict[str, Any]:
    """Everything that was found out.

    Args:
        arguments: What was asked for, as the user gave it; of these "profile", "metrics", "luma", "boxes",
            "boxed" and "detectors" (a list of their names) are read.
        specs: The contenders.
        perception: The perception models.
        baselines: Figures of others.
        selection: The sets.
        results: Of all jobs.
        mask_lists: See score_masks.

    Returns:
        Nested dictionary without images, ready for JSON; docs/evaluation.md describes it.
    """
    pairs = sorted((r for r in results if isinstance(r, PairResult)), key=lambda result: result.item.key)
    rows, images = rows_of(specs, baselines), join_figures(pairs, baselines)
    means, sha256 = set_means(images, rows), {spec.name: spec.sha256 for spec in specs}
    detectors, detector_notes = read_detections(selection.sets, pairs, specs, arguments["detectors"], baselines)
    judged = arguments["boxed"] or arguments["boxes"]
    read, perception_notes = read_perception(
        selection.sets, results, specs, perception, arguments["detectors"], judged, mask_lists
    )
    bright = Counter(result.item.set_name for result in pairs if result.figures and result.bright)
    return {
        "arguments": dict(arguments),
        "versions": {**versions(), **_library_versions()},
        "profile": arguments["profile"],
        "profile_notes": list(PROFILES[arguments["profile"]].notes),
        "metrics": list(arguments["metrics"]),
        "luma": arguments["luma"],
        "rows": [{"name": row.name, "kind": row.kind, "sha256": sha256.get(row.name, "")} for row in rows],
        "sets": {
            entry.name: {
                "scored": len(images.get(entry.name, {})),
                "bright": bright[entry.name],
                "boxed": sum(item.boxed for item in entry.items),
            }
            for entry in selection.sets
        },
        "means": {"overall": overall_means(means, rows), "sets": means},
        "against": comparisons(images, rows, arguments["metrics"]),
        "pattern": pattern_ratios(pairs, rows),
        "still_scenes": still_ratios([r for r in results if isinstance(r, StillResult)]),
        "clips": clip_changes([r for r in results if isinstance(r, ClipResult)]),
        "detectors": {name: {"judged": JUDGED[arguments["boxes"]], **entry} for name, entry in detectors.items()},
        "perception": read,
        "images": {
            result.item.key: {
                "bright": result.bright,
                "size": list(result.size),
                "figures": images[result.item.set_name][result.item.name],
            }
            for result in pairs
            if result.figures
        },
        "notes": [*selection.notes, *detector_notes, *perception_notes, *_agreement_notes(pairs, baselines)],
        "baseline_notes": baselines.notes,
        "skipped": [list(skip) for skip in (*selection.skipped, *(s for r in results for s in r.skipped))],
    }


def _agreement_notes(pairs: Sequence[PairResult], baselines: Baselines) -> list[str]:
    return [
        f"The given figures of {method} differ from those measured here by at most "
        + ", ".join(f"{value:.3g} in {metric}" for metric, value in differences.items())
        + " in any image."
        for method, differences in sorted(agreement(pairs, baselines).items())
    ]


def _library_versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def grouped_skips(skipped: Sequence[Sequence[str]]) -> list[str]:
    """One line for each skip; of one reason that comes up often, the first few and their number."""
    reasons: dict[str, list[str]] = {}
    for name, reason in skipped:
        reasons.setdefault(reason, []).append(name)
    lines = []
    for reason, names in reasons.items():
        lines += [f"{name}: {reason}" for name in names[:_SHOWN_SKIPS]]
        if len(names) > _SHOWN_SKIPS:
            lines.append(f"... and {len(names) - _SHOWN_SKIPS} more: {reason}")
    return lines


def write_report(folder: Path, report: Mapping[str, Any]) -> Path:
    """Writes evaluation.json.

    Raises:
        SageFusionError: The folder can't be written to.
    """
    return write_whole(folder / REPORT_FILE, json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_page(
    folder: Path,
    report: Mapping[str, Any],
    tables: Sequence[Table],
    notes: Sequence[str],
    pictures: Sequence[PictureResult],
    overlays: Sequence[OverlayResult] = (),
) -> Path:
    """Writes index.html with everything it needs inside.

    Raises:
        SageFusionError: The folder can't be written to.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sage_fusion_ros.evaluation"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    page = environment.get_template(TEMPLATE).render(
        report=report,
        tables=tables,
        foot_notes=notes,
        skips=grouped_skips(report["skipped"]),
        pictures=sorted((p for p in pictures if p.views), key=lambda picture: picture.item.key),
        overlays=sorted((o for o in overlays if o.views), key=lambda overlay: overlay.key),
        kinds={row["name"]: row["kind"] for row in report["rows"]},
    )
    return write_whole(folder / PAGE_FILE, page)
