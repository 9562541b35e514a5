"""The end of a demo: what the nodes left behind, checked, scored, and written as report.json and index.html."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sage_fusion_ros.cli.demo_nodes import PERCEPTION_DEFAULT, RunPaths, RunPlan
from sage_fusion_ros.cli.demo_run import Outcome
from sage_fusion_ros.engines.models import find_model
from sage_fusion_ros.errors import ModelError
from sage_fusion_ros.evaluation.index_check import IndexCheck, StampIndex, check_indexes, recorded_partners
from sage_fusion_ros.evaluation.moments import collect_moments, name_by_index
from sage_fusion_ros.evaluation.output_check import check_outputs, output_failures
from sage_fusion_ros.evaluation.recording import OUTPUTS, read_recording, read_replay_log
from sage_fusion_ros.evaluation.run_perception import (
    RunPerception,
    count_boxes,
    perception_report,
    score_run,
    source_index,
)
from sage_fusion_ros.evaluation.run_report import build_report, write_page, write_report
from sage_fusion_ros.sources.base import PairSource, RecordedCameras
from sage_fusion_ros.sources.depth import to_encoding

MONO8_RANGE = (26315.0, 32315.0)
"""Counts shown as 0 and 255 where 16-bit images go out as mono8: -10 to 50 degrees Celsius in centikelvin."""
MOMENTS = 6


@dataclass(frozen=True)
class RunChecks:
    """What was held against what: the pairs by source index, and why masks and detections do not pass, in words."""

    pairs: IndexCheck
    outputs: list[str]


def report_run(
    args: argparse.Namespace, plan: RunPlan, paths: RunPaths, source: PairSource, outcome: Outcome
) -> RunChecks:
    """Writes report.json and index.html and prints the figures."""
    recording, log = read_recording(paths.recording), read_replay_log(paths.replay_log)
    stamps = StampIndex(log, recorded_partners(source) if isinstance(source, RecordedCameras) else None)
    check = check_indexes(stamps, recording)
    describe = getattr(source, "condition", lambda _: "")

    def act_of(stamp_ns: int) -> str:
        index = source_index(stamps, stamp_ns)
        return "" if index is None else str(describe(index))

    def name_of(stamp_ns: int) -> str:
        index = source_index(stamps, stamp_ns)
        return f"stamp {stamp_ns}, which nobody sent" if index is None else f"source index {index}"

    recording.frames = name_by_index(paths.images, recording.frames, stamps)
    recording.mask_files = name_by_index(paths.masks, recording.mask_files, stamps)
    outputs = check_outputs(recording, wanted_outputs(plan.settings()), name_of)
    perception = RunPerception(recording, paths.masks) if outputs else None
    report = build_report(
        recording,
        log,
        check,
        source={
            "name": short_name(args.source),
            "spec": args.source,
            "kind": source.kind,
            "seed": args.seed if source.kind == "synthetic" else None,
            "pairs": len(source),
            "rate_hz": plan.rate_hz,
            "sent_hz": None if outcome.sent_hz is None else round(outcome.sent_hz, 2),
        },
        settings=outcome.settings,
        cores=outcome.cores,
        perception=perception_report(
            recording,
            outputs,
            counts=count_boxes(recording, act_of),
            truth=score_run(perception, source, stamps, describe) if perception is not None else None,
        ),
    )
    write_report(paths.folder, report)
    encoding = args.thermal_encoding or "source"
    moments = collect_moments(
        source,
        paths.images,
        recording.frames,
        recording,
        stamps,
        count=MOMENTS,
        perception=perception,
        describe=describe,
        sent_as=lambda thermal: to_encoding(thermal, encoding, *MONO8_RANGE),
    )
    page = write_page(paths.folder, report, recording, moments, act_of)
    _print_figures(report, check, page)
    return RunChecks(check, output_failures(recording, outputs))


def wanted_outputs(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Which of mask and detections fusion_node has to give, as it was started.

    A perception model gives both, unless its card can be found and names no classes of one of them.
    """
    wanted = {
        output
        for output, name in (("mask", "segmentation"), ("detections", "detection"))
        if settings.get(f"{name}.model", "").strip("\"'")
    }
    if model := str(settings.get("perception.model", PERCEPTION_DEFAULT)).strip("\"'"):
        gives = set(OUTPUTS)
        # Where it stands elsewhere (models.path), fusion_node finds it, or says that it does not.
        with contextlib.suppress(ModelError):
            card = find_model(model, task="perception").card
            gives = {o for o, names in zip(OUTPUTS, (card.mask_classes, card.detection_classes), strict=True) if names}
        wanted |= gives
    return tuple(output for output in OUTPUTS if output in wanted)


def short_name(spec: str) -> str:
    """A source's spec without its folders: 'clips/visible/a.mp4,clips/infrared/a.mp4' is 'a.mp4, a.mp4'."""
    return ", ".join(Path(part.strip()).name or part for part in spec.split(","))


def _print_figures(report: Mapping[str, Any], check: IndexCheck, page: Path) -> None:
    latency = report["latency_ms"]
    print(
        f"{report['pairs']['fused']} of {check.sent} pairs fused at {report['rate_hz']} Hz; latency p50 "
        f"{latency['p50']}, p95 {latency['p95']}, p99 {latency['p99']} ms; {report['model']} on {report['provider']}"
    )
    print(
        f"by source index: {check.matched} of {check.counted} equal ({check.share:.2%}), {check.mixed} mixed; "
        f"{check.before_discovery} before discovery not counted"
    )
    if perception := report["perception"]:
        there = ", ".join(
            f"{output} for {own['counted'] - own['missing']} of {own['counted']}"
            for output, own in perception["outputs"].items()
        )
        boxes = perception["boxes_found"].get("all", {"boxes": {}})["boxes"]
        print(f"{there} fused images; boxes: {', '.join(f'{n} {name}' for name, n in boxes.items()) or 'none'}")
        if truth := perception["against_truth"]:
            named = (("ap50", "AP50"), ("ap50_95", "AP50:95"), ("miou", "mIoU"))
            figures = [f"{text} {truth['all'][key]:.1%}" for key, text in named if truth["all"].get(key) is not None]
            counted = f"{truth['all']['pairs']} pairs, {truth['all'].get('boxes', 0)} boxes"
            print(f"against the scene's truth ({counted}): {', '.join(figures) or 'nothing to score'}")
    print(f"look at {page}")
