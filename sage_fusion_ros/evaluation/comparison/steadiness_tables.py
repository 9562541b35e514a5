"""Tables of what a network adds by itself: patterns, and change where nothing changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sage_fusion_ros.evaluation.comparison.contenders import SOURCES
from sage_fusion_ros.evaluation.comparison.summary import mean
from sage_fusion_ros.evaluation.comparison.table import Line, Table, number

PERIODS = ("2", "4", "8")


def pattern_table(pattern: Mapping[str, Mapping[str, Any]], kinds: Mapping[str, str]) -> Table:
    """Energy ratios of all sets together by period, and the greatest one of each set."""
    sets = list(dict.fromkeys(where for by_set in pattern.values() for where in by_set if where != "all"))
    lines = []
    for row, by_set in pattern.items():
        worst = [_greatest(by_set.get(where, {}).get(period) for period in PERIODS) for where in sets]
        whole = [by_set["all"][period] for period in PERIODS]
        lines.append(Line(row, kinds[row], [number(value, 2) for value in (*whole, *worst)]))
    foot = [
        "Spectral energy over the greater of the two sources', in windows where both are flat: of all sets together at "
        "periods of 2, 4 and 8 pixels, then the greatest of the three in each set. Well above 1: a pattern of its own."
    ]
    columns = [*(f"{period} px" for period in PERIODS), *(f"{where}\nmost" for where in sets)]
    return Table("Patterns in flat regions", columns, lines, foot)


def still_table(scenes: Sequence[Mapping[str, Any]], kinds: Mapping[str, str]) -> Table:
    """Change under sensor noise by contender: mean and greatest over the scenes, for each noise."""
    sigmas = sorted({scene["sigma"] for scene in scenes})
    lines = []
    for name in (name for name in kinds if any(name in scene["ratios"] for scene in scenes)):
        cells = []
        for sigma in sigmas:
            ratios = [scene["ratios"].get(name) for scene in scenes if scene["sigma"] == sigma]
            cells += [number(mean(ratios), 2), number(_greatest(ratios), 2)]
        lines.append(Line(name, kinds[name], cells))
    foot = [
        f"{len({scene['pair'] for scene in scenes})} pairs, each taken twice with independent noise in both cameras "
        "(standard deviation as a share of full scale): mean |change| over that of the source that changes more, in "
        "the mean over the pairs and at most."
    ]
    columns = [f"{100 * sigma:g} % noise\n{word}" for sigma in sigmas for word in ("mean", "most")]
    return Table("Steadiness of a still scene with sensor noise", columns, lines, foot)


def clip_tables(clips: Mapping[str, Any], kinds: Mapping[str, str]) -> Iterator[Table]:
    """Change from frame to frame by clip and kind of step: of pixels, and of the means of blocks."""
    measures = (
        (
            "change",
            "Steadiness of clips",
            "Mean |change| of a pixel from frame to frame in steady regions (share of the image measured, in %): of "
            "the two sources in grey levels, of the others over that of the source that changes more. Steps in which "
            "a camera shows its last frame again or shifts its level stand apart; shifts are measured over the whole "
            "image.",
        ),
        (
            "flicker",
            "Flicker of clips",
            "The same for the means of blocks of 16x16 pixels, which leave out most of the sensor noise and show what "
            "the eye calls flicker.",
        ),
    )
    for key, title, foot in measures:
        steps = [(name, kind, group) for name, clip in clips.items() for kind, group in clip["steps"].items()]
        steps = [(name, kind, group) for name, kind, group in steps if group[key]]
        names = [n for n in kinds if n not in SOURCES and any(n in group[key] for _, _, group in steps)]
        lines = []
        for clip, kind, group in steps:
            values, greater = group[key], _greatest(group[key][source] for source in SOURCES)
            ratios = [v / greater if greater and (v := values.get(name)) is not None else None for name in names]
            measured = [str(group["steps"]), f"{100 * group['share']:.0f}"]
            sources = [number(values[source], 2) for source in SOURCES]
            lines.append(Line(f"{clip}: {kind}", "", [*measured, *sources, *(number(ratio, 2) for ratio in ratios)]))
        if lines:
            yield Table(title, ["steps", "share %", *SOURCES, *names], lines, [foot])


def _greatest(values: Any) -> float | None:
    return max((value for value in values if value is not None), default=None)
