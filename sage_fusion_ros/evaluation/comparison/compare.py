"""One comparison from its settings to its report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sage_fusion_ros.engines.card import read_card
from sage_fusion_ros.engines.models import find_model, list_models, search_paths
from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.evaluation.comparison.baselines import read_baselines
from sage_fusion_ros.evaluation.comparison.clips import find_clips, holds_videos
from sage_fusion_ros.evaluation.comparison.contenders import PLAIN, ContenderSpec
from sage_fusion_ros.evaluation.comparison.labels import read_pair_list
from sage_fusion_ros.evaluation.comparison.masks import MaskResult
from sage_fusion_ros.evaluation.comparison.measures import ClipResult, PairResult
from sage_fusion_ros.evaluation.comparison.overlays import OverlayResult, SmokeFrame
from sage_fusion_ros.evaluation.comparison.perceivers import (
    PerceptionReader,
    PerceptionSpec,
    perception_specs,
    split_name,
)
from sage_fusion_ros.evaluation.comparison.pictures import PictureResult, choose_pairs
from sage_fusion_ros.evaluation.comparison.report import build_report
from sage_fusion_ros.evaluation.comparison.result_files import match_results
from sage_fusion_ros.evaluation.comparison.runner import Crew, Job, Plan, Result
from sage_fusion_ros.evaluation.comparison.sets import Selection, SelectionRules, select_pairs
from sage_fusion_ros.evaluation.comparison.settings import Settings
from sage_fusion_ros.evaluation.comparison.smoke import SmokeClip, SmokeResult, parse_smoke_clip, smoke_parts
from sage_fusion_ros.evaluation.detectors import Detector
from sage_fusion_ros.evaluation.run_report import spread
from sage_fusion_ros.resources import share_dir
from sage_fusion_ros.sources.split import read_split

MASK_PAIRS = ("day_pairs.txt", "day_pairs_trusted.txt")
"""In config/eval: the pairs on which masks are judged where no other lists are given."""


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        report: See build_report.
        pictures: For the page.
        overlays: For the page too.
        done: Pairs and clips that could be measured.
    """

    report: dict[str, Any]
    pictures: list[PictureResult] = field(default_factory=list)
    overlays: list[OverlayResult] = field(default_factory=list)
    done: int = 0


def run_comparison(settings: Settings, progress: Callable[[int, int], None] = lambda done, total: None) -> Outcome:
    """Measures all there is to measure.

    Args:
        settings: What is compared on what.
        progress: Called with the jobs done and all jobs, after each.

    Raises:
        SageFusionError: Something that was asked for is not there or can't be used; single images that can't are named
            in the report instead.
    """
    baselines = read_baselines(settings.baselines)
    split = read_split(settings.split) if settings.split is not None else None
    folders = [Path(root) for root in settings.data if not holds_videos(Path(root))]
    videos = [Path(root) for root in settings.data if holds_videos(Path(root))]
    clips = find_clips([*settings.clips, *videos], split)
    detectors = _check_detectors(settings.detectors)
    perception = _check_perception(settings, detectors)
    lists = _mask_lists(settings) if perception else {}
    smoke = [part for clip in settings.smoke_clips for part in smoke_parts(parse_smoke_clip(clip), settings.smoke_step)]
    listed = {name: list(files) for name, files in baselines.images.items()} if baselines.images else None
    rules = SelectionRules(split, listed, settings.limit, settings.boxes if detectors else "none")
    selection = select_pairs(folders, _with_perception(rules, settings, perception, lists))
    specs = _contenders(settings, selection, {root.resolve().name: root for root in folders})
    plan = Plan(
        contenders=tuple(specs),
        luma=settings.luma,
        profile=settings.profile,
        metrics=tuple(settings.metrics),
        detectors=detectors,
        perception=tuple(perception),
        sigmas=tuple(settings.noise),
        clip_frames=settings.clip_frames,
    )
    if (detectors or perception) and folders and not any(entry.boxes for entry in selection.sets):
        selection.notes.append("No boxed pairs were there, so no boxes were judged.")
    items = [item for entry in selection.sets for item in entry.items]
    # The long ones first, so that no process works alone at the end.
    jobs = [Job("clip", clip) for clip in clips] + [Job("smoke", part) for part in smoke]
    jobs += [Job("mask", item) for item in items if item.labels is not None]
    jobs += [Job("pair", item) for item in items if item.scored or item.boxed or item.judged]
    results = _work(plan, jobs, settings, selection, progress)
    arguments = {**settings.as_dict(), "detectors": list(detectors)}
    report = build_report(
        arguments=arguments,
        specs=specs,
        perception=perception,
        baselines=baselines,
        selection=selection,
        results=results,
        mask_lists=lists,
    )
    return Outcome(
        report,
        [result for result in results if isinstance(result, PictureResult)],
        [result for result in results if isinstance(result, OverlayResult)],
        sum(1 for r in results if isinstance(r, PairResult) and (r.figures or r.boxes))
        + sum(1 for r in results if isinstance(r, ClipResult) and r.frames > 1)
        + sum(1 for r in results if isinstance(r, MaskResult) and r.areas and not (r.item.scored or r.item.judged))
        + len({r.part.clip for r in results if isinstance(r, SmokeResult) and r.looked}),
    )


def _work(
    plan: Plan, jobs: list[Job], settings: Settings, selection: Selection, progress: Callable[[int, int], None]
) -> list[Result]:
    """All measurements; then, on pairs that could be measured, the still scenes and the pictures."""
    results: list[Result] = []
    scored = [len(entry.scored) for entry in selection.sets]
    stills = sum(min(count, settings.still_pairs) for count in scored) if plan.sigmas else 0
    total = len(jobs) + stills + min(settings.pictures, sum(scored)) + (settings.overlays if plan.perception else 0)
    progress(0, total)
    with Crew(plan, min(settings.processes, max(len(jobs), 1))) as crew:
        for result in crew.do(jobs):
            results.append(result)
            progress(len(results), total)
        measured = [result for result in results if isinstance(result, PairResult) and result.figures]
        more = [Job("picture", result.item) for result in choose_pairs(measured, settings.pictures)]
        more += choose_overlays(results, settings.overlays) if plan.perception else []
        for entry in selection.sets if plan.sigmas else ():
            own = [result for result in measured if result.item.set_name == entry.name]
            more += [Job("still", result.item) for result in choose_pairs(own, settings.still_pairs)]
        for result in crew.do(more):
            results.append(result)
            progress(len(results), len(jobs) + len(more))
    return results


def choose_overlays(results: Sequence[Result], count: int) -> list[Job]:
    """What is shown with mask and boxes: pairs, dark and bright ones, and as many hidden frames of each smoke clip.

    Args:
        results: All measurements.
        count: How many pairs at most, and half as many frames of each clip.
    """
    read = [result for result in results if isinstance(result, PairResult) and (result.boxes or result.figures)]
    # Those kept out of training first: what a model makes of its own lessons shows little.
    kept = [result for result in read if result.item.validation] or read
    jobs = [Job("overlay", result.item) for result in choose_pairs(kept, count)]
    hidden: dict[SmokeClip, list[int]] = {}
    for result in results:
        if isinstance(result, SmokeResult):
            hidden.setdefault(result.part.clip, []).extend(result.hidden)
    for clip, frames in hidden.items():
        chosen = spread(len(frames), (count + 1) // 2)
        jobs += [Job("overlay", SmokeFrame(clip, sorted(frames)[index])) for index in chosen]
    return jobs


def _with_perception(
    rules: SelectionRules,
    settings: Settings,
    perception: Sequence[PerceptionSpec],
    lists: Mapping[str, frozenset[str]],
) -> SelectionRules:
    """The rules with the pairs that perception models are judged on."""
    if not perception:
        alone = settings.boxed or ("all" if settings.boxes == "all" else "none")
        return replace(rules, judged=alone if settings.detectors else "none")
    judged = "all" if any(spec.judged == "all" for spec in perception) else "validation"
    return replace(rules, judged=judged, labelled=frozenset().union(*lists.values()))


def _mask_lists(settings: Settings) -> dict[str, frozenset[str]]:
    """The lists of pairs on which masks are judged, by the names of their files."""
    paths = settings.mask_pairs or [share_dir() / "config" / "eval" / name for name in MASK_PAIRS]
    lists = {Path(path).stem: read_pair_list(Path(path)) for path in paths}
    if len(lists) < len(paths):
        raise ParameterError(f"of {', '.join(map(str, paths))} two bear the same name; rename one of them")
    return lists


def _check_perception(settings: Settings, detectors: Mapping[str, Path]) -> list[PerceptionSpec]:
    """Perception models; opening each here tells at once what is wrong."""
    specs = perception_specs(settings.perception, settings.perception_folds, settings.boxed)
    for spec in specs:
        if spec.name in detectors:
            raise ParameterError(f"a detector and a perception model are called '{spec.name}'; use 'name=folder'")
        PerceptionReader(spec)
    return specs


def _contenders(settings: Settings, selection: Selection, roots: dict[str, Path]) -> list[ContenderSpec]:
    """Models, results and the plain ones; every name once."""
    specs = []
    for given in settings.models or _installed():
        name, place = split_name(given)
        folder = find_model(place)
        name = name or folder.path.parent.resolve().name
        specs.append(ContenderSpec(name, "model", place, sha256=folder.card.sha256))
    items = [item for entry in selection.sets for item in entry.items]
    for given in settings.results:
        name, place = split_name(given)
        name = name or Path(place).resolve().name
        specs.append(ContenderSpec(name, "results", files=match_results(name, Path(place), items, roots)))
    for spec in specs:
        if spec.name in PLAIN or sum(other.name == spec.name for other in specs) > 1:
            raise ParameterError(f"the name '{spec.name}' is taken; give another as in 'name={spec.place or 'folder'}'")
        if missing := [entry.name for entry in selection.sets if not spec.takes_part(entry.name)]:
            selection.notes.append(f"{spec.name} has no images of {', '.join(missing)}.")
    return [*specs, *(ContenderSpec(name, "plain") for name in PLAIN)]


def _installed() -> list[str]:
    """Names of the fusion models at hand."""
    (models,) = search_paths()
    return [name for name in list_models() if read_card(models / name).task == "fusion"]


def _check_detectors(paths: Sequence[Path]) -> dict[str, Path]:
    """Detectors by the names of their files; opening each here tells at once what is wrong."""
    found: dict[str, Path] = {}
    for path in map(Path, paths):
        if path.stem in found:
            raise ParameterError(f"{found[path.stem]} and {path} bear the same name; rename one of them")
        if not path.is_file():
            raise ParameterError(f"the detector {path} does not exist; expected an ONNX file")
        Detector(path)
        found[path.stem] = path
    return found
