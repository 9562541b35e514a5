"""Tables of what perception models make of every row's images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sage_fusion_ros.evaluation.comparison.box_scores import ALL, DRAWS, EVERY_CLASS, METRICS, MIN_BOXES, MIN_POOLED
from sage_fusion_ros.evaluation.comparison.smoke import SEEN_OVERLAP, SEEN_SCORE
from sage_fusion_ros.evaluation.comparison.table import NONE, Line, Table, number
from sage_fusion_ros.evaluation.conditions import AS_IS, CONDITIONS

JUDGED = {
    "validation": "pairs kept out of training",
    "all": "all boxed pairs",
    "scored": "the boxed pairs among those scored",
}
SPOILT = tuple(condition for condition in CONDITIONS if condition != AS_IS)
PSEUDO = (
    "The labels are pseudo-labels, which a segmentation network made of the good RGB image, and no ground truth: what "
    "that network gets wrong counts against whoever gets it right."
)
_INTERVAL = f"95 % interval by bootstrap over the images of each set ({DRAWS} draws)"


def perception_tables(read: Mapping[str, Any], kinds: Mapping[str, str]) -> Iterator[Table]:
    """All of them; see perception.read_perception."""
    for part in read["boxes"]:
        yield from _box_tables(part, kinds)
    for part in read["masks"]:
        yield from _mask_tables(part, kinds)
    for clip in read["smoke"]:
        yield _smoke_table(clip, kinds)


def _box_tables(part: Mapping[str, Any], kinds: Mapping[str, str]) -> Iterator[Table]:
    sets = [name for name in part["sets"] if name != ALL]
    sizes = ", ".join(f"{part['sets'][name]['images']} of {name}" for name in sets)
    rare = [label for label, count in part["sets"][ALL]["boxes"].items() if 0 < count < MIN_POOLED]
    foot = [
        f"{part['sets'][ALL]['images']} images ({sizes}); drawn boxes in brackets; {_INTERVAL}. Detections of classes "
        "that a set has not annotated do not count there. The best is marked.",
        f"Over the sets, the detections of all images are ranked together; {EVERY_CLASS}: those of all classes too"
        + (f", also of {', '.join(rare)}, which have fewer than {MIN_POOLED} boxes." if rare else "."),
    ]
    where = f"on {JUDGED[part['judged']]}"
    for metric in METRICS:
        cells = [(ALL, label) for label in part["sets"][ALL]["shown"]]
        columns = [f"{label}\n({part['sets'][ALL]['boxes'][label]})" for _, label in cells]
        yield Table(f"{metric} {where}, {ALL}", columns, _ap_lines(part["lines"], cells, metric, kinds), foot)
        foot = []
        cells = [(name, label) for name in sets for label in part["sets"][name]["shown"]]
        columns = [f"{name}\n{label} ({part['sets'][name]['boxes'][label]})" for name, label in cells]
        if cells and len(sets) > 1:
            note = f"Classes with {MIN_BOXES} boxes and more in the set; the others count over {ALL} alone."
            yield Table(f"{metric} {where}, by set", columns, _ap_lines(part["lines"], cells, metric, kinds), [note])
    if part["differences"]:
        yield _difference_table(part, kinds)


def _ap_lines(
    lines: Sequence[Mapping[str, Any]], cells: Sequence[tuple[str, str]], metric: str, kinds: Mapping[str, str]
) -> list[Line]:
    figures = [[line["cells"].get(name, {}).get(label, {}).get(metric) for name, label in cells] for line in lines]
    tops = [max((own[i]["value"] for own in figures if own[i]), default=None) for i in range(len(cells))]
    return [
        Line(
            f"{line['reader']} on {line['row']}",
            kinds.get(line["row"], ""),
            [_with_interval(value) for value in own],
            frozenset(i for i, top in enumerate(tops) if own[i] and own[i]["value"] == top),
        )
        for line, own in zip(lines, figures, strict=True)
    ]


def _difference_table(part: Mapping[str, Any], kinds: Mapping[str, str]) -> Table:
    labels = [label for label in part["sets"][ALL]["shown"] if part["sets"][ALL]["boxes"][label] >= MIN_BOXES]
    cells = [(metric, label) for metric in METRICS for label in labels]
    lines = []
    for entry in part["differences"]:
        own = [entry["classes"].get(label, {}).get(metric) for metric, label in cells]
        lines.append(
            Line(
                f"{entry['reader']} on {entry['row']} less {entry['less_reader']} on {entry['less_row']}",
                kinds.get(entry["less_row"], ""),
                [_with_interval(value, signed=True) for value in own],
                frozenset(i for i, value in enumerate(own) if value and (value["low"] or 0) > 0),
            )
        )
    foot = [f"On {ALL}, by a paired bootstrap: the same images are drawn for both. Marked: the interval is above zero."]
    title = f"Differences in average precision on {JUDGED[part['judged']]}"
    return Table(title, [f"{metric}\n{label}" for metric, label in cells], lines, foot)


def _with_interval(value: Mapping[str, float | None] | None, *, signed: bool = False) -> str:
    if not value or value["value"] is None:
        return NONE
    sign = "+" if signed else ""
    if value["low"] is None or value["high"] is None:
        return f"{value['value']:{sign}.3f}"
    return f"{value['value']:{sign}.3f} ({value['low']:{sign}.2f}..{value['high']:{sign}.2f})"


def _mask_tables(part: Mapping[str, Any], kinds: Mapping[str, str]) -> Iterator[Table]:
    found: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for line in part["lines"]:
        found.setdefault((line["reader"], line["row"]), {})[line["condition"]] = line
    lines = []
    for (reader, row), own in found.items():
        cells = [_with_interval(own[AS_IS]["miou"]) if AS_IS in own else NONE]
        for condition in SPOILT:
            line = own.get(condition, {})
            cells += [number((line.get("miou") or {}).get("value"), 3), _percent(line.get("kept"))]
        lines.append(Line(f"masks of {reader} on {row}", kinds.get(row, ""), cells))
    foot = [
        f"Intersection over union on {len(part['pairs'])} labelled pairs, in the mean over "
        f"{', '.join(part['mean_of'])}; {_INTERVAL}.",
        "Spoilt before fusion (darkness with sensor noise, smoke, a dead camera); kept: share of the figure as is, by "
        "a paired bootstrap.",
        PSEUDO,
    ]
    columns = [f"{AS_IS}\nmIoU", *(f"{condition}\n{what}" for condition in SPOILT for what in ("mIoU", "kept %"))]
    yield Table(f"Masks on {part['list']}, as is and spoilt", columns, lines, foot)
    classes = [name for name, count in part["images"].items() if count]
    as_is = {key: own[AS_IS] for key, own in found.items() if AS_IS in own}
    lines = [
        Line(
            f"masks of {reader} on {row}",
            kinds.get(row, ""),
            [number(line["sets"][name], 3) for name in part["sets"]]
            + [number(line["classes"].get(name), 2) for name in classes],
        )
        for (reader, row), line in as_is.items()
    ]
    foot = [
        "In brackets the number of pairs, of a class that of pairs that have it, and its share of what is labelled."
    ]
    columns = [f"mIoU of\n{name} ({count})" for name, count in part["sets"].items()]
    columns += [f"{name}\n({part['images'][name]}: {100 * part['share'][name]:.1f} %)" for name in classes]
    yield Table(f"Masks on {part['list']}, as is, by set and by class", columns, lines, foot)


def _percent(value: Mapping[str, float | None] | None) -> str:
    if not value or value["value"] is None:
        return NONE
    shown = f"{100 * value['value']:.0f}"
    if value["low"] is None or value["high"] is None:
        return shown
    return f"{shown} ({100 * value['low']:.0f}..{100 * value['high']:.0f})"


def _smoke_table(clip: Mapping[str, Any], kinds: Mapping[str, str]) -> Table:
    hidden = len(clip["hidden"])
    lines = [
        Line(
            f"{line['reader']} on {line['row']}",
            kinds.get(line["row"], ""),
            [f"{line['seen']} of {hidden}", f"{100 * line['share']:.0f}"],
        )
        for line in clip["lines"]
    ]
    foot = [
        f"Of {clip['looked']} frames looked at, {clip['reference']} sees nobody in RGB and somebody in thermal in "
        f"{hidden}; seen: the frames in which one of these persons is found (score {SEEN_SCORE}, IoU {SEEN_OVERLAP}). "
        "Frames of one clip are alike, so no interval is given."
    ]
    return Table(f"People whom smoke hides in RGB: {clip['clip']}", ["frames", "share %"], lines, foot)
