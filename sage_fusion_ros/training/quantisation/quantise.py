"""The steps: look at real images, fit integers to them in several ways, take the nearest to fp32, judge it, keep it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import onnx
import onnxruntime

from sage_fusion_ros.engines.card import ModelCard
from sage_fusion_ros.engines.models import ModelFolder
from sage_fusion_ros.errors import ModelError, ParameterError
from sage_fusion_ros.pipeline.network import NetworkOptions
from sage_fusion_ros.sources.samples import Sample, count_by_set
from sage_fusion_ros.training.quantisation.equalise import equalise
from sage_fusion_ros.training.quantisation.feeds import CROP, cut_out, fusion_feeds, perception_feeds
from sage_fusion_ros.training.quantisation.folder import candidate, check_output, install
from sage_fusion_ros.training.quantisation.graph import ALL_BITS, SAFE_BITS, Graph
from sage_fusion_ros.training.quantisation.ranges import Ranges

TASKS = ("fusion", "perception")
Tick = Callable[[], object]


class Judge(Protocol):
    """Says how near a model's int8 file comes to its fp32 file."""

    def __call__(self, folder: Path, samples: Sequence[Sample], tick: Tick) -> dict[str, float]:
        """Runs both.

        Args:
            folder: Of the model with both files.
            samples: Pairs; for perception, their `rgb` is the fused image.
            tick: Called after each of them.

        Returns:
            Figures by name; more is better.
        """


@dataclass(frozen=True)
class QuantisationSettings:
    """How integers are fitted.

    Attributes:
        percentiles: Shares of the values, 50..100, that a tensor's range holds; each is tried, on the pairs that are
            calibrated with.
        keep: Layers that stay in floats: one of "none", "first", "last" and "ends", or names of layers.
        equalise: Bring the channels of a tensor nearer to one another first; see equalise.py.
        weight_bits: 7 or 8; see Graph.write.
        least: What figures of the judge must reach.
        seed: Of the pieces that are cut out of pairs.
        threads: CPU threads; 0 takes every core.

    Raises:
        ParameterError: A value is out of its range.
    """

    percentiles: tuple[float, ...] = (99.9, 99.99, 99.999)
    keep: tuple[str, ...] = ("last",)
    equalise: bool = True
    weight_bits: int = SAFE_BITS
    least: Mapping[str, float] | None = None
    seed: int = 0
    threads: int = 0

    def __post_init__(self) -> None:
        if not self.percentiles or not all(50 <= percentile <= 100 for percentile in self.percentiles):
            raise ParameterError(f"percentiles are {self.percentiles}; expected some of 50 to 100")
        if self.weight_bits not in (SAFE_BITS, ALL_BITS):
            raise ParameterError(f"weight bits are {self.weight_bits}; expected {SAFE_BITS} or {ALL_BITS}")


def steps(settings: QuantisationSettings, calibrated: int, judged: int) -> int:
    """How often `quantise` calls its `tick`."""
    return calibrated * (1 + settings.equalise + len(settings.percentiles)) + judged


def quantise(
    model: ModelFolder,
    output: Path | None,
    calibration: Sequence[Sample],
    judged: Sequence[Sample],
    judge: Judge,
    settings: QuantisationSettings,
    notes: Mapping[str, Any],
    tick: Tick = lambda: None,
) -> ModelCard:
    """Makes a model's int8 file, and writes it and the card, if it is near enough to fp32.

    Args:
        model: A model for fusion or perception.
        output: Folder of a copy, new or empty; None: the model's own.
        calibration: Pairs that ranges are taken from, at least one; for perception, their `rgb` is the fused image.
        judged: Pairs that decide, at least one; none of the others, or the figures flatter (the card would say so).
        judge: How.
        settings: The rest.
        notes: For the card, beside what is known here.
        tick: Called `steps` times.

    Returns:
        The new card; variants["int8"].made has the judge's figures.

    Raises:
        ModelError: The model is for another task, has nothing to compute in integers, can't be written, or what was
            made is not near enough; nothing is written then.
        ParameterError: A layer to keep is not there, or the output is taken.
    """
    check_output(output)
    check_task(model)
    options = NetworkOptions(device="cpu", threads=settings.threads, warm_up_size=CROP)
    fusion = model.card.task == "fusion"
    shown = cut_out(calibration, settings.seed) if fusion else list(calibration)
    with tempfile.TemporaryDirectory(prefix="sage_fusion_int8_") as place:
        scratch = Path(place)
        graph = Graph(model.path, scratch / "prepared.onnx")
        kept = graph.kept(settings.keep)
        fed = list((fusion_feeds if fusion else perception_feeds)(model, options, shown))
        equalised = equalise(graph, fed, settings.threads, tick) if settings.equalise else 0
        ranges = Ranges(graph, scratch, settings.threads)
        for feeds in fed:
            ranges.add(feeds)
            tick()
        known = {tensor.name: tensor.range for tensor in model.card.inputs if tensor.name in graph.inputs}
        results = {}
        for percentile in settings.percentiles:
            graph.write(
                file := scratch / f"{percentile}.onnx", ranges.at(percentile, known), kept, settings.weight_bits
            )
            with candidate(model, file) as folder:
                results[percentile] = judge(folder, shown, tick)
        best = max(results, key=lambda percentile: _rank(results[percentile], settings.least))
        with candidate(model, file := scratch / f"{best}.onnx") as folder:
            figures = judge(folder, judged, tick)
        _check(model, figures, settings)
        made = {
            "form": f"QDQ; uint8 activations, int8 weights of {settings.weight_bits} bits, a scale a channel",
            "kept_in_fp32": kept,
            "tensors_with_equalised_channels": equalised,
            "percentile": best,
            "percentiles_tried": list(settings.percentiles),
            "calibrated_on": {
                "pairs": count_by_set(calibration),
                "of_each": f"a piece of at most {CROP[1]}x{CROP[0]} pixels" if fusion else "the whole fused image",
                "seed": settings.seed,
            },
            "judged_on": {"pairs": count_by_set(judged), "of_these_calibrated_on": _shared(calibration, judged)},
            "against_fp32": {name: round(value, 4) for name, value in figures.items()},
            "tools": f"onnxruntime {onnxruntime.__version__}, onnx {onnx.__version__}",
            **notes,
        }
        return install(model, file, made, output)


def check_task(model: ModelFolder) -> None:
    """Refuses models whose images can't be made here.

    Raises:
        ModelError: It is for none of TASKS.
    """
    if model.card.task not in TASKS:
        raise ModelError(
            f"model {model.path.parent} is for the task '{model.card.task}'; int8 is made of models for "
            f"{' and '.join(TASKS)}"
        )


def _shared(first: Sequence[Sample], second: Sequence[Sample]) -> int:
    return len({sample.name for sample in first} & {sample.name for sample in second})


def _rank(figures: Mapping[str, float], least: Mapping[str, float] | None) -> float:
    """The sum of the figures that have to be reached; of all where none has to."""
    return sum(value for name, value in figures.items() if not least or name in least)


def _check(model: ModelFolder, figures: Mapping[str, float], settings: QuantisationSettings) -> None:
    short = [
        f"{name} is {figures[name]:.4g}, at least {least:g} is asked for"
        for name, least in (settings.least or {}).items()
        if not figures[name] >= least
    ]
    if short:
        raise ModelError(
            f"int8 of model {model.path.parent} is too far from fp32 on pairs that it was not calibrated with: "
            f"{'; '.join(short)}; nothing was written. Keep more layers in floats (--keep ends, or names), calibrate "
            f"with more pairs or other percentiles, or take weights of {ALL_BITS} bits"
        )
