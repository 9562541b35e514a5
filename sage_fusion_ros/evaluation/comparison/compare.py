"""One comparison from its settings to its report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sage_fusion_ros.engines.card import read_card
from sage_fusion_ros.engines.models import find_model, list_models, search_paths
from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.evaluation.comparison.baselines import read_baselines
from sage_fusion_ros.evaluation.comparison.clips import find_clips, holds_videos
from sage_fusion_ros.evaluation.comparison.contenders import LUMA, PLAIN, ContenderSpec
from sage_fusion_ros.evaluation.comparison.measures import PairResult
from sage_fusion_ros.evaluation.comparison.pictures import PictureResult, choose_pairs
from sage_fusion_ros.evaluation.comparison.report import build_report
from sage_fusion_ros.evaluation.comparison.result_files import match_results
from sage_fusion_ros.evaluation.comparison.runner import Crew, Job, Plan, Result
from sage_fusion_ros.evaluation.comparison.sets import Selection, SelectionRules, select_pairs
from sage_fusion_ros.evaluation.detectors import Detector
from sage_fusion_ros.evaluation.metrics.profiles import METRICS, PROFILES
from sage_fusion_ros.sources.split import read_split

BOXES = ("all", "scored")


@dataclass(frozen=True)
class Settings:
    """What is compared on what.

    Attributes:
        data: Folders of pairs, each a set; folders of videos count as clips.
        models: Names or folders of fusion models, with or without "name=" before them; empty: all that are installed.
        results: "name=folder" of fused images that others made.
        profile, metrics: See evaluation.metrics.profiles; no metrics: all.
        luma: "saved" or "network"; see load_contenders.
        split: YAML file whose section `split` says what is kept out of training; only that is scored.
        baselines: JSON files with figures of others; then only the pairs they list are scored.
        detectors: ONNX files.
        boxes: Which boxed pairs detectors look at: "all" or "scored".
        clips: Folders of videos or of consecutive frames.
        clip_frames: At most so many frames of a clip, from the first on; 0: all.
        noise: Standard deviations of the sensor noise of still scenes, as shares of full scale.
        still_pairs: Pairs of each set taken as still scenes.
        pictures: Pairs shown on the page.
        limit: At most so many scored pairs of a set, evenly spread; 0: all.
        processes: How many work at the same time.
    """

    data: Sequence[Path] = ()
    models: Sequence[str] = ()
    results: Sequence[str] = ()
    profile: str = "standard"
    metrics: Sequence[str] = METRICS
    luma: str = "saved"
    split: Path | None = None
    baselines: Sequence[Path] = ()
    detectors: Sequence[Path] = ()
    boxes: str = "all"
    clips: Sequence[Path] = ()
    clip_frames: int = 90
    noise: Sequence[float] = (0.01, 0.02, 0.04)
    still_pairs: int = 3
    pictures: int = 12
    limit: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        for name, known in (("profile", PROFILES), ("luma", LUMA), ("boxes", BOXES)):
            if getattr(self, name) not in known:
                raise ParameterError(f"{name} is '{getattr(self, name)}'; expected one of {', '.join(known)}")
        if unknown := [metric for metric in self.metrics if metric not in METRICS]:
            raise ParameterError(f"there is no metric '{unknown[0]}'; there are {', '.join(METRICS)}")
        if not self.data and not self.clips:
            raise ParameterError("nothing to evaluate; give --data or --clips")
        for name in ("clip_frames", "still_pairs", "pictures", "limit"):
            if getattr(self, name) < 0:
                raise ParameterError(f"{name} is {getattr(self, name)}; expected 0 or more")
        if self.processes < 1 or self.clip_frames == 1 or not all(0 <= sigma <= 1 for sigma in self.noise):
            raise ParameterError("processes must be 1 or more, clip_frames 0 or 2 and more, noise in 0..1")

    def as_dict(self) -> dict[str, Any]:
        """As the user gave them, ready for JSON."""
        return {
            name: [str(entry) if isinstance(entry, Path) else entry for entry in value]
            if isinstance(value, (list, tuple))
            else (str(value) if isinstance(value, Path) else value)
            for name, value in asdict(self).items()
        }


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        report: See build_report.
        pictures: For the page.
        done: Pairs and clips that could be measured.
    """

    report: dict[str, Any]
    pictures: list[PictureResult] = field(default_factory=list)
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
    listed = {name: list(files) for name, files in baselines.images.items()} if baselines.images else None
    selection = select_pairs(
        folders, SelectionRules(split, listed, settings.limit, settings.boxes if detectors else "none")
    )
    specs = _contenders(settings, selection, {root.resolve().name: root for root in folders})
    plan = Plan(
        contenders=tuple(specs),
        luma=settings.luma,
        profile=settings.profile,
        metrics=tuple(settings.metrics),
        detectors=detectors,
        sigmas=tuple(settings.noise),
        clip_frames=settings.clip_frames,
    )
    if detectors and not any(entry.boxes for entry in selection.sets):
        selection.notes.append("No set has boxes_coco.json, so the detectors had nothing to read.")
    # The long ones first, so that no process works alone at the end.
    jobs = [Job("clip", clip) for clip in clips] + [Job("pair", i) for entry in selection.sets for i in entry.items]
    results = _work(plan, jobs, settings, selection, progress)
    arguments = {**settings.as_dict(), "detectors": list(detectors)}
    return Outcome(
        build_report(arguments=arguments, specs=specs, baselines=baselines, selection=selection, results=results),
        [result for result in results if isinstance(result, PictureResult)],
        sum(1 for r in results if isinstance(r, PairResult) and (r.figures or r.boxes))
        + sum(1 for r in results if getattr(r, "frames", 0) > 1),
    )


def _work(
    plan: Plan, jobs: list[Job], settings: Settings, selection: Selection, progress: Callable[[int, int], None]
) -> list[Result]:
    """All measurements; then, on pairs that could be measured, the still scenes and the pictures."""
    results: list[Result] = []
    scored = [len(entry.scored) for entry in selection.sets]
    stills = sum(min(count, settings.still_pairs) for count in scored) if plan.sigmas else 0
    total = len(jobs) + stills + min(settings.pictures, sum(scored))
    progress(0, total)
    with Crew(plan, min(settings.processes, max(len(jobs), 1))) as crew:
        for result in crew.do(jobs):
            results.append(result)
            progress(len(results), total)
        measured = [result for result in results if isinstance(result, PairResult) and result.figures]
        more = [Job("picture", result.item) for result in choose_pairs(measured, settings.pictures)]
        for entry in selection.sets if plan.sigmas else ():
            own = [result for result in measured if result.item.set_name == entry.name]
            more += [Job("still", result.item) for result in choose_pairs(own, settings.still_pairs)]
        for result in crew.do(more):
            results.append(result)
            progress(len(results), len(jobs) + len(more))
    return results


def _contenders(settings: Settings, selection: Selection, roots: dict[str, Path]) -> list[ContenderSpec]:
    """Models, results and the plain ones; every name once."""
    specs = []
    for given in settings.models or _installed():
        name, place = _named(given)
        folder = find_model(place)
        name = name or folder.path.parent.resolve().name
        specs.append(ContenderSpec(name, "model", place, sha256=folder.card.sha256))
    items = [item for entry in selection.sets for item in entry.items]
    for given in settings.results:
        name, place = _named(given)
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


def _named(given: str) -> tuple[str, str]:
    """The parts of "name=place"; the name is empty where there is none."""
    name, separator, place = given.partition("=")
    return (name, place) if separator and "/" not in name else ("", given)


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
