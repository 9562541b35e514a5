"""Which pairs are scored: all of a folder, what a split keeps for validation, or what a list of figures names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.evaluation.comparison.labels import find_labels
from sage_fusion_ros.evaluation.run_report import spread
from sage_fusion_ros.sources.boxes import BOXES_FILE, BoxedImage, read_boxes
from sage_fusion_ros.sources.layouts import PairPath, find_pairs
from sage_fusion_ros.sources.split import SplitSettings, validation_names


@dataclass(frozen=True)
class Item:
    """One pair of a set.

    Attributes:
        set_name: The set's name: its folder's.
        name: The pair's within the set, as `find_pairs` gives it.
        rgb: The colour file.
        thermal: The thermal file.
        file: The colour file relative to the set, without suffix, for example 'vi/00008N'.
        scored: Whether the metrics count it.
        boxed: Whether detectors look at it.
        position: Its place among all pairs of the set in sorted order, from 0: a fold is told by its remainder by five.
        validation: Whether it is kept out of training; see SelectionRules.
        judged: Whether it has drawn boxes that perception models may be judged on.
        labels: Label map to judge masks by; None where it has none or is not listed for that.
    """

    set_name: str
    name: str
    rgb: Path
    thermal: Path
    file: str
    scored: bool
    boxed: bool
    position: int = 0
    validation: bool = False
    judged: bool = False
    labels: Path | None = None

    @property
    def key(self) -> str:
        """Set and name."""
        return f"{self.set_name}/{self.name}"


@dataclass(frozen=True)
class PairSet:
    """A folder of pairs.

    Attributes:
        name: The folder's name.
        items: The pairs that anything is done with, sorted by name.
        boxes: The drawn boxes by the pair's name, of the items that are boxed or judged.
        annotated: The classes of which the set has a box anywhere; of others nobody can say whether they are there.
    """

    name: str
    items: list[Item]
    boxes: dict[str, BoxedImage] = field(default_factory=dict)
    annotated: frozenset[str] = frozenset()

    @property
    def scored(self) -> list[Item]:
        """The items that the metrics count."""
        return [item for item in self.items if item.scored]


@dataclass(frozen=True)
class Selection:
    """What there is to do.

    Attributes:
        sets: Sets with at least one item.
        skipped: Files without a partner and listed images that are missing, as (name, reason).
        notes: Sentences about what was left out on purpose.
    """

    sets: list[PairSet]
    skipped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SelectionRules:
    """Which pairs count.

    Attributes:
        split: Only what this split keeps out of training; None takes all.
        listed: By set, the files (as Item.file) that figures are given for; None takes all. A set that is missing there
            is not scored.
        limit: At most so many scored pairs of a set, evenly spread; 0 takes all.
        boxes: "all" boxed pairs go to the detectors, only those "scored", or "none".
        judged: Perception models are judged on "all" boxed pairs, on those of "validation", or "none". Kept for
            validation is what the split keeps out of training; without one, the 1st, 6th, 11th, ... pair of each set.
        labelled: "set/pair" of those on which masks are judged, if their set has label maps.
    """

    split: SplitSettings | None = None
    listed: Mapping[str, Iterable[str]] | None = None
    limit: int = 0
    boxes: str = "none"
    judged: str = "none"
    labelled: frozenset[str] = frozenset()


def select_pairs(roots: Sequence[Path], rules: SelectionRules) -> Selection:
    """Finds the pairs of all sets.

    Args:
        roots: Folders in any layout that `find_pairs` knows; each is a set.
        rules: Which pairs count.

    Raises:
        SourceError: A folder is missing or holds no pairs.
        ParameterError: Two folders bear the same name, or the rules leave nothing over.
    """
    selection = Selection([])
    seen: dict[str, Path] = {}
    for root in roots:
        name = Path(root).resolve().name
        if name in seen:
            raise ParameterError(f"{seen[name]} and {root} are both called '{name}'; a set is named by its folder")
        seen[name] = root
        found = _select_set(name, Path(root), rules, selection)
        if found.items:
            selection.sets.append(found)
    if roots and not selection.sets:
        raise ParameterError(f"no pair of {', '.join(map(str, roots))} is left to score: {' '.join(selection.notes)}")
    for name in sorted(rules.listed.keys() - seen.keys()) if rules.listed is not None else ():
        selection.notes.append(f"The baselines' set {name} is not among the data.")
    return selection


def _select_set(name: str, root: Path, rules: SelectionRules, selection: Selection) -> PairSet:
    listing = find_pairs(root)
    pairs = {f"{name}/{pair.name}": pair for pair in listing.pairs}
    scored = set(pairs)
    if rules.split is not None:
        scored &= set(validation_names(list(pairs), rules.split))
        if not scored:
            selection.notes.append(f"The split keeps nothing of {name} out of training, so none of it is scored.")
    else:
        selection.skipped.extend((f"{name}/{file}", reason) for file, reason in listing.skipped)
    if rules.listed is not None:
        listed, here = set(rules.listed.get(name, ())), {_file(root, pair): key for key, pair in pairs.items()}
        missing = sorted(listed - here.keys())
        selection.skipped.extend((f"{name}/{file}", "the baselines list it, and it is not there") for file in missing)
        if not listed:
            selection.notes.append(f"The baselines have no figures for {name}, so none of it is scored.")
        scored &= {here[file] for file in listed & here.keys()}
    if rules.limit:
        ordered = sorted(scored)
        scored = {ordered[index] for index in spread(len(ordered), rules.limit)}
    ordered = sorted(pairs)
    kept = set(validation_names(ordered, rules.split or SplitSettings(every_fifth=(name,))))
    drawn = _boxes(name, root, pairs, rules, selection)
    boxed = drawn.keys() & {"none": set(), "scored": scored, "all": drawn.keys()}[rules.boxes]
    judged = drawn.keys() & {"none": set(), "validation": kept, "all": drawn.keys()}[rules.judged]
    labels = find_labels(name, pairs, rules.labelled, selection.skipped, selection.notes)
    items = [
        Item(
            name,
            pair.name,
            pair.rgb,
            pair.thermal,
            _file(root, pair),
            scored=key in scored,
            boxed=key in boxed,
            position=position,
            validation=key in kept,
            judged=key in judged,
            labels=labels.get(key),
        )
        for position, key in enumerate(ordered)
        if key in scored | boxed | judged | labels.keys() and (pair := pairs[key])
    ]
    return PairSet(
        name,
        items,
        {pairs[key].name: drawn[key] for key in sorted(boxed | judged)},
        frozenset(label for image in drawn.values() for label in image.labels),
    )


def _file(root: Path, pair: PairPath) -> str:
    return pair.rgb.relative_to(root).with_suffix("").as_posix()


def _boxes(
    name: str, root: Path, pairs: Mapping[str, PairPath], rules: SelectionRules, selection: Selection
) -> dict[str, BoxedImage]:
    """Drawn boxes by key. Files are matched without suffix: sets were converted between PNG and JPEG after drawing."""
    path = root / BOXES_FILE
    if {rules.boxes, rules.judged} == {"none"} or not path.is_file():
        return {}
    drawn = {f"{name}/{Path(boxed.file_name).with_suffix('').as_posix()}": boxed for boxed in read_boxes(path)}
    missing = sorted(drawn.keys() - pairs.keys())
    selection.skipped.extend((key, f"{BOXES_FILE} has boxes for it, and it is not there") for key in missing)
    return {key: boxed for key, boxed in drawn.items() if key in pairs}
