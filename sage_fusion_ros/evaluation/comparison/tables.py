"""The tables of a report, the same for the terminal and the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sage_fusion_ros.evaluation.comparison.contenders import BRIGHT_LUMA, SOURCES
from sage_fusion_ros.evaluation.comparison.detector_tables import detector_tables
from sage_fusion_ros.evaluation.comparison.measures import BURNT, LIKENESS
from sage_fusion_ros.evaluation.comparison.perception_tables import perception_tables
from sage_fusion_ros.evaluation.comparison.steadiness_tables import clip_tables, pattern_table, still_table
from sage_fusion_ros.evaluation.comparison.table import NONE, Line, Table

DIGITS = {"EN": 3, "SD": 2, "SF": 2, "AG": 3, "MI": 3, "SCD": 3, "VIF": 3, "Qabf": 3, "SSIM": 3, LIKENESS: 3}
LABELS = {BURNT: "burnt %", LIKENESS: "like RGB"}


def build_tables(report: Mapping[str, Any]) -> list[Table]:
    """All tables of a report, as report.build_report gives it, the most telling first."""
    kinds = {row["name"]: row["kind"] for row in report["rows"]}
    tables = [*_metric_tables(report, kinds)]
    tables += [_against(name, against, report, kinds) for name, against in report["against"].items()]
    for name, entry in report["detectors"].items():
        tables += detector_tables(name, entry, kinds)
    tables += perception_tables(report["perception"], kinds)
    if report["pattern"]:
        tables.append(pattern_table(report["pattern"], kinds))
    if report["still_scenes"]:
        tables.append(still_table(report["still_scenes"], kinds))
    tables += clip_tables(report["clips"], kinds)
    return tables


def _metric_tables(report: Mapping[str, Any], kinds: Mapping[str, str]) -> Iterator[Table]:
    names = [*report["metrics"], BURNT, LIKENESS]
    means = report["means"]["sets"]
    if len(means) > 1:
        yield _figure_table(f"Mean over the {len(means)} sets", report["means"]["overall"], names, kinds)
    for set_name, by_row in means.items():
        pairs = report["sets"][set_name]
        title = f"{set_name}, {pairs['scored']} pair{'' if pairs['scored'] == 1 else 's'}, {pairs['bright']} bright"
        foot = [
            f"{row} has {figures['pairs']} of the {pairs['scored']} pairs; its means are over those alone."
            for row, figures in by_row.items()
            if figures["pairs"] < pairs["scored"]
        ]
        yield _figure_table(title, by_row, names, kinds, foot)


def _figure_table(
    title: str,
    by_row: Mapping[str, Mapping[str, float | None]],
    names: Sequence[str],
    kinds: Mapping[str, str],
    foot: Sequence[str] = (),
) -> Table:
    names = [name for name in names if any(name in figures for figures in by_row.values())]
    rows = {row: [figures.get(name) for name in names] for row, figures in by_row.items()}
    judged = {row: values for row, values in rows.items() if row not in SOURCES}
    best = {
        index: max((v for values in judged.values() if (v := values[index]) is not None), default=None)
        for index, name in enumerate(names)
        if name not in (BURNT, LIKENESS)
    }
    lines = [
        Line(
            row,
            kinds[row],
            [_figure(name, value) for name, value in zip(names, values, strict=True)],
            frozenset(i for i, top in best.items() if row in judged and top is not None and values[i] == top),
        )
        for row, values in rows.items()
    ]
    return Table(title, [LABELS.get(name, name) for name in names], lines, list(foot))


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return NONE
    return f"{100 * value:.2f}" if name == BURNT else f"{value:.{DIGITS[name]}f}"


def _against(
    subject: str, against: Mapping[str, Mapping[str, Any]], report: Mapping[str, Any], kinds: Mapping[str, str]
) -> Table:
    metrics = [m for m in report["metrics"] if any(m in entry["ratios"] for entry in against.values())]
    sets = list(report["means"]["sets"])
    lines = []
    for other, entry in against.items():
        ratios = [entry["ratios"].get(metric) for metric in metrics]
        of = len(entry["ratios"])
        above = [f"{len(entry['above'][key])}/{of}" if key in entry["above"] else NONE for key in ("mean", *sets)]
        lines.append(
            Line(
                other,
                kinds[other],
                [*(NONE if ratio is None else f"{ratio:.3f}" for ratio in ratios), *above],
                frozenset(index for index, ratio in enumerate(ratios) if ratio is not None and ratio > 1),
            )
        )
    foot = [
        "Ratios of the means over the sets, each on the pairs that both have; then the number of metrics in which "
        f"{subject} is above, in the mean and in each set. Marked: above 1."
    ]
    return Table(f"{subject} against the others", [*metrics, "above\nmean", *sets], lines, foot)


def foot_notes(report: Mapping[str, Any]) -> list[str]:
    """What holds for all tables of metrics; nothing where there is none."""
    if not report["images"]:
        return []
    luma = {
        "saved": "Scored is the luma of the 8-bit RGB image as saved (BT.601, rounded as OpenCV does).",
        "network": "Scored is the luma before recolouring, rounded to 8 bits; of results, that of the saved image.",
    }
    return [
        luma[report["luma"]],
        f"Profile {report['profile']}. " + " ".join(report["profile_notes"]),
        "burnt %: share of pixels of 250 and more. like RGB: SSIM to the RGB luma, of bright pairs (mean luma of "
        f"{BRIGHT_LUMA} and more). Means over the sets weigh each set alike. Of the two sources stands only what does "
        "not compare with them. The best fused one is marked.",
    ]
