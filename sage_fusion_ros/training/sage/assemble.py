"""Puts a run of the whole SAGE method together: networks, pairs, masks, labels and how it is validated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.networks.registry import build_network
from sage_fusion_ros.networks.sage_teacher import SageTeacher
from sage_fusion_ros.training.config import TrainSettings
from sage_fusion_ros.training.damage import DamageLog
from sage_fusion_ros.training.device import move
from sage_fusion_ros.training.distributed import Group
from sage_fusion_ros.training.frozen.feature_networks import FeatureNetwork, load_feature_network
from sage_fusion_ros.training.frozen.task_network import TaskNetwork, load_task_network
from sage_fusion_ros.training.pairs import StoredPair, load_pairs
from sage_fusion_ros.training.priors.cache import find_masks
from sage_fusion_ros.training.priors.choose import load_prior
from sage_fusion_ros.training.sage.batch import SageBatch, SageSampler
from sage_fusion_ros.training.sage.prepare import hold_out, prepare_pairs, read_labels
from sage_fusion_ros.training.sage.problem import DEFAULT_TERMS, SageProblem

_VALIDATION_BATCHES = 16


@dataclass(frozen=True)
class SageInputs:
    """What the user gives besides settings and data.

    Attributes:
        feature_network: Model, ONNX file or SAM folder for the contrastive term; empty: none.
        task_network: Model or ONNX file for the task term; empty: none.
        prior: Replaces `settings.sage.prior` where it is not empty.
        masks: Folder where found masks are kept; None keeps none.
        threads: CPU threads of a perception model that finds masks; 0 takes every core.
    """

    feature_network: str = ""
    task_network: str = ""
    prior: str = ""
    masks: Path | None = None
    threads: int = 0


@dataclass(frozen=True)
class SageData:
    """What a run is trained on.

    Attributes:
        sampler: Its batches.
        validation: Batches of pairs held back; None without any.
        pairs: That are trained on.
        lines: What the user should know about them.
        notes: For the model card.
    """

    sampler: SageSampler
    validation: SageSampler | None
    pairs: list[StoredPair]
    lines: list[str]
    notes: dict[str, Any]


def build_problem(settings: TrainSettings, inputs: SageInputs, device: torch.device) -> SageProblem:
    """Student and teacher with random weights by the settings' seed, and the frozen networks that judge them.

    Raises:
        ParameterError: A term has an unknown name, or a weight without its network, or the other way round.
        ModelError: A network can't be had.
    """
    unknown = sorted(set(settings.terms) - set(DEFAULT_TERMS))
    if unknown:
        raise ParameterError(f"terms has the unknown keys {', '.join(unknown)}; known are {', '.join(DEFAULT_TERMS)}")
    features: FeatureNetwork | None = None
    task: TaskNetwork | None = None
    if inputs.feature_network:
        features = load_feature_network(inputs.feature_network)
    if inputs.task_network:
        task = load_task_network(inputs.task_network)
    torch.manual_seed(settings.seed)
    student = build_network(settings.network)
    teacher = SageTeacher(settings.sage.teacher_width, settings.sage.masks, student.feature_channels)
    networks = [network.to(device, memory_format=torch.channels_last).train() for network in (student, teacher)]
    return SageProblem(*networks, settings.terms, features, task)


def load_data(
    settings: TrainSettings, roots: Sequence[Path], inputs: SageInputs, problem: SageProblem, bar: bool
) -> SageData:
    """Reads the pairs, finds their masks and reads their labels.

    Args:
        settings: Of the run.
        roots: Folders of pairs, or "synthetic".
        inputs: Where masks come from.
        problem: Its task network tells the classes of the labels.
        bar: Whether a progress bar is shown while masks are found.

    Raises:
        SourceError: Something is missing or damaged, or no pair has a label map that the task term asks for.
        ParameterError: The prior is none that is known.
    """
    chosen, damage = settings.sage, DamageLog(settings.sage.skip_damaged, "sage.skip_damaged")
    pairs = load_pairs(roots, settings.split, settings.video_stride, damage)
    spec = inputs.prior or chosen.prior
    prior = load_prior(spec, roots, settings.sam, settings.device, threads=inputs.threads)
    with _Bar(bar and prior.name != "none") as shown:
        masks = find_masks(pairs, prior, inputs.masks, shown, damage)
    labels = {}
    if problem.task is not None:
        if not chosen.labels:
            raise ParameterError(
                "a task network is given, but sage.labels names no folder of label maps; name it, or give the term "
                "'task' no weight"
            )
        labels = read_labels(pairs, roots, chosen.labels, len(problem.task.classes), damage)
        if not labels:
            raise ParameterError(
                f"none of the {len(pairs)} pairs has a label map '{chosen.labels}' beside it, which the term 'task' "
                "learns from; name another folder in sage.labels, or give the term no weight"
            )
    training, held = hold_out(pairs, chosen.validation_share, settings.seed)
    sampler, validation = (
        SageSampler(
            prepare_pairs(side, masks, labels, damage),
            settings.batch,
            settings.crop,
            settings.augment,
            chosen.masks,
            settings.seed,
        )
        if side
        else None
        for side in (training, held)
    )
    assert sampler is not None  # hold_out never empties the training side
    counts = sampler.counts
    line = f"{counts.pairs} pairs to train on, {len(held)} held back"
    line += f", {counts.too_small} smaller than the crop left out" if counts.too_small else ""
    line += f"; {counts.pairs - counts.without_masks} with masks ({prior.name})"
    line += f", {counts.pairs - counts.unlabelled} with labels" if problem.task is not None else ""
    notes = {"prior": prior.name, "pairs_with_masks": counts.pairs - counts.without_masks}
    notes |= {"held_back": len(held), "damaged": len(damage.entries)}
    return SageData(sampler, validation, training, [line, *damage.lines()], notes)


class _Bar:
    """Progress over masks; those that were kept from before do not count for the time that is left."""

    def __init__(self, shown: bool) -> None:
        self._shown = shown
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> _Bar:
        return self

    def __call__(self, done: int, total: int) -> None:
        if self._bar is None:
            self._bar = tqdm(total=total, initial=done, desc="masks", unit="pair", disable=not self._shown)
        self._bar.update(done - self._bar.n)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def validation_of(
    data: SageData, problem: SageProblem, settings: TrainSettings, group: Group
) -> Callable[[nn.Module], dict[str, float]] | None:
    """Scores a student on the same crops of the pairs held back, however far the run is; None without any."""
    sampler = data.validation
    if sampler is None:
        return None

    def validate(network: nn.Module) -> dict[str, float]:
        totals: dict[str, float] = {}
        for index in range(_VALIDATION_BATCHES):
            batch: SageBatch = move(sampler(index), group.device)
            for name, value in problem.score(network, batch).items():
                totals[name] = totals.get(name, 0.0) + float(value) / _VALIDATION_BATCHES
        return {"score": problem.weigh(totals), **totals}

    return validate
